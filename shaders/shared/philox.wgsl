// Counter-based random numbers: Philox4x32-10, uniforms, normals, indices. CPU twin: src/kernel/philox.rs.
//
// Number e of (seed, stream, step) is lane e % 4 of the block with key philox_key(seed, stream) and counter
// philox_counter(e / 4, step); 64-bit values are vec2<u32>(low word, high word).
// Integers and indices are bit-equal to the twin's. Uniforms are (f32(bits >> 9) + 0.5) 2^-23, in (0, 1), exact.
// Normals: Box-Muller, integers 0 and 1 give r cos, r sin, integers 2 and 3 likewise; |n| < 5.8, within 2e-6 of the twin.
// Called by: kernels that draw noise, times, batch indices, dropout. Needs no other file: the logarithm and the angle
// below are those of math.wgsl without the cases that uniforms never reach.

// High word of the 64-bit product, from 16-bit halves.
fn philox_mulhi(a: u32, b: u32) -> u32 {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 16u);
    let other = a0 * b1 + (middle & 0xffffu);
    return a1 * b1 + (middle >> 16u) + (other >> 16u);
}

// The four integers of one block.
fn philox4x32(ctr: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = ctr;
    var k = key;
    for (var i = 0u; i < 10u; i += 1u) {
        let p = philox_mulhi(0xd2511f53u, c.x);
        let q = philox_mulhi(0xcd9e8d57u, c.z);
        c = vec4<u32>(q ^ c.y ^ k.x, 0xcd9e8d57u * c.z, p ^ c.w ^ k.y, 0xd2511f53u * c.x);
        k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}

fn philox_key(seed: vec2<u32>, stream: u32) -> vec2<u32> {
    return vec2<u32>(seed.x, seed.y ^ stream);
}

fn philox_counter(block: vec2<u32>, step: vec2<u32>) -> vec4<u32> {
    return vec4<u32>(block, step);
}

// The uniforms that four integers stand for.
fn philox_to_uniform4(bits: vec4<u32>) -> vec4<f32> {
    return (vec4<f32>(bits >> vec4<u32>(9u)) + 0.5) * 1.1920928955078125e-7;
}

// ln u for u in [2^-24, 1).
fn philox_log(u: f32) -> f32 {
    let bits = bitcast<u32>(u) + (0x3f800000u - 0x3f3504f3u);
    let n = f32(i32(bits >> 23u) - 127);
    let f = bitcast<f32>((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0;
    let p = (((((((7.0376836292e-2 * f - 1.1514610310e-1) * f + 1.1676998740e-1) * f - 1.2420140846e-1) * f
        + 1.4249322787e-1) * f - 1.6668057665e-1) * f + 2.0000714765e-1) * f - 2.4999993993e-1) * f + 3.3333331174e-1;
    let z = f * f;
    let tail = f * z * p + n * -2.12194440e-4 - 0.5 * z;
    return (f + tail) + n * 0.693359375;
}

// Two normals from two uniforms: (r cos 2 pi v, r sin 2 pi v), r = sqrt(-2 ln u).
fn philox_box_muller(u: f32, v: f32) -> vec2<f32> {
    let y = -2.0 * philox_log(u);
    let s = sqrt(y);
    let radius = s + 0.5 * fma(-s, s, y) / s; // one step of Heron's rule: the built-in may be 4 ulp off
    let n = round(4.0 * v);
    let q = i32(n);
    let r = fma(4.0, v, -n) * 1.57079633;
    let z = r * r;
    let sine = r + r * z * ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1);
    let cosine = (1.0 - 0.5 * z) + z * z * ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2);
    let w = select(vec2<f32>(cosine, sine), vec2<f32>(sine, cosine), (q & 1) == 1);
    return radius * vec2<f32>(select(w.x, -w.x, ((q + 1) & 2) == 2), select(w.y, -w.y, (q & 2) == 2));
}

// The standard normals that four integers stand for.
fn philox_to_normal4(bits: vec4<u32>) -> vec4<f32> {
    let u = philox_to_uniform4(bits);
    return vec4<f32>(philox_box_muller(u.x, u.y), philox_box_muller(u.z, u.w));
}

// The four uniforms of one block.
fn philox_uniform4(ctr: vec4<u32>, key: vec2<u32>) -> vec4<f32> {
    return philox_to_uniform4(philox4x32(ctr, key));
}

// The four standard normals of one block.
fn philox_normal4(ctr: vec4<u32>, key: vec2<u32>) -> vec4<f32> {
    return philox_to_normal4(philox4x32(ctr, key));
}

// An index in 0..n (0 if n is 0): the high word of bits * n; bias below n / 2^32.
fn philox_index_below(bits: u32, n: u32) -> u32 {
    return philox_mulhi(bits, n);
}
