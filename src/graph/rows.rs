//! Fused sampling: a phase whose commands all work row by row on narrow matrices becomes one row program, which
//! `ode_rows` (many samples) or `ode_latency` (one or a few) run in a single dispatch with all activations on chip.
//!
//! A phase is fused if it is a chain of products and norms with one buffer of parameters and of combinations of their results, from `start` to
//! `result`, and if its values fit the chip; else it stays as it is. The weights are packed once, in a phase of their own.

use super::Result;
use super::packing::{Matrix, Pack, Precision};
use super::plan::Program;
use crate::kernel::matmul::{self, Form, Mode};
use crate::kernel::pack_weights::{Layout, Store};
use crate::kernel::row_program::{Bias, Instruction, Norm, Product, Residual};
use crate::kernel::{BufferId, View, norm, ode_combine, ode_latency, ode_rows};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;
use std::str::FromStr;

mod place;
mod schedule;
pub use schedule::{LAYERS, Schedule};
use schedule::{Programs, Way};

/// Operations of one dispatch: what a small GPU does in the time of a submit that no watchdog minds (100 ms), and a discrete one.
const DISPATCH_FLOPS: [f64; 2] = [2e10, 2e11];

/// Rows from which fusing pays on a software adapter, where a dispatch costs little and workgroup memory nothing special.
const SOFTWARE_ROWS: usize = 32;

/// How the steps of a sampler are scheduled on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fusion {
    /// By batch, network and device: what was tuned for it, else a guess.
    #[default]
    Auto,
    /// Layer by layer.
    Layers,
    /// All steps of some samples in each workgroup, where the network allows it.
    Rows,
    /// All steps of one sample (up to four) in each workgroup, where the network allows it.
    Latency,
}

impl Fusion {
    /// All of them with their names.
    pub const ALL: [(&'static str, Fusion); 4] = [
        ("auto", Fusion::Auto),
        ("layers", Fusion::Layers),
        ("rows", Fusion::Rows),
        ("latency", Fusion::Latency),
    ];
}

impl FromStr for Fusion {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Fusion, String> {
        let found = Fusion::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, f)| *f).ok_or_else(|| format!("found {text:?}, needed auto, layers, rows or latency"))
    }
}

/// A value of the chain: where the commands have it, and its columns.
type Place = (BufferId, usize);

/// One step of the chain.
enum Link {
    Product { call: Box<matmul::Call>, src: usize, residual: Option<usize>, dst: usize },
    Combination { x: usize, stages: Vec<(usize, f32)>, dst: usize },
    Norm { call: Box<norm::Call>, x: usize, dst: usize },
}

/// The chain that a phase computes.
struct Chain {
    links: Vec<Link>,
    /// Columns of each value; the first is the start, the last the result.
    cols: Vec<usize>,
    /// The buffers of the outside biases and of the outside residuals.
    outside: [Option<BufferId>; 2],
    params: BufferId,
}

/// Replaces phase `phase`, the last so far, by one dispatch, if it can be and `fusion` (or the target) wants it so. `start` and
/// `result` are [rows, dim], dense. Whether it was replaced.
pub fn fuse(
    program: &mut Program,
    phase: &str,
    [start, result]: [BufferId; 2],
    [rows, dim]: [usize; 2],
    fusion: Fusion,
    precision: Precision,
) -> Result<bool> {
    let wanted = match fusion {
        Fusion::Layers => false,
        Fusion::Auto => program.target.gpu,
        Fusion::Rows | Fusion::Latency => true,
    };
    let Some(range) = program.phase_range(phase).filter(|_| wanted) else { return Ok(false) };
    let Some(chain) = find(program, range.clone(), [start, result], [rows, dim]) else { return Ok(false) };
    let pack = chain.pack(precision.store());
    let [in_place, apart] = [true, false].map(|in_place| place::place(&chain, &pack, dim, in_place));
    let programs = Programs { rows: in_place, latency: apart };
    let (way, schedule) = programs.decide(rows, fusion, &program.target);
    program.schedule = Some(schedule);
    let (built, variant, latency) = match way {
        Way::Layers => return Ok(false),
        Way::Rows(variant) => (programs.rows, variant, false),
        Way::Latency(variant) => (programs.latency, variant, true),
    };
    let fast = program.target.discrete || program.target.software;
    let table = program.constant(&built.words())?;
    let packed = pack.pack.buffer(program)?;
    let empty = program.empty();
    let [biases, outside] = chain.outside.map(|b| b.unwrap_or(empty));
    let flops = program.flops_from(range.start);
    let per_row = flops / rows as f64;
    let most = DISPATCH_FLOPS[usize::from(fast)] / per_row.max(1.0);
    let size = (most as usize).clamp(32, rows.max(32)).next_multiple_of(32);
    let mut commands = Vec::new();
    for first in (0..rows).step_by(size) {
        let part = first..rows.min(first + size);
        let (buffers, start, result) = ([table, packed, biases, outside], (start, 0), (result, 0));
        commands.push(match latency {
            true => ode_latency::command(variant, &built, part, buffers, start, result),
            false => ode_rows::command(variant, &built, part, buffers, start, result),
        });
    }
    program.truncate(range.start);
    let each = flops / commands.len() as f64;
    for command in commands {
        program.split_here();
        program.count_flops(each);
        program.push(command)?;
    }
    pack.pack.lower(program, chain.params, packed)?;
    Ok(true)
}

/// Reads the chain off the commands; none if anything else happens there.
fn find(
    program: &Program,
    range: Range<usize>,
    [start, result]: [BufferId; 2],
    [rows, dim]: [usize; 2],
) -> Option<Chain> {
    let commands = &program.commands[range];
    let written: Vec<BufferId> = commands.iter().flat_map(|c| c.writes()).collect();
    let mut chain = Chain {
        links: Vec::new(),
        cols: vec![dim],
        outside: [None; 2],
        params: matmul::Call::of(commands.first()?)?.b.0,
    };
    let mut values: HashMap<Place, usize> = HashMap::from([((start, 0), 0)]);
    if written.contains(&chain.params) || written.contains(&start) {
        return None;
    }
    for command in commands {
        let (link, place, cols) = match matmul::Call::of(command) {
            Some(call) => {
                let [m, n, k] = call.size;
                let e = &call.epilogue;
                let src = *values.get(&(call.a.0, call.a.1.offset as usize))?;
                let whole = m == rows && k == chain.cols[src] && call.a.1.row_stride as usize == k;
                let plain = call.form != Form::TN && e.mode == Mode::Plain && call.b.0 == chain.params;
                if !whole || !plain || call.c.1.row_stride as usize != n {
                    return None;
                }
                if let Some((buffer, _)) = e.bias
                    && buffer != chain.params
                {
                    chain.bind_outside(0, buffer, &written)?;
                }
                let residual = match e.residual {
                    None => None,
                    Some((buffer, view)) if written.contains(&buffer) || buffer == start => {
                        let value = *values.get(&(buffer, view.offset as usize))?;
                        let same = view == View::dense(view.offset as usize, n) && chain.cols[value] == n;
                        Some(same.then_some(value)?)
                    }
                    Some((buffer, _)) => {
                        chain.bind_outside(1, buffer, &written)?;
                        None
                    }
                };
                let place = (call.c.0, call.c.1.offset as usize);
                (Link::Product { call: Box::new(call), src, residual, dst: chain.cols.len() }, place, n)
            }
            None if norm::Call::of(command).is_some() => {
                let call = norm::Call::of(command)?;
                let [_, cols] = call.size;
                let value = *values.get(&(call.x.0, call.x.1.offset as usize))?;
                let dense = |v: View| v == View::dense(v.offset as usize, cols);
                // A vector among the parameters, the same for every row.
                let vector = |o: Option<(BufferId, View)>| {
                    o.is_none_or(|(b, v)| {
                        b == chain.params && v.col_stride == 1 && (v.row_stride == 0 || rows == 1)
                    })
                };
                let own = call.size[0] == rows && chain.cols[value] == cols;
                let plain = (rows == 1 || (dense(call.x.1) && dense(call.y.1)))
                    && vector(call.scale)
                    && vector(call.shift);
                if !own || !plain {
                    return None;
                }
                let place = (call.y.0, call.y.1.offset as usize);
                (Link::Norm { call: Box::new(call), x: value, dst: chain.cols.len() }, place, cols)
            }
            None => {
                let call = ode_combine::Call::of(command)?;
                let value =
                    |place: &Place| values.get(place).copied().filter(|v| chain.cols[*v] == call.size[1]);
                let x = value(&call.x)?;
                let stages =
                    call.stages.iter().map(|(p, c)| Some((value(p)?, *c))).collect::<Option<Vec<_>>>()?;
                if call.size[0] != rows {
                    return None;
                }
                (Link::Combination { x, stages, dst: chain.cols.len() }, call.y, call.size[1])
            }
        };
        chain.links.push(link);
        values.insert(place, chain.cols.len());
        chain.cols.push(cols);
    }
    // The last value is the result, and nothing else of it was written.
    let last = values.get(&(result, 0)) == Some(&(chain.cols.len() - 1));
    let once = written.iter().filter(|b| **b == result).count() == 1;
    (last && once && chain.cols.last() == Some(&dim)).then_some(chain)
}

impl Chain {
    /// Its weights and those of its biases that are parameters, and the store that all are in.
    fn pack(&self, store: Store) -> Packed {
        let mut packed = Packed { pack: Pack::default(), store };
        for link in &self.links {
            if let Link::Product { call, .. } = link {
                packed.pack.add(Matrix::weight(call), packed.kind());
                if let Some((buffer, offset)) = call.epilogue.bias
                    && buffer == self.params
                {
                    packed.pack.add(Matrix::row(call.size[1], offset), packed.kind());
                }
            }
            if let Link::Norm { call, .. } = link {
                for (_, view) in call.scale.iter().chain(&call.shift) {
                    packed.pack.add(Matrix::row(call.size[1], view.offset as usize), packed.kind());
                }
            }
        }
        packed
    }

    /// Notes the one buffer of outside biases (0) or residuals (1); none if there is another one already or the chain writes it.
    fn bind_outside(&mut self, which: usize, buffer: BufferId, written: &[BufferId]) -> Option<()> {
        let free = self.outside[which].is_none_or(|b| b == buffer) && !written.contains(&buffer);
        free.then(|| self.outside[which] = Some(buffer))
    }
}

/// The packed weights of a chain.
struct Packed {
    pack: Pack,
    store: Store,
}

impl Packed {
    fn kind(&self) -> (Layout, Store) {
        (Layout::Whole, self.store)
    }

    /// Words of a group of four weights.
    fn group(&self) -> usize {
        if self.store == Store::Half { 2 } else { 4 }
    }

    /// Groups of four in all.
    fn groups(&self) -> usize {
        self.pack.words / self.group()
    }

    /// The first group of four of a matrix of the chain.
    fn at(&self, matrix: Matrix) -> usize {
        self.pack.at(matrix, self.kind()).unwrap_or_default() / self.group()
    }
}

impl Link {
    fn dst(&self) -> usize {
        match self {
            Link::Product { dst, .. } | Link::Combination { dst, .. } | Link::Norm { dst, .. } => *dst,
        }
    }

    /// Values that are read before anything is written.
    fn operand(&self) -> Option<usize> {
        match self {
            Link::Product { src, .. } => Some(*src),
            Link::Combination { .. } | Link::Norm { .. } => None,
        }
    }

    /// Values that are read while the result is written.
    fn read_late(&self) -> Vec<usize> {
        match self {
            Link::Product { residual, .. } => residual.iter().copied().collect(),
            // The sums are taken again and again while results are written.
            Link::Norm { x, .. } => vec![*x],
            Link::Combination { x, stages, .. } => stages.iter().map(|(s, _)| *s).chain([*x]).collect(),
        }
    }

    /// The instruction, given the first column of every value.
    fn instruction(&self, chain: &Chain, pack: &Packed, columns: &[usize]) -> Instruction {
        match self {
            Link::Product { call, src, residual, dst } => {
                let e = &call.epilogue;
                let n = call.size[1];
                Instruction::product(&Product {
                    size: [n, call.size[2]],
                    src: columns[*src],
                    dst: columns[*dst],
                    weights: pack.at(Matrix::weight(call)),
                    bias: match e.bias {
                        None => Bias::None,
                        Some((b, offset)) if b == chain.params => {
                            Bias::Packed(pack.at(Matrix::row(n, offset)))
                        }
                        Some((_, offset)) => Bias::Outside(offset),
                    },
                    residual: match (residual, e.residual) {
                        (Some(value), _) => Residual::Columns(columns[*value]),
                        (None, Some((_, view))) => Residual::Outside(view),
                        (None, None) => Residual::None,
                    },
                    act: e.act,
                    alpha: e.alpha,
                    beta: e.beta,
                })
            }
            Link::Norm { call, x, dst } => {
                let row = |o: Option<(BufferId, View)>| {
                    o.map(|(_, view)| pack.at(Matrix::row(call.size[1], view.offset as usize)))
                };
                Instruction::norm(&Norm {
                    kind: call.kind,
                    cols: call.size[1],
                    src: columns[*x],
                    dst: columns[*dst],
                    scale: row(call.scale),
                    bias: row(call.shift).map_or(Bias::None, Bias::Packed),
                    eps: call.eps,
                })
            }
            Link::Combination { x, stages, dst } => {
                let stages: Vec<(usize, f32)> = stages.iter().map(|(s, c)| (columns[*s], *c)).collect();
                Instruction::combination(chain.cols[*dst], columns[*x], &stages, columns[*dst])
            }
        }
    }
}
