// The epilogue of the matrix products. Needs their parameters (shared/matmul.wgsl) and the bindings `bias` and `residual`.
#include "shared/view.wgsl"
#include "shared/math.wgsl"

const HAS_BIAS = 1u;
const HAS_RESIDUAL = 2u;
const MUL_DERIVATIVE = 4u;

// What is written at (i, j), from the bare product.
fn finish(i: u32, j: u32, product: f32) -> f32 {
    var r = 0.0;
    if (p.flags & HAS_RESIDUAL) != 0u {
        r = residual[view_at(p.residual, i, j)];
    }
    if (p.flags & MUL_DERIVATIVE) != 0u {
        return activate_d1(p.act, r) * (p.alpha * product);
    }
    var x = product;
    if (p.flags & HAS_BIAS) != 0u {
        x += bias[p.bias_offset + j];
    }
    return activate(p.act, p.alpha * x + p.beta * r);
}
