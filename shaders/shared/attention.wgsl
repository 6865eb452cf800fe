// Parameters and addresses of the attention kernels; mirrors `Params` in src/kernel/attention.rs.
// Rows are tokens: query i of batch entry b is row b * q_tokens + i of q, key j that it sees is row
// (b / k_batch_div) * k_tokens + j of k and v. Head h has columns h * dim .. (h + 1) * dim of each. An operand X lies at
// X_at, its rows X_ld apart, columns adjacent. y = [o | lse] is what the kernel `attention` wrote.
struct Params {
    batch: u32,
    heads: u32,
    q_tokens: u32,
    k_tokens: u32,
    dim: u32,
    k_batch_div: u32,
    flags: u32,
    scale: f32,
    q_at: u32,
    q_ld: u32,
    k_at: u32,
    k_ld: u32,
    v_at: u32,
    v_ld: u32,
    y_at: u32,
    y_ld: u32,
    d_at: u32,
    d_ld: u32,
    out_at: u32,
    out_ld: u32,
    tq_at: u32,
    tq_ld: u32,
    tk_at: u32,
    tk_ld: u32,
    tv_at: u32,
    tv_ld: u32,
    pad0: u32,
    pad1: u32,
}

const CAUSAL = 1u;
const HAS_TQ = 2u;
const HAS_TK = 4u;
const HAS_TV = 8u;

// A query row of a head: its row among all queries, its place in the batch, how many keys it sees.
struct Query {
    row: u32,
    head: u32,
    keys: u32,
    // First row of its keys.
    k_row: u32,
}

// Query `i` of group `g`, groups being (batch entry, head); a query past the end sees no key.
fn query_of(g: u32, i: u32) -> Query {
    let b = g / p.heads;
    var keys = p.k_tokens;
    if (p.flags & CAUSAL) != 0u {
        keys = min(keys, i + 1u);
    }
    keys = select(0u, keys, i < p.q_tokens && b < p.batch);
    return Query(b * p.q_tokens + i, g % p.heads, keys, (b / p.k_batch_div) * p.k_tokens);
}
