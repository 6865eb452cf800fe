// sumsq: partial[at + g] = sum of x[i]^2 over the g-th run of `chunk` elements of x[offset .. offset + n], one workgroup per run.
// The order of the sum is fixed: lane l adds l, l + 256, ..., then the lanes fold in halves. chunk is a multiple of 256.
// Called by the training step; tick adds the partial sums (at most 256).
struct Params {
    n: u32,
    offset: u32,
    chunk: u32,
    at: u32,
    groups: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let end = min((group.x + 1u) * p.chunk, p.n);
    var a = 0.0;
    var b = 0.0;
    var i = group.x * p.chunk + lane;
    for (; i + 256u < end; i += 512u) {
        let l = x[p.offset + i];
        let r = x[p.offset + i + 256u];
        a += l * l;
        b += r * r;
    }
    if i < end {
        let l = x[p.offset + i];
        a += l * l;
    }
    sums[lane] = a + b;
    for (var width = 128u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            sums[lane] += sums[lane + width];
        }
    }
    if lane == 0u {
        partial[p.at + group.x] = sums[0];
    }
}
