// View: a strided, broadcasting view of a buffer; mirrors src/kernel/view.rs.
// Element (i, j) lies at offset + ((i / row_div) % row_mod) * row_stride + j * col_stride.
struct View {
    offset: u32,
    row_stride: u32,
    col_stride: u32,
    row_div: u32,
    row_mod: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

fn view_row(v: View, i: u32) -> u32 {
    return v.offset + ((i / v.row_div) % v.row_mod) * v.row_stride;
}

fn view_at(v: View, i: u32, j: u32) -> u32 {
    return view_row(v, i) + j * v.col_stride;
}
