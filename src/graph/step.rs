//! A fused training step: the products, activations and reductions of an MLP, forward and backward, become three dispatches. `mlp_pack` lays
//! the weights out, `mlp_grad` carries rows of the batch through all layers and back, `mlp_grad_weights` takes all gradients.
//!
//! The chain is read off the lowered commands: linear layers with activations between, whose result is compared with a target (the
//! gradient of a mean square error), and the reverse pass of each. What is not such a chain stays as it is.

use super::Result;
use super::plan::{BufferKind, Program};
use super::rows::{Fusion, LAYERS, Schedule};
use crate::kernel::binary::{self, BinaryOp};
use crate::kernel::math::Activation;
use crate::kernel::matmul::{self, Epilogue, Form, Mode};
use crate::kernel::mlp_grad::{self, Buffers};
use crate::kernel::mlp_layers::{Layer, Layers};
use crate::kernel::target::bucket;
use crate::kernel::{BufferId, Command, Target, Variant, View, col_sum, map, mlp_grad_weights, mlp_pack};

/// Rows of a batch up to which the step is guessed to be faster fused. Beyond, each product fills a GPU, and its tiles read the
/// weights less often than a workgroup of a few rows.
const MOST_ROWS: usize = 4096;

/// The MLP of a training step, as the commands have it.
struct Chain {
    layers: Layers,
    rows: usize,
    /// The first operand.
    x: (BufferId, View),
    target: (BufferId, View),
    /// The result.
    y: (BufferId, View),
    /// Of the result and the target in the result's cotangent.
    factors: [f32; 2],
    /// Where the first operand's cotangent goes.
    dx: Option<(BufferId, View)>,
    /// The commands that compute all this.
    taken: Vec<usize>,
}

/// Replaces the MLP in the commands from number `from` on, if there is one and `fusion` (or the target) wants it so: its weights in
/// `params`, its gradients to `grads`, which have the same layout. Whether it was replaced. A training step is fused in one way, so both
/// ways to fuse a sampler's steps mean it.
pub fn fuse(
    program: &mut Program,
    from: usize,
    [params, grads]: [BufferId; 2],
    fusion: Fusion,
) -> Result<bool> {
    let Some(chain) = find(program, from, params, grads) else { return Ok(false) };
    let Some((way, schedule)) = decide(&chain, fusion, &program.target) else { return Ok(false) };
    let Some((before, after)) = around(program, from, &chain) else { return Ok(false) };
    program.schedule = Some(schedule);
    let Some([rows, weights]) = way else { return Ok(false) };
    let kept = |program: &Program, list: &[usize]| -> Vec<(Command, f64)> {
        list.iter().map(|at| (program.commands[*at].clone(), program.flops_at(*at))).collect()
    };
    let (before, after) = (kept(program, &before), kept(program, &after));
    let table = program.constant(&chain.layers.words())?;
    let packed = program.temporary(chain.layers.packed())?;
    let tape = program.temporary(chain.rows * chain.layers.tape())?;
    let dx = match chain.dx {
        Some(dx) => dx,
        // Bound and never written.
        None => (program.temporary(1)?, View::dense(0, 1)),
    };
    let buffers = Buffers { table, weights: packed, x: chain.x, target: chain.target, tape, y: chain.y, dx };
    let pass = mlp_grad::command(rows, &chain.layers, chain.rows, chain.factors, &buffers);
    let gradients = mlp_grad_weights::command(weights, &chain.layers, chain.rows, [table, tape, grads]);
    let work = |each: usize| 2.0 * (chain.rows * each) as f64;
    // First, since it waits for nothing that this step computes.
    let mut commands = vec![(mlp_pack::command(&chain.layers, table, params, packed), 0.0)];
    commands.extend(before);
    commands.push((pass, work(chain.layers.row_work())));
    commands.push((gradients, work(chain.layers.weight_work())));
    commands.extend(after);
    program.truncate(from);
    for (command, flops) in commands {
        if flops > 0.0 {
            program.count_flops(flops);
        }
        program.push(command)?;
    }
    Ok(true)
}

/// The variants to take, none: layer by layer; and how that was decided. Nothing if the target cannot run it.
type Decision = (Option<[&'static Variant; 2]>, Schedule);

fn decide(chain: &Chain, fusion: Fusion, target: &Target) -> Option<Decision> {
    let rows = mlp_grad::choices(&chain.layers, chain.rows, target);
    let weights = *mlp_grad_weights::choices(&chain.layers, target).first()?;
    let first = *rows.first()?;
    let guess = match target.gpu && !target.software && chain.rows <= MOST_ROWS {
        true => Some(first),
        false => None,
    };
    let name = |way: &Option<&'static Variant>| way.map_or(LAYERS, |v| v.name);
    let mut ways = vec![guess];
    ways.extend(
        std::iter::once(None).chain(rows.iter().map(|v| Some(*v))).filter(|way| name(way) != name(&guess)),
    );
    let [batch, widest, elements] = [chain.rows, chain.layers.widest(), chain.layers.elements()].map(bucket);
    let question = format!(
        "step {batch} rows, {} layers, widest {widest}, {elements} weights",
        chain.layers.list().len()
    );
    let way = match fusion {
        Fusion::Layers => None,
        Fusion::Rows | Fusion::Latency => Some(first),
        Fusion::Auto => target.tuned(|| question.clone(), &ways, name).unwrap_or(guess),
    };
    let schedule = Schedule { question, ways: ways.iter().map(name).collect(), taken: name(&way) };
    Some((way.map(|v| [v, weights]), schedule))
}

/// The other commands: those that come before the chain, and those that wait for it. None if it waits for one that waits for it.
fn around(program: &Program, from: usize, chain: &Chain) -> Option<(Vec<usize>, Vec<usize>)> {
    let mut later: Vec<BufferId> = chain.taken.iter().flat_map(|at| program.commands[*at].writes()).collect();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for at in (from..program.commands.len()).filter(|at| !chain.taken.contains(at)) {
        let command = &program.commands[at];
        if !command.args.iter().any(|b| later.contains(b)) {
            before.push(at);
            continue;
        }
        if command.writes().any(|b| b == chain.x.0 || b == chain.target.0) {
            return None;
        }
        later.extend(command.writes());
        after.push(at);
    }
    Some((before, after))
}

/// The products among the commands, and what else the chain is made of.
struct Parts<'a> {
    program: &'a Program,
    products: Vec<(usize, matmul::Call)>,
    maps: Vec<(usize, map::Call)>,
    sums: Vec<(usize, col_sum::Call)>,
    params: BufferId,
    grads: BufferId,
}

fn find(program: &Program, from: usize, params: BufferId, grads: BufferId) -> Option<Chain> {
    let tail = || program.commands.iter().enumerate().skip(from);
    let parts = Parts {
        program,
        products: tail().filter_map(|(at, c)| Some((at, matmul::Call::of(c)?))).collect(),
        maps: tail().filter_map(|(at, c)| Some((at, map::Call::of(c)?))).collect(),
        sums: tail().filter_map(|(at, c)| Some((at, col_sum::Call::of(c)?))).collect(),
        params,
        grads,
    };
    tail().filter_map(|(at, c)| Some((at, binary::Call::of(c)?))).find_map(|(at, call)| {
        let [alpha, beta, gamma] = call.coefficients;
        if call.op != BinaryOp::Add || gamma != 0.0 {
            return None;
        }
        parts
            .chain(at, &call, call.a, (call.b, [alpha, beta]))
            .or_else(|| parts.chain(at, &call, call.b, (call.a, [beta, alpha])))
    })
}

/// Whether an epilogue leaves the product as it is.
fn bare(e: &Epilogue) -> bool {
    e.mode == Mode::Plain
        && e.act == Activation::Identity
        && e.alpha == 1.0
        && e.bias.is_none()
        && e.residual.is_none()
}

impl Parts<'_> {
    /// The linear layer whose result fills `buffer`.
    fn layer(&self, buffer: BufferId) -> Option<(usize, matmul::Call, usize)> {
        let (at, call) = self.products.iter().find(|(_, c)| c.c.0 == buffer)?;
        let ([m, n, k], (bias, offset)) = (call.size, call.epilogue.bias?);
        let plain = bare(&Epilogue { bias: None, ..call.epilogue });
        let dense = call.b.1.row_stride as usize == k && (m == 1 || call.c.1 == View::dense(0, n));
        let own = call.b.0 == self.params && bias == self.params;
        (call.form == Form::NT && plain && dense && own).then_some((*at, *call, offset))
    }

    /// The commands that take the gradients of a layer's weight and bias from the cotangent `d` of its result.
    fn gradients(&self, layer: &matmul::Call, bias: usize, d: BufferId) -> Option<[usize; 2]> {
        let ([m, n, k], offset) = (layer.size, layer.b.1.offset);
        let weight = self.products.iter().find(|(_, c)| {
            let operands = (c.a.0, c.b.0, c.b.1.offset) == (d, layer.a.0, layer.a.1.offset);
            let place = c.c.0 == self.grads && c.c.1.offset == offset;
            let strides = n == 1 || c.c.1.row_stride as usize == k;
            c.form == Form::TN && c.size == [n, k, m] && operands && place && strides && bare(&c.epilogue)
        })?;
        let sum = self.sums.iter().find(|(_, c)| {
            let place = c.y.0 == self.grads && c.y.1.offset as usize == bias;
            c.x.0 == d && c.x.1 == View::dense(0, n) && c.size == [1, m, n] && c.scale == 1.0 && place
        })?;
        Some([weight.0, sum.0])
    }

    /// The chain whose result is `y`, compared with `target` by command number `at`.
    fn chain(
        &self,
        at: usize,
        call: &binary::Call,
        y: (BufferId, View),
        (target, factors): ((BufferId, View), [f32; 2]),
    ) -> Option<Chain> {
        let (_, last, _) = self.layer(y.0)?;
        let [rows, out, _] = last.size;
        let whole = call.size[0] * call.size[1] == rows * out;
        if !whole || y.1.offset != 0 || call.y.1.offset != 0 || y.0 == target.0 {
            return None;
        }
        // One long row is a dense matrix.
        let target_view = match call.size[0] {
            1 if target.1.col_stride == 1 => View::dense(target.1.offset as usize, out),
            _ if target.1.plain_rows() && call.size == [rows, out] => target.1,
            _ => return None,
        };
        let mut taken = vec![at];
        let mut inside = Vec::new();
        let (mut result, mut d, mut act) = (y.0, call.y.0, Activation::Identity);
        let mut layers = Vec::new();
        let (x, dx) = loop {
            let (forward, layer, bias) = self.layer(result)?;
            let [m, n, k] = layer.size;
            if m != rows {
                return None;
            }
            taken.push(forward);
            taken.extend(self.gradients(&layer, bias, d)?);
            inside.push(d);
            layers.push(Layer { size: [n, k], weight: layer.b.1.offset as usize, bias, act });
            let back = self.products.iter().find(|(_, c)| {
                let operands = c.a.0 == d && c.b.0 == self.params && c.b.1.offset == layer.b.1.offset;
                c.form == Form::NN && c.size == [rows, k, n] && operands
            });
            let before = self.maps.iter().find(|(_, c)| c.y.0 == layer.a.0 && c.order == 0);
            let (Some((map_at, map)), Some((back_at, product))) = (before, back) else {
                break (layer.a, back.copied());
            };
            let e = &product.epilogue;
            let slope = e.mode == Mode::MulDerivative && e.act == map.act && e.alpha == 1.0;
            let same = e.residual.is_some_and(|(b, v)| b == map.x.0 && (rows == 1 || v == View::dense(0, k)));
            let operand = layer.a.1.offset == 0 && (rows == 1 || layer.a.1.row_stride as usize == k);
            let whole = map.size[0] * map.size[1] == rows * k;
            let adjacent = whole && operand && map.x.1.offset == 0 && map.y.1.offset == 0;
            if !slope || !same || !adjacent || self.layer(map.x.0).is_none() {
                break (layer.a, back.copied());
            }
            taken.extend([*map_at, *back_at]);
            inside.extend([map.x.0, map.y.0]);
            (result, d, act) = (map.x.0, product.c.0, map.act);
        };
        let dx = match dx {
            Some((at, product)) if bare(&product.epilogue) => {
                taken.push(at);
                Some(product.c)
            }
            Some(_) => return None,
            None => None,
        };
        layers.reverse();
        let chain = Chain {
            layers: Layers::new(layers, dx.is_some())?,
            rows,
            x,
            target: (target.0, target_view),
            y: (y.0, View::dense(0, out)),
            factors,
            dx,
            taken,
        };
        self.alone(&chain, &inside).then_some(chain)
    }

    /// Whether nobody else looks at what the chain will keep to itself, and its outputs are its own.
    fn alone(&self, chain: &Chain, inside: &[BufferId]) -> bool {
        let temporary = |b: &BufferId| self.program.buffers[b.0 as usize].kind == BufferKind::Temporary;
        let others = || {
            let all = self.program.commands.iter().enumerate();
            all.filter(|(at, _)| !chain.taken.contains(at)).map(|(_, command)| command)
        };
        let outputs = [Some(chain.y.0), chain.dx.map(|dx| dx.0)];
        inside.iter().all(temporary)
            && !others().any(|c| c.args.iter().any(|b| inside.contains(b)))
            && !others().any(|c| c.writes().any(|b| outputs.contains(&Some(b))))
    }
}
