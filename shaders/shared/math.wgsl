// Activations (provisional until the branch `math` lands).
fn activate(code: u32, x: f32) -> f32 {
    switch code {
        case 1u: { return max(x, 0.0); }
        case 2u: { return x / (1.0 + exp(-x)); }
        default: { return x; }
    }
}

fn activate_d1(code: u32, x: f32) -> f32 {
    switch code {
        case 1u: { return select(0.0, 1.0, x > 0.0); }
        case 2u: { let s = 1.0 / (1.0 + exp(-x)); return s * (1.0 + x * (1.0 - s)); }
        default: { return 1.0; }
    }
}
