// Unit vectors of two to four values, as vec4 with zeros behind; the formulas of their twins in src/kernel/manifold.rs.
// Needs shared/math.wgsl.

// v by its length; the first axis where there is no direction.
fn unit(v: vec4<f32>) -> vec4<f32> {
    let square = dot(v, v);
    if square < 1.0e-30 {
        return vec4<f32>(1.0, 0.0, 0.0, 0.0);
    }
    return v / m_sqrt(square);
}

// The angle of a point with sine s >= 0 and cosine c, in [0, pi], to 3e-7; the builtin promises 4,096 ulp.
fn angle_of(s: f32, c: f32) -> f32 {
    let r = min(s, abs(c)) / max(max(s, abs(c)), 1.0e-30);
    let far = r > 0.41421356;
    let x = select(r, (r - 1.0) / (r + 1.0), far);
    let z = x * x;
    let p = ((8.05374449538e-2 * z - 1.38776856032e-1) * z + 1.99777106478e-1) * z - 3.33329491539e-1;
    var angle = select(0.0, 0.78539816, far) + (p * z * x + x);
    angle = select(angle, 1.57079633 - angle, s > abs(c));
    return select(angle, 3.14159265 - angle, c < 0.0);
}

// A unit vector at a right angle to the unit vector a of `len` values: the axis that a has least of, made orthogonal.
fn across(a: vec4<f32>, len: u32) -> vec4<f32> {
    var least = 0u;
    for (var i = 1u; i < len; i++) {
        if abs(a[i]) < abs(a[least]) {
            least = i;
        }
    }
    var e = vec4<f32>(0.0);
    e[least] = 1.0;
    return unit(e - dot(e, a) * a);
}
