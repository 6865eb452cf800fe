// Elementary functions and activations, the same formulas and polynomials as their CPU twins in src/kernel/math.rs
// (where their sources are named) and src/kernel/math/activation.rs.
//
// Called by: every kernel with an activation, a logarithm or an angle. Needs no other file.
// Why not the built-ins: WGSL promises only 2^-11 absolute for sin and cos within [-pi, pi], tanh may overflow, exp
// and log are loose. Agreement with the twins: 2e-6 relative (sin and cos: 5e-7 absolute for |x| <= 1e4).
// Ranges: any finite x unless a function says otherwise. No function makes or needs an infinity or not-a-number: exp
// saturates at 3.4e38, log at its value for the smallest normal number (-87.3); results below 1.2e-38 may be 0.
// The range reductions subtract n (c1 + c2) in exact parts. A driver with fast arithmetic joins them (llvmpipe did: exp
// was off by 1.1e-6 at x = 29), so the second product is (2n) (c2 / 2), with 2n made from an integer, inside fma().

fn m_power_of_two(n: i32) -> f32 { // 2^n, n in [-126, 127]
    return bitcast<f32>(u32(n + 127) << 23u);
}

// (m, n) with e^x = m 2^n, m in [0.70, 1.42]; |x| < 105.
fn m_exp_parts(x: f32) -> vec2<f32> {
    let n = round(x * 1.44269504);
    let r = fma(f32(i32(n) << 1u), 1.06097220e-4, fma(n, -0.693359375, x));
    let p = ((((1.9875691500e-4 * r + 1.3981999507e-3) * r + 8.3334519073e-3) * r + 4.1665795894e-2) * r
        + 1.6666665459e-1) * r + 5.0000001201e-1;
    return vec2<f32>((r * r * p + r) + 1.0, n);
}

// e^x: 2 ulp for x in [-87.3, 88.72], saturating above, 0 below.
fn m_exp(x: f32) -> f32 {
    let parts = m_exp_parts(clamp(x, -87.3, 88.7227));
    let n = i32(parts.y);
    let half = n >> 1u;
    return select(parts.x * m_power_of_two(half) * m_power_of_two(n - half), 0.0, x < -87.3);
}

// e^-a for a >= 0: 2 ulp; 0 for a > 87.
fn m_exp_neg(a: f32) -> f32 {
    let parts = m_exp_parts(-min(a, 87.0));
    return select(parts.x * m_power_of_two(i32(parts.y)), 0.0, a > 87.0);
}

// ln x: 1 ulp for normal x > 0.
fn m_log(x: f32) -> f32 {
    let bits = bitcast<u32>(max(x, 1.17549435e-38)) + (0x3f800000u - 0x3f3504f3u);
    let n = f32(i32(bits >> 23u) - 127);
    let f = bitcast<f32>((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0;
    let p = (((((((7.0376836292e-2 * f - 1.1514610310e-1) * f + 1.1676998740e-1) * f - 1.2420140846e-1) * f
        + 1.4249322787e-1) * f - 1.6668057665e-1) * f + 2.0000714765e-1) * f - 2.4999993993e-1) * f + 3.3333331174e-1;
    let z = f * f;
    let tail = f * z * p + n * -2.12194440e-4 - 0.5 * z;
    return (f + tail) + n * 0.693359375;
}

// sqrt y for y >= 0: 1 ulp. The built-in may be 4 ulp off; one step of Heron's rule repairs it.
fn m_sqrt(y: f32) -> f32 {
    let s = sqrt(y);
    return select(s + 0.5 * fma(-s, s, y) / max(s, 1.0e-19), 0.0, y <= 0.0);
}

// (sin r, cos r) of |r| <= pi/4, turned by q quarter turns.
fn m_sin_cos_quarters(r: f32, q: i32) -> vec2<f32> {
    let z = r * r;
    let s = r + r * z * ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1);
    let c = (1.0 - 0.5 * z) + z * z * ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2);
    let v = select(vec2<f32>(s, c), vec2<f32>(c, s), (q & 1) == 1);
    return vec2<f32>(select(v.x, -v.x, (q & 2) == 2), select(v.y, -v.y, ((q + 1) & 2) == 2));
}

// (sin x, cos x): 2e-7 absolute for |x| <= 1e4; beyond, the error grows but |values| <= 1.
fn m_sin_cos(x: f32) -> vec2<f32> {
    let n = round(x * 0.636619772);
    let q = i32(clamp(n, -1.0e8, 1.0e8));
    let r = fma(f32(q << 1u), -2.4187564849853515625e-4, fma(n, -1.5703125, x));
    return m_sin_cos_quarters(clamp(fma(f32(q << 2u), -1.88744748872297e-8, r), -0.8, 0.8), q);
}

fn m_sin(x: f32) -> f32 { return m_sin_cos(x).x; }
fn m_cos(x: f32) -> f32 { return m_sin_cos(x).y; }

// (sin 2 pi u, cos 2 pi u): 2e-7 absolute for |u| < 2^20.
fn m_sin_cos_turns(u: f32) -> vec2<f32> {
    let n = round(4.0 * u);
    return m_sin_cos_quarters(fma(4.0, u, -n) * 1.57079633, i32(n));
}

// (tanh x, 1 - tanh^2 x), both relative: 3 ulp.
fn m_tanh_parts(x: f32) -> vec2<f32> {
    let a = abs(x);
    let e = m_exp_neg(2.0 * min(a, 1.0e3));
    let i = 1.0 / (1.0 + e);
    let b = clamp(x, -1.0, 1.0);
    let z = b * b;
    let p = (((-5.70498872745e-3 * z + 2.06390887954e-2) * z - 5.37397155531e-2) * z + 1.33314422036e-1) * z
        - 3.33332819422e-1;
    let large = (1.0 - e) * i;
    return vec2<f32>(select(select(large, -large, x < 0.0), b + b * z * p, a < 0.625), 4.0 * e * i * i);
}

fn m_tanh(x: f32) -> f32 { return m_tanh_parts(x).x; }

// (s, 1 - s) with s = 1 / (1 + e^-x), both relative: 3 ulp.
fn m_sigmoid_parts(x: f32) -> vec2<f32> {
    let e = m_exp_neg(abs(x));
    let i = 1.0 / (1.0 + e);
    return select(vec2<f32>(i, e * i), vec2<f32>(e * i, i), x < 0.0);
}

fn m_sigmoid(x: f32) -> f32 { return m_sigmoid_parts(x).x; }

// ln(1 + e^x) up to x = 20 and x above: 3 ulp.
fn m_softplus(x: f32) -> f32 {
    let e = m_exp_neg(abs(x));
    let s = e / (2.0 + e);
    let w = s * s;
    let p = (((0.281577796 * w + 0.279651582) * w + 0.400245965) * w + 0.666663229) * w + 2.0;
    return select(s * p + max(x, 0.0), x, x > 20.0);
}

// e^(z^2) erfc(z) for 0 <= z <= 9.6: 8e-8 relative; bounded beyond.
fn m_erfcx(z: f32) -> f32 {
    let t = 1.0 / (z + 2.0);
    let w = 1.0 - 4.0 * t;
    let p = (((((((-4.64223151e-4 * w - 7.60788273e-4) * w + 2.97787972e-3) * w + 6.44196337e-3) * w
        - 2.14816909e-2) * w - 3.64362262e-2) * w + 0.279469252) * w - 0.687160909) * w + 1.02158272;
    return t * p;
}

// erf x: 3 ulp.
fn m_erf(x: f32) -> f32 {
    let a = min(abs(x), 10.0);
    let z = a * a;
    let p = ((((-5.64805989e-4 * z + 4.92176181e-3) * z - 2.67150551e-2) * z + 0.112803169) * z - 0.376123428) * z
        + 1.12837911;
    let y = select(1.0 - m_exp_neg(z) * m_erfcx(a), a * p, a < 1.0);
    return select(y, -y, x < 0.0);
}

// The standard normal law: (distribution function, density).
fn m_normal_law(x: f32) -> vec2<f32> {
    let a = min(abs(x), 20.0);
    let e = m_exp_neg(0.5 * (a * a));
    let tail = 0.5 * e * m_erfcx(a * 0.707106781);
    return vec2<f32>(select(tail, 1.0 - tail, x > 0.0), 0.398942280 * e);
}

fn m_silu(x: f32) -> f32 { return x * m_sigmoid(x); }

fn m_silu_d1(x: f32) -> f32 {
    let s = m_sigmoid_parts(x);
    return s.x * (1.0 + x * s.y);
}

fn m_silu_d2(x: f32) -> f32 {
    let s = m_sigmoid_parts(x);
    return s.x * s.y * (2.0 + x * (s.y - s.x));
}

fn m_gelu(x: f32) -> f32 { return x * m_normal_law(x).x; }

fn m_gelu_d1(x: f32) -> f32 {
    let law = m_normal_law(x);
    return law.x + x * law.y;
}

fn m_gelu_d2(x: f32) -> f32 {
    let b = clamp(x, -20.0, 20.0);
    return m_normal_law(b).y * (2.0 - b * b);
}

// With u = 2 sqrt(2/pi) (x + 0.044715 x^3), |x| <= 20: (sigmoid u, 1 - sigmoid u, u', u'').
fn m_gelu_tanh_parts(x: f32) -> vec4<f32> {
    let z = x * x;
    let s = m_sigmoid_parts(x * (1.59576912 + 0.0713548162 * z));
    return vec4<f32>(s, 1.59576912 + 0.214064449 * z, 0.428128897 * x);
}

fn m_gelu_tanh(x: f32) -> f32 { return x * m_gelu_tanh_parts(clamp(x, -20.0, 20.0)).x; }

fn m_gelu_tanh_d1(x: f32) -> f32 {
    let b = clamp(x, -20.0, 20.0);
    let u = m_gelu_tanh_parts(b);
    return u.x + b * u.x * u.y * u.z;
}

fn m_gelu_tanh_d2(x: f32) -> f32 {
    let b = clamp(x, -20.0, 20.0);
    let u = m_gelu_tanh_parts(b);
    return u.x * u.y * (2.0 * u.z + b * ((u.y - u.x) * u.z * u.z + u.w));
}

// t = tanh(softplus(x)) and t', both relative.
fn m_mish_parts(x: f32) -> vec2<f32> {
    let e = m_exp_neg(abs(x));
    let square = e * e;
    let negative = x < 0.0;
    let numerator = select(1.0 + 2.0 * e, square + 2.0 * e, negative);
    let i = 1.0 / (numerator + select(2.0 * square, 2.0, negative));
    return vec2<f32>(numerator * i, 4.0 * select(square, e, negative) * (1.0 + e) * i * i);
}

fn m_mish(x: f32) -> f32 { return x * m_mish_parts(x).x; }

fn m_mish_d1(x: f32) -> f32 {
    let t = m_mish_parts(x);
    return t.x + x * t.y;
}

fn m_mish_d2(x: f32) -> f32 {
    let t = m_mish_parts(x);
    let s = m_sigmoid_parts(x);
    return t.y * (2.0 + x * (s.y - 2.0 * t.x * s.x));
}

// The activation with this code (Activation::code); the identity for an unknown one. Give it a constant and the
// switch folds away. sqrt wants x >= 0 (derivatives x > 0), log x > 0, reciprocal x != 0.
fn activate(code: u32, x: f32) -> f32 {
    switch code {
        case 1u: { return max(x, 0.0); }
        case 2u: { return m_silu(x); }
        case 3u: { return m_gelu(x); }
        case 4u: { return m_gelu_tanh(x); }
        case 5u: { return m_mish(x); }
        case 6u: { return m_tanh(x); }
        case 7u: { return m_sigmoid(x); }
        case 8u: { return m_softplus(x); }
        case 9u: { return m_sin(x); }
        case 10u: { return m_cos(x); }
        case 11u: { return m_exp(x); }
        case 12u: { return x * x; }
        case 13u: { return abs(x); }
        case 14u: { return m_sqrt(x); }
        case 15u: { return 1.0 / x; }
        case 16u: { return m_log(x); }
        default: { return x; }
    }
}

// Its first derivative.
fn activate_d1(code: u32, x: f32) -> f32 {
    switch code {
        case 1u: { return select(0.0, 1.0, x > 0.0); }
        case 2u: { return m_silu_d1(x); }
        case 3u: { return m_gelu_d1(x); }
        case 4u: { return m_gelu_tanh_d1(x); }
        case 5u: { return m_mish_d1(x); }
        case 6u: { return m_tanh_parts(x).y; }
        case 7u: {
            let s = m_sigmoid_parts(x);
            return s.x * s.y;
        }
        case 8u: { return select(m_sigmoid(x), 1.0, x > 20.0); }
        case 9u: { return m_cos(x); }
        case 10u: { return -m_sin(x); }
        case 11u: { return m_exp(x); }
        case 12u: { return 2.0 * x; }
        case 13u: { return sign(x); }
        case 14u: { return 0.5 / m_sqrt(x); }
        case 15u: { return -1.0 / (x * x); }
        case 16u: { return 1.0 / x; }
        default: { return 1.0; }
    }
}

// Its second derivative.
fn activate_d2(code: u32, x: f32) -> f32 {
    switch code {
        case 2u: { return m_silu_d2(x); }
        case 3u: { return m_gelu_d2(x); }
        case 4u: { return m_gelu_tanh_d2(x); }
        case 5u: { return m_mish_d2(x); }
        case 6u: {
            let t = m_tanh_parts(x);
            return -2.0 * t.x * t.y;
        }
        case 7u: {
            let s = m_sigmoid_parts(x);
            return s.x * s.y * (s.y - s.x);
        }
        case 8u: {
            let s = m_sigmoid_parts(x);
            return select(s.x * s.y, 0.0, x > 20.0);
        }
        case 9u: { return -m_sin(x); }
        case 10u: { return -m_cos(x); }
        case 11u: { return m_exp(x); }
        case 12u: { return 2.0; }
        case 14u: { return -0.25 / (x * m_sqrt(x)); }
        case 15u: { return 2.0 / (x * x * x); }
        case 16u: { return -1.0 / (x * x); }
        default: { return 0.0; }
    }
}
