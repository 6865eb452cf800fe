// The layers of an MLP, first to last, as `mlp_pack`, `mlp_grad` and `mlp_grad_weights` read them; mirrors src/kernel/mlp_layers.rs.
// A layer is 12 words: z = W x + b, W [n, k] row-major, and what follows is act(z).
//   0 n      1 k      2 first element of W among the parameters (and gradients)      3 of b
//   4 packed: first group of four of Wᵀ [k4 4, n4], after it b [n4]      5 of W [n4 4, k4] (NONE: not needed)      6 act
//   7 tape: group of a row where x lies      8 where z lies, and later its cotangent d
// n4 = n / 4 and k4 = k / 4 rounded up; what pads a matrix or a row of the tape is zero.
const LAYER = 12u;
const NONE = 0xffffffffu;

fn groups4(n: u32) -> u32 {
    return (n + 3u) >> 2u;
}
