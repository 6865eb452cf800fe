// sinkhorn: one update of a potential of entropic optimal transport, in the log domain and in units of the regularisation:
// y[i] = shift - log sum over j of exp(v[j] - scale c[i, j]), in a fixed order; scale = 1 / reg, shift = log of row i's mass.
// c: [rows, cols] dense, v: [cols], y: [rows]. Called by the Sinkhorn coupling, by turns for rows and (with c transposed) columns.
// thin: an invocation per row; narrow: eight rows per workgroup; wide: a workgroup per row.
//! variants tile=thin,narrow,wide
//! where thin: R=64 L=1
//! where narrow: R=8 L=32
//! where wide: R=1 L=256
#include "shared/linear_id.wgsl"
#include "shared/row_tile.wgsl"
#include "shared/math.wgsl"

struct Params {
    rows: u32,
    cols: u32,
    scale: f32,
    shift: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> c: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let i = linear_group(group, groups) * $(R)u + slot / $(L)u;
    let lane = slot % $(L)u;
    // Rows past the end reduce nothing, but keep their part in the barriers.
    let cols = select(0u, p.cols, i < p.rows);
    var top = -3.4028235e38;
    for (var j = lane; j < cols; j += $(L)u) {
        top = max(top, v[j] - p.scale * c[i * p.cols + j]);
    }
    top = row_largest(slot, top);
    var sum = 0.0;
    for (var j = lane; j < cols; j += $(L)u) {
        // A rounding may differ from that of the largest: no exponent is positive.
        sum += m_exp_neg(max(top - (v[j] - p.scale * c[i * p.cols + j]), 0.0));
    }
    let total = row_total(slot, sum);
    if lane == 0u && i < p.rows {
        y[i] = p.shift - (top + m_log(total));
    }
}
