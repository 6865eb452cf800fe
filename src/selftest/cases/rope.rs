//! Cases of `rope`: one head and several, either direction, more rows than positions.

use super::{Operand, at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::rope::{command, table};

/// rows, heads, columns of a head, positions.
const SHAPES: [[usize; 4]; 7] = [
    [1, 1, 2, 1],
    [7, 3, 4, 7],
    [31, 2, 6, 31],
    [33, 1, 64, 11],
    [65, 5, 8, 13],
    [16, 16, 64, 16],
    [6, 2, 14, 2],
];

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (n, [rows, heads, dim, tokens]) in SHAPES.into_iter().enumerate() {
        for back in [false, true] {
            let kind = [Operand::Dense, Operand::Gaps][n % 2];
            let (x, xv) = operand(kind, [rows, heads * dim], 1);
            let (yv, want) = output([rows, heads * dim], n, |i, j| {
                let (half, c) = (dim / 2, j % dim);
                let pair = c % half;
                let angle = (i % tokens) as f64 * 1e4f64.powf(-2.0 * pair as f64 / dim as f64);
                let turned = if back { -angle } else { angle };
                let [low, high] = [pair, pair + half].map(|c| at(&x, &xv, i, j / dim * dim + c));
                match c < half {
                    true => low * turned.cos() - high * turned.sin(),
                    false => high * turned.cos() + low * turned.sin(),
                }
            });
            out.push(Case {
                label: format!("rope {rows}x{heads}x{dim}, {tokens} positions, back {back}"),
                command: command([rows, heads, dim, tokens], back, (id(0), xv), id(1), (id(2), yv)),
                buffers: vec![x, table(tokens, dim, 1e4), vec![0.0; want.len()]],
                expect: vec![(2, want)],
                exact: false,
                tolerance: 1e-6,
            });
        }
    }
    out
}
