// Whether a value is neither infinite nor NaN, by its exponent bits (shaders may assume that no NaN exists).
fn is_finite(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7f800000u) != 0x7f800000u;
}
