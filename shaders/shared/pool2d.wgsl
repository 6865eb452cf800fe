// The element that a max pool takes of a window, by PyTorch's rule: the first of the largest in row-major order; a NaN is
// larger than any number, and the last NaN wins. Needs shared/windows2d.wgsl, x and p with w, x_offset, x_ld.

// A NaN by its bits (shaders may assume that none exists).
fn is_nan(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}

// The row of x where window (u, v) of sample s has its first largest element of channel c.
fn first_largest(s: u32, u: u32, v: u32, c: u32) -> u32 {
    var best = 0u;
    var most = 0.0;
    var found = false;
    var nan = false;
    for (var a = 0u; a < p.w.kernel_h; a += 1u) {
        let r = u * p.w.stride_h + a - p.w.padding_h;
        if r < p.w.height {
            for (var b = 0u; b < p.w.kernel_w; b += 1u) {
                let q = v * p.w.stride_w + b - p.w.padding_w;
                if q < p.w.width {
                    let row = (s * p.w.height + r) * p.w.width + q;
                    let value = x[p.x_offset + row * p.x_ld + c];
                    let is = is_nan(value);
                    if !found || is || (!nan && value > most) {
                        best = row;
                        most = value;
                        found = true;
                        nan = is;
                    }
                }
            }
        }
    }
    return best;
}
