// sin(pi/2 y) for y in [0, 1] to 1e-7 (the builtin promises only 2^-11); cos(pi/2 y) is quarter_sin(1 - y).
fn quarter_sin(y: f32) -> f32 {
    let x = 1.5707963267948966 * clamp(y, 0.0, 1.0);
    let z = x * x;
    var s = 1.6059044e-10;
    s = s * z - 2.5052108e-8;
    s = s * z + 2.7557319e-6;
    s = s * z - 1.9841270e-4;
    s = s * z + 8.3333333e-3;
    s = s * z - 1.6666667e-1;
    return x + x * z * s;
}
