// The body of the kernels that multiply in tiles, inside their entry point: tile (i0, j0) of C by depths k_first..k_end, summed in order of k.
// Needs shared/matmul_tile.wgsl, `lane`, i0, j0, k_first (a multiple of TK) and k_end, uniform in the workgroup. Leaves the accumulators: r (RN / 4) + h of
// invocation (tx, ty) holds row i0 + RM ty + r, columns j0 + 4 tx + h (4 TN / RN) and the next three.
#if tile_flat
    // Every invocation stages one block of B, the first ones one of A too.
    let stages_a = lane < $(TM * TK / 16)u;
    let slot_a = lane;
    let slot_b = lane;
#else
    // The first TM TK / 16 invocations stage a block of A each, the others one of B.
    let stages_a = lane < $(TM * TK / 16)u;
    let slot_a = lane;
    let slot_b = select(lane - $(TM * TK / 16)u, 0u, stages_a);
#endif
#if form_tn
    let block_a = slot_a % BM;
    let depth_a = slot_a / BM;
#else
    let block_a = slot_a / $(TK / 4)u;
    let depth_a = slot_a % $(TK / 4)u;
#endif
#if form_nt
    let block_b = slot_b / $(TK / 4)u;
    let depth_b = slot_b % $(TK / 4)u;
#else
    let block_b = slot_b % BN;
    let depth_b = slot_b / BN;
#endif
    let tx = lane % $(TN / RN)u;
    let ty = lane / $(TN / RN)u;
#for q in 0..RM*RN/4
    var acc$q = vec4<f32>();
#end

    var staged: Block;
#if tile_flat
    var staged_a: Block;
    if stages_a {
        staged_a = fetch_a(i0 + block_a * 4u, k_first + depth_a * 4u);
    }
    staged = fetch_b(j0 + block_b * 4u, k_first + depth_b * 4u);
#else
    if stages_a {
        staged = fetch_a(i0 + block_a * 4u, k_first + depth_a * 4u);
    } else {
        staged = fetch_b(j0 + block_b * 4u, k_first + depth_b * 4u);
    }
#endif
    for (var k0 = k_first; k0 < k_end; k0 += $(TK)u) {
        workgroupBarrier();
#if tile_flat
        if stages_a {
            put_a(staged_a, block_a, depth_a);
        }
        put_b(staged, block_b, depth_b);
#else
        if stages_a {
            put_a(staged, block_a, depth_a);
        } else {
            put_b(staged, block_b, depth_b);
        }
#endif
        workgroupBarrier();
        let next = k0 + $(TK)u;
        if next < k_end {
#if tile_flat
            if stages_a {
                staged_a = fetch_a(i0 + block_a * 4u, next + depth_a * 4u);
            }
            staged = fetch_b(j0 + block_b * 4u, next + depth_b * 4u);
#else
            if stages_a {
                staged = fetch_a(i0 + block_a * 4u, next + depth_a * 4u);
            } else {
                staged = fetch_b(j0 + block_b * 4u, next + depth_b * 4u);
            }
#endif
        }
#for d in 0..TK/4
        {
#for h in 0..RN/4
            let xb$h = (tx + $(h * TN / RN)u) ^ $(2 * d % (TN / 4))u;
#end
#for q in 0..RM/4
            let xa$q = (ty * $(RM / 4)u + $(q)u) ^ $(2 * d % (TM / 4))u;
#end
#for s in 0..4
#for h in 0..RN/4
            let vb$(s)_$h = tile_b[$(4 * d + s)u * BN + xb$h];
#end
#for q in 0..RM/4
            let va$(s)_$q = tile_a[$(4 * d + s)u * BM + xa$q];
#for h in 0..RN/4
            acc$(4 * q * RN / 4 + h) = fma(va$(s)_$q.xxxx, vb$(s)_$h, acc$(4 * q * RN / 4 + h));
            acc$((4 * q + 1) * RN / 4 + h) = fma(va$(s)_$q.yyyy, vb$(s)_$h, acc$((4 * q + 1) * RN / 4 + h));
            acc$((4 * q + 2) * RN / 4 + h) = fma(va$(s)_$q.zzzz, vb$(s)_$h, acc$((4 * q + 2) * RN / 4 + h));
            acc$((4 * q + 3) * RN / 4 + h) = fma(va$(s)_$q.wwww, vb$(s)_$h, acc$((4 * q + 3) * RN / 4 + h));
#end
#end
#end
        }
#end
    }
