// pair_draw: a column for every row of a transport plan: y[i] = the first j at which the sum over k <= j of
// exp(u[i] + v[k] - scale c[i, k]) exceeds r_i times the sum over all k, with r_i element i of the uniforms of (state's seed,
// stream, state's step). The last column if rounding leaves none. c: [rows, cols] dense, u: [rows], v: [cols], y: [rows] u32.
// Called by the Sinkhorn coupling after the last update of u, which keeps every exponent at most about 0.
// A row's lanes own adjacent columns each; all of them find the lane in whose part the sum is reached, and that one searches.
// thin: an invocation per row; narrow: eight rows per workgroup; wide: a workgroup per row.
//! variants tile=thin,narrow,wide
//! where thin: R=64 L=1
//! where narrow: R=8 L=32
//! where wide: R=1 L=256
#include "shared/linear_id.wgsl"
#include "shared/math.wgsl"
#include "shared/philox.wgsl"
#include "shared/state.wgsl"

struct Params {
    rows: u32,
    cols: u32,
    scale: f32,
    stream: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> c: array<f32>;
@group(0) @binding(2) var<storage, read> u: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> state: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<u32>;

var<workgroup> parts: array<f32, $(R * L)>;

@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let i = linear_group(group, groups) * $(R)u + slot / $(L)u;
    let lane = slot % $(L)u;
    let live = i < p.rows;
    let row = min(i, p.rows - 1u);
    let each = (p.cols + $(L - 1)u) / $(L)u;
    let start = min(lane * each, p.cols);
    let end = min(start + each, p.cols);
    var part = 0.0;
    for (var j = start; j < end; j += 1u) {
        part += m_exp(u[row] + v[j] - p.scale * c[row * p.cols + j]);
    }
    parts[slot] = part;
    workgroupBarrier();
    let first = slot - lane;
    var total = 0.0;
    for (var k = 0u; k < $(L)u; k += 1u) {
        total += parts[first + k];
    }
    let seed = vec2<u32>(state[STATE_SEED], state[STATE_SEED + 1u]);
    let step = vec2<u32>(state[STATE_STEP], state[STATE_STEP + 1u]);
    let uniforms = philox_uniform4(philox_counter(vec2<u32>(row / 4u, 0u), step), philox_key(seed, p.stream));
    let goal = uniforms[row % 4u] * total;
    var owner = $(L - 1)u;
    var before = 0.0;
    for (var k = 0u; k < $(L)u; k += 1u) {
        let after = before + parts[first + k];
        if goal < after {
            owner = k;
            break;
        }
        before = after;
    }
    if lane != owner || !live {
        return;
    }
    var at = max(end, start + 1u) - 1u;
    for (var j = start; j < end; j += 1u) {
        before += m_exp(u[row] + v[j] - p.scale * c[row * p.cols + j]);
        if goal < before {
            at = j;
            break;
        }
    }
    y[i] = min(at, p.cols - 1u);
}
