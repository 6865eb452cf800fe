// Reductions along rows: a workgroup of R * L invocations owns R rows, L lanes each; mirrors kernel/rowwise.rs `tile`.
// Invocation `slot` works on row slot / L as lane slot % L. Every invocation of the workgroup must call together.
#if L == 1
fn row_total(slot: u32, v: f32) -> f32 {
    return v;
}

fn row_largest(slot: u32, v: f32) -> f32 {
    return v;
}
#else
var<workgroup> partial: array<f32, $(R * L)>;

// The sum of v over the lanes of the row, in a fixed order.
fn row_total(slot: u32, v: f32) -> f32 {
    let lane = slot % $(L)u;
    partial[slot] = v;
    for (var s = $(L / 2)u; s > 0u; s >>= 1u) {
        workgroupBarrier();
        if lane < s {
            partial[slot] += partial[slot + s];
        }
    }
    workgroupBarrier();
    let total = partial[slot - lane];
    // The next reduction overwrites what others may still have to read.
    workgroupBarrier();
    return total;
}

// The largest v over the lanes of the row.
fn row_largest(slot: u32, v: f32) -> f32 {
    let lane = slot % $(L)u;
    partial[slot] = v;
    for (var s = $(L / 2)u; s > 0u; s >>= 1u) {
        workgroupBarrier();
        if lane < s {
            partial[slot] = max(partial[slot], partial[slot + s]);
        }
    }
    workgroupBarrier();
    let total = partial[slot - lane];
    workgroupBarrier();
    return total;
}
#endif
