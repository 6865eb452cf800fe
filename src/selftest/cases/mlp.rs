//! Cases of `mlp_pack`, `mlp_grad` and `mlp_grad_weights`: networks of one to four layers with every activation, weights anywhere among
//! the parameters, strided operands, with and without the first operand's cotangent, by every variant that they fit.

use super::{SIZES, id, oracle, values};
use crate::kernel::case::Case;
use crate::kernel::math::Activation;
use crate::kernel::mlp_grad::{self, Buffers};
use crate::kernel::mlp_layers::{Layer, Layers};
use crate::kernel::{Target, View, mlp_grad_weights, mlp_pack};

/// Columns of the operand and of each layer's result.
const WIDTHS: [&[usize]; 6] =
    [&[1, 1], &[7, 31, 2], &[33, 65, 12], &[5, 20, 33, 7], &[12, 130, 64, 31, 9], &[20, 300, 6]];
/// What is between the layers.
const ACTS: [Activation; 5] =
    [Activation::Silu, Activation::Tanh, Activation::Relu, Activation::Mish, Activation::Softplus];
/// Of the result and of what it is compared with.
const FACTORS: [f32; 2] = [0.75, -0.5];

/// The cases of `mlp_pack`.
pub fn pack(_target: &Target) -> Vec<Case> {
    let network = |(widths, dx): (&[usize], bool)| {
        let n = Network::new(widths, 0, dx);
        let want: Vec<f64> = n.packed().iter().map(|v| f64::from(*v)).collect();
        Case {
            label: format!("mlp_pack {widths:?} dx {dx}"),
            command: mlp_pack::command(&n.layers, id(0), id(1), id(2)),
            buffers: vec![n.layers.words(), n.params.clone(), vec![0.0; want.len()]],
            expect: vec![(2, want)],
            exact: false,
            tolerance: 1e-12,
        }
    };
    WIDTHS.into_iter().flat_map(|widths| [(widths, false), (widths, true)]).map(network).collect()
}

/// The cases of `mlp_grad`.
pub fn grad(target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (number, widths) in WIDTHS.into_iter().enumerate() {
        for (turn, &rows) in SIZES.iter().enumerate() {
            let n = Network::new(widths, number + turn, (number + turn).is_multiple_of(2));
            let pass = n.pass(rows);
            let mut variants = mlp_grad::choices(&n.layers, rows, target);
            if !target.gpu {
                variants.truncate(1);
            }
            out.extend(variants.into_iter().map(|variant| n.case(variant, rows, &pass)));
        }
    }
    out
}

/// The cases of `mlp_grad_weights`.
pub fn weights(target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (number, widths) in WIDTHS.into_iter().enumerate() {
        for &rows in &SIZES {
            let n = Network::new(widths, number, false);
            let tape: Vec<f32> = n.pass(rows).tape.iter().map(|v| *v as f32).collect();
            let want = n.gradients(rows, &tape);
            let mut variants = mlp_grad_weights::choices(&n.layers, target);
            if !target.gpu {
                variants.truncate(1);
            }
            out.extend(variants.into_iter().map(|variant| Case {
                label: format!("{} {widths:?} of {rows}", variant.name),
                command: mlp_grad_weights::command(variant, &n.layers, rows, [id(0), id(1), id(2)]),
                buffers: vec![n.layers.words(), tape.clone(), vec![8.0; want.len()]],
                expect: vec![(2, want.clone())],
                exact: false,
                tolerance: 1e-5,
            }));
        }
    }
    out
}

struct Network {
    widths: Vec<usize>,
    layers: Layers,
    params: Vec<f32>,
}

/// What a pass leaves, in f64.
struct Pass {
    x: Vec<f32>,
    goal: Vec<f32>,
    tape: Vec<f64>,
    y: Vec<f64>,
    dx: Vec<f64>,
}

impl Network {
    fn new(widths: &[usize], turn: usize, dx: bool) -> Network {
        let mut end = 3;
        let mut layers: Vec<Layer> = widths
            .windows(2)
            .enumerate()
            .map(|(l, pair)| {
                let [k, n] = [pair[0], pair[1]];
                // The bias before the weight, a gap between layers.
                let (bias, weight) = (end, end + n + 1);
                end = weight + n * k + 2;
                Layer { size: [n, k], weight, bias, act: ACTS[(l + turn) % ACTS.len()] }
            })
            .collect();
        if let Some(last) = layers.last_mut() {
            last.act = Activation::Identity;
        }
        let mut params = values(end, 11);
        for layer in &layers {
            let spread = (layer.size[1] as f32).sqrt();
            params[layer.weight..][..layer.size[0] * layer.size[1]].iter_mut().for_each(|w| *w /= spread);
        }
        let layers = Layers::new(layers, dx).unwrap_or_else(|| unreachable!("widths meet"));
        Network { widths: widths.to_vec(), layers, params }
    }

    fn weight(&self, layer: &Layer, j: usize, i: usize) -> f64 {
        f64::from(self.params[layer.weight + j * layer.size[1] + i])
    }

    /// By the definition of the layout: for each layer its transpose, its bias and, where it is needed, itself, padded by zeros.
    fn packed(&self) -> Vec<f32> {
        let mut out = Vec::new();
        for (l, layer) in self.layers.list().iter().enumerate() {
            let [n, k] = layer.size;
            let [wide, deep] = [n, k].map(|d| d.next_multiple_of(4));
            let at = |j: usize, i: usize| if j < n && i < k { self.weight(layer, j, i) as f32 } else { 0.0 };
            (0..deep).for_each(|i| out.extend((0..wide).map(|j| at(j, i))));
            out.extend((0..wide).map(|j| if j < n { self.params[layer.bias + j] } else { 0.0 }));
            if l > 0 || self.layers.wants_dx {
                (0..wide).for_each(|j| out.extend((0..deep).map(|i| at(j, i))));
            }
        }
        out
    }

    /// First column on the tape of each layer's operand and result, and the columns in all.
    fn places(&self) -> (Vec<[usize; 2]>, usize) {
        let mut end = 0;
        let places = self.layers.list().iter().map(|layer| {
            let x = end;
            let z = x + layer.size[1].next_multiple_of(4);
            end = z + layer.size[0].next_multiple_of(4);
            [x, z]
        });
        (places.collect(), end)
    }

    fn pass(&self, rows: usize) -> Pass {
        let (dim, out) = (self.layers.dim(), self.layers.out());
        let (places, cols) = self.places();
        let layers = self.layers.list();
        // As in `case`: operands with gaps, results with gaps.
        let x = values(1 + rows * (dim + 2), 21);
        let goal = values(2 + rows * (out + 1), 22);
        let mut tape = vec![0.0f64; rows * cols];
        let (mut y, mut dx) = (vec![f64::NAN; 3 + rows * (out + 3)], vec![f64::NAN; 2 + rows * (dim + 1)]);
        for i in 0..rows {
            let tape = &mut tape[i * cols..(i + 1) * cols];
            let mut h: Vec<f64> = x[1 + i * (dim + 2)..][..dim].iter().map(|v| f64::from(*v)).collect();
            let mut all = Vec::new();
            for (layer, [at, _]) in layers.iter().zip(&places) {
                tape[*at..][..h.len()].copy_from_slice(&h);
                let row =
                    |j: usize| h.iter().enumerate().map(|(i, v)| self.weight(layer, j, i) * v).sum::<f64>();
                let z: Vec<f64> =
                    (0..layer.size[0]).map(|j| row(j) + f64::from(self.params[layer.bias + j])).collect();
                h = z.iter().map(|z| oracle::activation(layer.act, 0, *z)).collect();
                all.push(z);
            }
            y[3 + i * (out + 3)..][..out].copy_from_slice(&h);
            let [alpha, beta] = FACTORS.map(f64::from);
            let goal = &goal[2 + i * (out + 1)..];
            let mut d: Vec<f64> = h.iter().zip(goal).map(|(y, g)| alpha * y + beta * f64::from(*g)).collect();
            for (l, layer) in layers.iter().enumerate().rev() {
                tape[places[l][1]..][..d.len()].copy_from_slice(&d);
                let column =
                    |i: usize| d.iter().enumerate().map(|(j, d)| self.weight(layer, j, i) * d).sum::<f64>();
                let back: Vec<f64> = (0..layer.size[1]).map(column).collect();
                d = match l.checked_sub(1) {
                    Some(before) => {
                        let slope = all[before].iter().map(|z| oracle::activation(layers[before].act, 1, *z));
                        back.iter().zip(slope).map(|(b, s)| b * s).collect()
                    }
                    None => back,
                };
            }
            if self.layers.wants_dx {
                dx[2 + i * (dim + 1)..][..dim].copy_from_slice(&d);
            }
        }
        Pass { x, goal, tape, y, dx }
    }

    fn case(&self, variant: &'static crate::kernel::Variant, rows: usize, pass: &Pass) -> Case {
        let (dim, out) = (self.layers.dim(), self.layers.out());
        let buffers = Buffers {
            table: id(0),
            weights: id(1),
            x: (id(2), View::strided(1, dim + 2)),
            target: (id(3), View::strided(2, out + 1)),
            tape: id(4),
            y: (id(5), View::strided(3, out + 3)),
            dx: (id(6), View::strided(2, dim + 1)),
        };
        let zeros = |want: &[f64]| vec![0.0f32; want.len()];
        Case {
            label: format!("{} {:?} of {rows}, dx {}", variant.name, self.widths, self.layers.wants_dx),
            command: mlp_grad::command(variant, &self.layers, rows, FACTORS, &buffers),
            buffers: vec![
                self.layers.words(),
                self.packed(),
                pass.x.clone(),
                pass.goal.clone(),
                zeros(&pass.tape),
                zeros(&pass.y),
                zeros(&pass.dx),
            ],
            expect: vec![(4, pass.tape.clone()), (5, pass.y.clone()), (6, pass.dx.clone())],
            exact: false,
            tolerance: 1e-5,
        }
    }

    fn gradients(&self, rows: usize, tape: &[f32]) -> Vec<f64> {
        let mut want = vec![f64::NAN; self.params.len()];
        let (places, cols) = self.places();
        for (layer, [x, z]) in self.layers.list().iter().zip(places) {
            let [n, k] = layer.size;
            let at = |b: usize, column: usize| f64::from(tape[b * cols + column]);
            for j in 0..n {
                want[layer.bias + j] = (0..rows).map(|b| at(b, z + j)).sum();
                for i in 0..k {
                    want[layer.weight + j * k + i] = (0..rows).map(|b| at(b, z + j) * at(b, x + i)).sum();
                }
            }
        }
        want
    }
}
