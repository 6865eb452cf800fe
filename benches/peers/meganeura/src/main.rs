//! meganeura on the MLP workloads: all Euler steps are one graph, so that a run is one submission.

#[path = "../../protocol.rs"]
mod protocol;

use meganeura::{Graph, Mode, NodeId, Session, SessionConfig, build};
use protocol::{Args, CHUNK, Error, Peer, Work};
use safetensors::SafeTensors;

const OBSERVATION: usize = 20;
const TIME: usize = 64;
const LEARNING_RATE: f32 = 1e-4;

/// A linear layer: the weight [in, out], and the bias.
struct Layer {
    columns: usize,
    out: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    /// Rows `from .. from + rows` of the weight.
    fn part(&self, from: usize, rows: usize) -> &[f32] {
        &self.weight[from * self.out..(from + rows) * self.out]
    }
}

/// PyTorch's weights are [out, in].
fn load(path: &std::path::Path) -> Result<Vec<Layer>, Error> {
    let bytes = std::fs::read(path)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let count = file.names().iter().filter(|name| name.ends_with(".weight")).count();
    let layer = |i: usize| {
        let (shape, weight) = protocol::floats(&file, &format!("layers.{i}.weight"))?;
        let (out, columns) = (shape[0], shape[1]);
        let turned = (0..out * columns).map(|at| weight[at % out * columns + at / out]).collect();
        let (_, bias) = protocol::floats(&file, &format!("layers.{i}.bias"))?;
        Ok(Layer { columns, out, weight: turned, bias })
    };
    (0..count).map(layer).collect()
}

/// The layers after the first, with SiLU before each.
fn tail(g: &mut Graph, layers: &[(NodeId, NodeId)], mut h: NodeId) -> NodeId {
    for (weight, bias) in layers {
        let active = g.silu(h);
        let product = g.matmul(active, *weight);
        h = g.bias_add(product, *bias);
    }
    h
}

/// The parameters of the layers after the first.
fn tail_parameters(g: &mut Graph, layers: &[Layer]) -> Vec<(NodeId, NodeId)> {
    let of = |(i, layer): (usize, &Layer)| {
        let weight = g.parameter(&format!("weight.{i}"), &[layer.columns, layer.out]);
        (weight, g.parameter(&format!("bias.{i}"), &[layer.out]))
    };
    layers.iter().enumerate().skip(1).map(of).collect()
}

fn set_tail(session: &mut Session, layers: &[Layer], scale: f32) {
    for (i, layer) in layers.iter().enumerate().skip(1) {
        // The solver's step size goes into the last layer.
        let by = if i + 1 == layers.len() { scale } else { 1.0 };
        let scaled = |values: &[f32]| values.iter().map(|v| v * by).collect::<Vec<f32>>();
        session.set_parameter(&format!("weight.{i}"), &scaled(&layer.weight));
        session.set_parameter(&format!("bias.{i}"), &scaled(&layer.bias));
    }
}

struct Sampling {
    session: Session,
    batch: usize,
}

impl Sampling {
    /// What helps is done ahead: the first layer is split over [chunk; time; observation], the time's share is in its bias.
    fn new(args: &Args, batch: usize) -> Result<Sampling, Error> {
        let layers = load(&args.weights)?;
        let first = &layers[0];
        let mut g = Graph::new();
        let mut x = g.input("noise", &[batch, CHUNK]);
        let observation = g.input("observation", &[batch, OBSERVATION]);
        let of_chunk = g.parameter("weight.chunk", &[CHUNK, first.out]);
        let of_observation = g.parameter("weight.observation", &[OBSERVATION, first.out]);
        let rest = tail_parameters(&mut g, &layers);
        let share = g.matmul(observation, of_observation);
        for step in 0..args.steps {
            let bias = g.parameter(&format!("bias.time.{step}"), &[first.out]);
            let product = g.matmul(x, of_chunk);
            let h = g.add(product, share);
            let h = g.bias_add(h, bias);
            let v = tail(&mut g, &rest, h);
            x = g.add(x, v);
        }
        g.set_outputs(vec![x]);
        let (mut session, _) = build(&g, SessionConfig { mode: Mode::Inference, ..Default::default() });
        session.set_parameter("weight.chunk", first.part(0, CHUNK));
        session.set_parameter("weight.observation", first.part(CHUNK + TIME, OBSERVATION));
        for (step, time) in protocol::time_embeddings(args.steps, TIME).iter().enumerate() {
            let mut bias = first.bias.clone();
            for (t, row) in time.iter().zip(first.part(CHUNK, TIME).chunks_exact(first.out)) {
                bias.iter_mut().zip(row).for_each(|(b, w)| *b += t * w);
            }
            session.set_parameter(&format!("bias.time.{step}"), &bias);
        }
        set_tail(&mut session, &layers, 1.0 / args.steps as f32);
        let (noise, observations) = args.rows(batch)?;
        session.set_input("noise", &noise);
        session.set_input("observation", &observations);
        Ok(Sampling { session, batch })
    }
}

impl Work for Sampling {
    fn run(&mut self) -> Result<(), Error> {
        self.session.step();
        self.session.wait();
        Ok(())
    }

    fn output(&mut self) -> Result<Option<Vec<f32>>, Error> {
        Ok(Some(self.session.read_output(self.batch * CHUNK)))
    }
}

/// Flow-matching steps on batches that the host draws, since the graph has no random numbers; no moving average either.
struct Training {
    session: Session,
    batch: usize,
    random: Random,
}

impl Training {
    fn new(args: &Args, batch: usize) -> Result<Training, Error> {
        let layers = load(&args.weights)?;
        let first = &layers[0];
        let mut g = Graph::new();
        let input = g.input("input", &[batch, first.columns]);
        let target = g.input("target", &[batch, CHUNK]);
        let weight = g.parameter("weight.0", &[first.columns, first.out]);
        let bias = g.parameter("bias.0", &[first.out]);
        let rest = tail_parameters(&mut g, &layers);
        let product = g.matmul(input, weight);
        let h = g.bias_add(product, bias);
        let v = tail(&mut g, &rest, h);
        let loss = g.mse_loss(v, target);
        g.set_outputs(vec![loss]);
        let (mut session, _) = build(&g, SessionConfig { mode: Mode::Training, ..Default::default() });
        session.set_parameter("weight.0", &first.weight);
        session.set_parameter("bias.0", &first.bias);
        set_tail(&mut session, &layers, 1.0);
        session.set_adam(LEARNING_RATE, 0.95, 0.999, 1e-8);
        session.set_weight_decay(1e-6);
        session.set_grad_clip_norm(1.0);
        Ok(Training { session, batch, random: Random(1) })
    }
}

impl Work for Training {
    fn run(&mut self) -> Result<(), Error> {
        let (mut input, mut target) = (Vec::new(), Vec::new());
        for _ in 0..self.batch {
            let t = self.random.uniform();
            for _ in 0..CHUNK {
                let (action, noise) = self.random.normals();
                input.push(noise + t * (action - noise));
                target.push(action - noise);
            }
            let angle = |i: usize| 99.0 * t * (-(1e4f32.ln()) * i as f32 / (TIME / 2 - 1) as f32).exp();
            input.extend((0..TIME / 2).map(|i| angle(i).sin()));
            input.extend((0..TIME / 2).map(|i| angle(i).cos()));
            input.extend((0..OBSERVATION).map(|_| self.random.normals().0));
        }
        self.session.set_input("input", &input);
        self.session.set_input("target", &target);
        self.session.step();
        self.session.wait();
        Ok(())
    }

    fn output(&mut self) -> Result<Option<Vec<f32>>, Error> {
        Ok(None)
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    /// In (0, 1).
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((z ^ (z >> 31)) >> 41) as f32 + 0.5) / (1u64 << 23) as f32
    }

    /// Two standard normals, by Box and Muller.
    fn normals(&mut self) -> (f32, f32) {
        let (radius, angle) = ((-2.0 * self.uniform().ln()).sqrt(), std::f32::consts::TAU * self.uniform());
        (radius * angle.cos(), radius * angle.sin())
    }
}

struct Meganeura {
    args: Args,
}

impl Peer for Meganeura {
    fn describe(&self) -> (String, String, String) {
        let device = match meganeura::init_gpu_context() {
            Ok(context) => context.device_information().device_name.clone(),
            Err(error) => format!("no device: {error:?}"),
        };
        ("meganeura".into(), protocol::locked_version(include_str!("../Cargo.lock"), "meganeura"), device)
    }

    fn prepare(&mut self, what: &str, batch: usize) -> Result<Box<dyn Work>, Error> {
        if !self.args.workload.starts_with("mlp") {
            return Err("not written for meganeura".into());
        }
        match what {
            "sample" => Ok(Box::new(Sampling::new(&self.args, batch)?)),
            "train" => Ok(Box::new(Training::new(&self.args, batch)?)),
            _ => Err(format!("unknown work {what:?}").into()),
        }
    }
}

fn main() -> Result<(), Error> {
    let args = Args::parse()?;
    protocol::serve(&args, &mut Meganeura { args: args.clone() })
}
