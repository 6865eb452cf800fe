// Parameters and epilogue of the matrix products; mirrors `Params` in src/kernel/matmul.rs. Units: elements.
#include "shared/matmul_finish.wgsl"

struct Params {
    m: u32,
    n: u32,
    k: u32,
    form: u32,
    a_offset: u32,
    a_ld: u32,
    b_offset: u32,
    b_ld: u32,
    c_offset: u32,
    c_ld: u32,
    bias_offset: u32,
    flags: u32,
    act: u32,
    groups_n: u32,
    alpha: f32,
    beta: f32,
    residual: View,
}
