//! Cases of `ode_rows` and `ode_latency`: a network of three layers, stepped twice, that uses every kind of bias and residual, results in
//! the place of their operands where the kernel allows it, and a combination; by every variant that it fits.

use super::{SIZES, id, oracle, values};
use crate::kernel::case::Case;
use crate::kernel::math::Activation;
use crate::kernel::norm::NormKind;
use crate::kernel::pack_weights::Layout;
use crate::kernel::row_program::{Bias, Instruction, Norm, Product, Residual, RowProgram};
use crate::kernel::{Command, Target, View, ode_latency, ode_rows};
use half::f16;

/// State and hidden columns.
const WIDTHS: [[usize; 2]; 5] = [[1, 1], [7, 31], [2, 33], [33, 65], [12, 130]];
/// Wider than most variants hold, at few rows.
const WIDE: [usize; 2] = [20, 300];
/// Added to a norm's variance; large, so that narrow rows are no test of cancellation.
const EPS: f32 = 0.25;
/// Factors of the combination at the end of a step.
const FACTORS: [f32; 2] = [0.3, -0.15];

/// The cases of `ode_rows`.
pub fn rows(target: &Target) -> Vec<Case> {
    cases(target, true, &SIZES, |program, rows| ode_rows::choices(program, rows, target))
}

/// The cases of `ode_latency`.
pub fn latency(target: &Target) -> Vec<Case> {
    cases(target, false, &[1, 2, 4, 7], |program, rows| ode_latency::choices(program, rows, target))
}

/// Variants that can run a program of some rows.
type Choices<'a> = &'a dyn Fn(&RowProgram, usize) -> Vec<&'static crate::kernel::Variant>;

fn cases(
    target: &Target,
    many: bool,
    sizes: &[usize],
    choices: impl Fn(&RowProgram, usize) -> Vec<&'static crate::kernel::Variant>,
) -> Vec<Case> {
    let mut out = Vec::new();
    for &rows in sizes {
        for widths in WIDTHS {
            for half in [false, true] {
                out.extend(Network::new(widths, rows, half).cases(0..rows, many, target, &choices));
            }
        }
    }
    let first = sizes[sizes.len() - 1] - 1;
    // A part of the rows, from one that is no multiple of anything; then a wide network.
    out.extend(Network::new([7, 31], first + 1, false).cases(first / 2..first, many, target, &choices));
    for half in [false, true] {
        out.extend(Network::new(WIDE, 3, half).cases(0..3, many, target, &choices));
    }
    out
}

/// Pairs of halves as words.
fn halved(packed: &[f32]) -> Vec<f32> {
    let bits = |v: f32| u32::from(f16::from_f32(v).to_bits());
    packed.chunks_exact(2).map(|v| f32::from_bits(bits(v[0]) | bits(v[1]) << 16)).collect()
}

/// The buffers of a case, and where the parts of the packed weights lie, in groups of four.
struct Network {
    dim: usize,
    hidden: usize,
    rows: usize,
    start: Vec<f32>,
    biases: Vec<f32>,
    outside: Vec<f32>,
    packed: Vec<f32>,
    parts: Vec<usize>,
    half: bool,
    /// Each matrix [k, n] and each bias [1, n], as they were before packing: in, bias, middle, out, bias, a norm's scale
    /// and shift.
    plain: Vec<(Vec<f32>, [usize; 2])>,
}

impl Network {
    fn new([dim, hidden]: [usize; 2], rows: usize, half: bool) -> Network {
        let (mut packed, mut parts, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        for (seed, [k, n]) in
            [[dim, hidden], [1, hidden], [hidden, hidden], [hidden, dim], [1, dim], [1, hidden], [1, hidden]]
                .into_iter()
                .enumerate()
        {
            let mut m = values(k * n, 10 + seed as u64);
            m.iter_mut().for_each(|v| *v /= (k as f32).sqrt());
            if half {
                m.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32());
            }
            parts.push(packed.len() / 4);
            let from = packed.len();
            packed.resize(from + Layout::Whole.elements([n, k]), 0.0);
            for d in 0..k {
                let to = from + d * n.next_multiple_of(4);
                packed[to..to + n].copy_from_slice(&m[d * n..(d + 1) * n]);
            }
            plain.push((m, [k, n]));
        }
        Network {
            dim,
            hidden,
            rows,
            start: values(2 + rows * dim, 1),
            // One for each step.
            biases: values(2 * hidden + 1, 3),
            // Every row twice, three rows over and over.
            outside: values(3 * hidden + 3, 2),
            packed: if half { halved(&packed) } else { packed },
            parts,
            half,
            plain,
        }
    }

    fn view(&self) -> View {
        View { row_div: 2, row_mod: 3, ..View::dense(3, self.hidden) }
    }

    fn program(&self, in_place: bool) -> RowProgram {
        let (dim, hidden) = (self.dim, self.hidden);
        let [d4, h4] = [dim.next_multiple_of(4), hidden.next_multiple_of(4)];
        // Two states, the velocity, then the hidden layers.
        let [x, y, v, h] = [0, d4, 2 * d4, 3 * d4];
        let normed = h + h4;
        let second = if in_place { normed } else { h };
        let mut instructions = Vec::new();
        for step in 0..2 {
            let (from, to) = if step == 0 { (x, y) } else { (y, x) };
            let product = Product {
                size: [hidden, dim],
                src: from,
                dst: h,
                weights: self.parts[0],
                bias: Bias::Packed(self.parts[1]),
                residual: Residual::Outside(self.view()),
                act: Activation::Silu,
                alpha: -0.5,
                beta: 1.75,
            };
            instructions.push(Instruction::product(&product));
            // A layer norm with all, then a bare one by the mean of squares.
            instructions.push(Instruction::norm(&Norm {
                kind: if step == 0 { NormKind::Layer } else { NormKind::Rms },
                cols: hidden,
                src: h,
                dst: normed,
                scale: (step == 0).then_some(self.parts[5]),
                bias: if step == 0 { Bias::Packed(self.parts[6]) } else { Bias::None },
                eps: EPS,
            }));
            instructions.push(Instruction::product(&Product {
                size: [hidden, hidden],
                src: normed,
                dst: second,
                weights: self.parts[2],
                bias: Bias::Outside(step * self.hidden + 1),
                residual: Residual::None,
                act: Activation::Tanh,
                alpha: 1.0,
                beta: 0.0,
            }));
            instructions.push(Instruction::product(&Product {
                size: [dim, hidden],
                src: second,
                dst: v,
                weights: self.parts[3],
                bias: Bias::Packed(self.parts[4]),
                residual: Residual::Columns(from),
                act: Activation::Identity,
                alpha: 0.5,
                beta: -0.25,
            }));
            instructions.push(Instruction::combination(
                dim,
                from,
                &[(v, FACTORS[0]), (from, FACTORS[1])],
                to,
            ));
        }
        RowProgram {
            dim,
            start_column: x,
            end_column: x,
            instructions,
            packed: self.packed.len() / if self.half { 2 } else { 4 },
            half: self.half,
        }
    }

    fn cases(
        &self,
        part: std::ops::Range<usize>,
        many: bool,
        target: &Target,
        choices: Choices<'_>,
    ) -> Vec<Case> {
        let program = self.program(many);
        let mut variants = choices(&program, part.len());
        if !target.gpu {
            variants.truncate(1);
        }
        let (dim, out_offset) = (self.dim, 3);
        let mut want = vec![f64::NAN; out_offset + self.rows * dim + 1];
        for i in part.clone() {
            let result = self.oracle(i);
            want[out_offset + i * dim..][..dim].copy_from_slice(&result);
        }
        let buffers = [id(0), id(1), id(2), id(3)];
        let (start, out) = ((id(4), 2), (id(5), out_offset));
        let command = |variant| -> Command {
            match many {
                true => ode_rows::command(variant, &program, part.clone(), buffers, start, out),
                false => ode_latency::command(variant, &program, part.clone(), buffers, start, out),
            }
        };
        let case = |variant: &&'static crate::kernel::Variant| Case {
            label: format!(
                "{} half {} rows {part:?} of {} widths {dim}, {}",
                variant.name, self.half, self.rows, self.hidden
            ),
            command: command(variant),
            buffers: vec![
                program.words(),
                self.packed.clone(),
                self.biases.clone(),
                self.outside.clone(),
                self.start.clone(),
                vec![0.0; want.len()],
            ],
            expect: vec![(5, want.clone())],
            exact: false,
            tolerance: 1e-5,
        };
        variants.iter().map(case).collect()
    }

    /// Row i in f64, from the network's definition.
    fn oracle(&self, i: usize) -> Vec<f64> {
        let product = |x: &[f64], part: usize| -> Vec<f64> {
            let (m, [k, n]) = &self.plain[part];
            (0..*n).map(|j| (0..*k).map(|d| x[d] * f64::from(m[d * n + j])).sum()).collect()
        };
        let bias = |part: usize, j: usize| f64::from(self.plain[part].0[j]);
        let mut x: Vec<f64> =
            self.start[2 + i * self.dim..][..self.dim].iter().map(|v| f64::from(*v)).collect();
        for step in 0..2 {
            let mut h = product(&x, 0);
            for (j, h) in h.iter_mut().enumerate() {
                let rest = f64::from(self.outside[self.view().at(i, j)]);
                *h = oracle::activation(Activation::Silu, 0, -0.5 * (*h + bias(1, j)) + 1.75 * rest);
            }
            let n = h.len() as f64;
            let mean = if step == 0 { h.iter().sum::<f64>() / n } else { 0.0 };
            let spread = h.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n + f64::from(EPS);
            for (j, h) in h.iter_mut().enumerate() {
                let plain = (*h - mean) / spread.sqrt();
                *h = if step == 0 { plain * bias(5, j) + bias(6, j) } else { plain };
            }
            let mut h = product(&h, 2);
            for (j, h) in h.iter_mut().enumerate() {
                let own = f64::from(self.biases[step * self.hidden + 1 + j]);
                *h = oracle::activation(Activation::Tanh, 0, *h + own);
            }
            let v = product(&h, 3);
            x = (0..self.dim)
                .map(|j| {
                    let v = 0.5 * (v[j] + bias(4, j)) - 0.25 * x[j];
                    x[j] + f64::from(FACTORS[0]) * v + f64::from(FACTORS[1]) * x[j]
                })
                .collect();
        }
        x
    }
}
