//! variants form=nn,nt,tn tile=huge,large,small,flat load=vec4,scalar
//! where huge: TM=128 TN=128 TK=16 RM=8 RN=8
//! where large: TM=64 TN=64 TK=16 RM=8 RN=4
//! where small: TM=32 TN=32 TK=16 RM=4 RN=4
//! where flat: TM=16 TN=128 TK=16 RM=4 RN=4
// matmul: C = epilogue(A B), tiles of TM x TN staged through workgroup memory in slabs of TK along k.
// A is [m, k] (tn: [k, m]), B is [k, n] (nt: [n, k]), C is [m, n]; row-major with leading dimension and offset.
// One invocation owns RM x RN outputs and stages blocks of 4x4 of A or B for each slab; the next slab is fetched into
// registers while the present one is multiplied. Workgroup memory is k-major in vec4 along m (n), its blocks
// swizzled by 2 (k / 4) so that neither the transposing stores nor the loads meet bank conflicts.
// The vec4 variants need offsets, leading dimensions and contiguous extents that are multiples of 4.
// Fixed order of summation. Called by the graph op Matmul; see src/kernel/matmul.rs.
#include "shared/linear_id.wgsl"
#include "shared/matmul.wgsl"

@group(0) @binding(0) var<uniform> p: Params;
#include "shared/matmul_rows.wgsl"
#include "shared/matmul_whole.wgsl"
