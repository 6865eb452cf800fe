//! VQ-BeT (Lee 2024), behaviour generation with latent actions: chunks are quantised by a residual VQ (an auto-encoder whose latent is a
//! sum of one code from each of a few books), and a head predicts the codes of an observation as categories, and for every code an
//! offset that the quantisation left out. A chunk is decode(codes drawn from the categories) + offsets of these codes.
//!
//! Loss: |decode(q) - x1| + |e - sg q|² / 4 + |sg e - q|² over the residuals (van den Oord 2017; straight-through gradient), plus the
//! focal loss (gamma 2, Lin 2017) of the first book with weight 5 and of the others with 1/2, plus `offset_weight` times
//! |sg decode(q) + offset(codes of x1) - x1|. All parts train together; the codes' targets and the decoded chunk are sg to the heads.
//!
//! Departures from the authors' code: the quantiser is not trained in a run of its own, books learn by gradient rather than by moving
//! averages, the offset is that of the demonstrated codes, and the trunk is an MLP over the observation history in place of a GPT.
//!
//! Drawing a category: with E_i exponential, argmax(log p_i - log E_i) has the law p; (n² + m²) / 2 of two normals is exponential.

use super::error::{count, positive};
use super::{Loss, Method, Net, ObjectiveError, Preparation, Sampling, State, Steps, Task, ops};
use crate::flow::Solver;
use crate::graph::{Graph, Result, Shape, Value};
use crate::kernel::math::Activation;
use crate::nn::{Builder, Init};
use serde::{Deserialize, Serialize};

/// The objective and the sizes of its networks; `network` of the run is not used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VqBet {
    /// Books: the second quantises what the first leaves, and so on.
    pub books: usize,
    /// Codes of a book.
    pub codes: usize,
    /// Columns of a code.
    pub latent_dim: usize,
    /// Columns of the hidden layers of encoder, decoder and trunk.
    pub width: usize,
    /// Hidden layers of the trunk.
    pub layers: usize,
    /// Weight of the offset's mean absolute error.
    pub offset_weight: f32,
    /// What log probabilities are divided by before a code is drawn (LeRobot's 0.1 is almost the likeliest code).
    pub temperature: f32,
}

impl Default for VqBet {
    fn default() -> VqBet {
        VqBet {
            books: 2,
            codes: 16,
            latent_dim: 32,
            width: 256,
            layers: 3,
            offset_weight: 10.0,
            temperature: 1.0,
        }
    }
}

/// Added to probabilities before their logarithm.
const LEAST: f32 = 1e-6;

/// A quantised chunk.
struct Quantised {
    /// The sum of the codes, [rows, latent_dim].
    sum: Value,
    /// Of each book, the chosen code as a one among zeros, [rows, codes].
    chosen: Vec<Value>,
    /// The books' and the encoder's losses, [1, 1].
    loss: Value,
}

impl VqBet {
    fn hidden(&self, b: &mut Builder<'_>, name: &str, x: Value, layers: usize) -> Result<Value> {
        let mut h = x;
        for i in 0..layers {
            h = b.linear(&format!("{name}.{i}"), h, self.width)?;
            h = b.activate(Activation::Silu, h)?;
        }
        Ok(h)
    }

    fn encode(&self, b: &mut Builder<'_>, chunk: Value) -> Result<Value> {
        let h = self.hidden(b, "encoder", chunk, 2)?;
        b.linear("encoder.2", h, self.latent_dim)
    }

    fn decode(&self, b: &mut Builder<'_>, latent: Value, chunk: usize) -> Result<Value> {
        let h = self.hidden(b, "decoder", latent, 2)?;
        b.linear("decoder.2", h, chunk)
    }

    fn book(&self, b: &mut Builder<'_>, book: usize) -> Result<Value> {
        b.param(format!("books.{book}"), &[self.codes, self.latent_dim], Init::Normal(0.5))
    }

    /// The nearest code of each book to what the earlier ones leave of e.
    fn quantise(&self, b: &mut Builder<'_>, e: Value) -> Result<Quantised> {
        let rows = b.graph.shape(e).rows();
        let (mut left, mut chosen, mut sum, mut loss) = (e, Vec::new(), None, None);
        for i in 0..self.books {
            let book = self.book(b, i)?;
            let g = &mut *b.graph;
            // -|left - c|² + |left|² = 2 left . c - |c|²
            let products = g.matmul_nt(left, book)?;
            let squares = ops::row_squares(g, book)?;
            let squares = g.reshape(squares, Shape::matrix(1, self.codes))?;
            let squares = g.broadcast(squares, Shape::matrix(rows, self.codes))?;
            let nearness = g.axpby(2.0, products, -1.0, squares)?;
            let one = g.one_hot(nearness)?;
            let code = g.matmul(one, book)?;
            let (fixed, still) = (g.stop_gradient(code)?, g.stop_gradient(left)?);
            let (commitment, books) = (g.mse(left, fixed)?, g.mse(code, still)?);
            let part = g.axpby(0.25, commitment, 1.0, books)?;
            loss = g.sum(loss, Some(part))?;
            sum = g.sum(sum, Some(code))?;
            left = g.sub(left, fixed)?;
            chosen.push(one);
        }
        match (sum, loss) {
            (Some(sum), Some(loss)) => Ok(Quantised { sum, chosen, loss }),
            _ => Err(crate::graph::error::shape_error("vq_bet", &[], "at least one book")),
        }
    }

    /// Of each book the logits [rows, codes], and the offsets of its codes [rows, codes * chunk].
    fn heads(&self, b: &mut Builder<'_>, obs: Value, chunk: usize) -> Result<(Vec<Value>, Vec<Value>)> {
        let h = self.hidden(b, "trunk", obs, self.layers)?;
        let mut heads = (Vec::new(), Vec::new());
        for i in 0..self.books {
            heads.0.push(b.linear(&format!("codes.{i}"), h, self.codes)?);
            heads.1.push(b.linear(&format!("offsets.{i}"), h, self.codes * chunk)?);
        }
        Ok(heads)
    }

    /// The sum of the chosen codes' offsets, [rows, chunk].
    fn offset(&self, g: &mut Graph, offsets: &[Value], chosen: &[Value], chunk: usize) -> Result<Value> {
        let mut sum = None;
        for (offsets, one) in offsets.iter().zip(chosen) {
            let rows = g.shape(*offsets).rows();
            let each = g.reshape(*offsets, Shape::matrix(rows * self.codes, chunk))?;
            let one = g.reshape(*one, Shape::matrix(rows * self.codes, 1))?;
            let picked = g.mul(each, one)?;
            let picked = g.col_sum(picked, self.codes, 1.0)?;
            sum = g.sum(sum, Some(picked))?;
        }
        sum.ok_or_else(|| crate::graph::error::shape_error("vq_bet", &[], "at least one book"))
    }

    /// -(1 - p)² log p of the chosen code, mean over the rows.
    fn focal(&self, g: &mut Graph, logits: Value, chosen: Value) -> Result<Value> {
        let p = g.softmax(logits)?;
        let p = g.mul(p, chosen)?;
        let p = g.row_sum(p, 1.0)?;
        let safe = g.affine(p, 1.0 - LEAST, LEAST)?;
        let log = g.map(Activation::Log, safe)?;
        let missing = g.affine(p, -1.0, 1.0)?;
        let missing = g.map(Activation::Square, missing)?;
        let product = g.mul(missing, log)?;
        let mean = ops::mean(g, product)?;
        g.affine(mean, -1.0, 0.0)
    }
}

/// mean |a - b|, [1, 1], over the actions that count.
fn absolute(g: &mut Graph, [a, b]: [Value; 2], counts: Option<Value>, task: &Task) -> Result<Value> {
    let error = g.sub(a, b)?;
    let error = g.map(Activation::Abs, error)?;
    let error = ops::counted(g, error, counts)?;
    let mean = ops::mean(g, error)?;
    // A value counts by the root of its weight, which is right for squares; here it is to count by the weight itself.
    match task.masked {
        Some(root) => g.affine(mean, root, 0.0),
        None => Ok(mean),
    }
}

impl Method for VqBet {
    fn check(&self) -> std::result::Result<(), ObjectiveError> {
        count("objective.vq_bet.books", self.books, [1, 16], "1 to 16 books")?;
        count("objective.vq_bet.codes", self.codes, [2, 4096], "2 to 4,096 codes")?;
        for (what, n) in
            [("objective.vq_bet.latent_dim", self.latent_dim), ("objective.vq_bet.width", self.width)]
        {
            count(what, n, [1, 1 << 16], "1 to 65,536")?;
        }
        count("objective.vq_bet.layers", self.layers, [0, 1024], "0 to 1024")?;
        positive("objective.vq_bet.offset_weight", self.offset_weight.into())?;
        positive("objective.vq_bet.temperature", self.temperature.into())
    }

    fn prepare(&self, _: &mut Preparation<'_>) -> Result<()> {
        Ok(())
    }

    fn loss(&self, b: &mut Builder<'_>, _: &dyn Net, task: &Task) -> Result<Loss> {
        let (x1, obs, chunk) = (task.x1(b.graph)?, task.obs(b.graph)?, task.chunk());
        // A code says nothing of actions past an episode's end: the encoder sees the normaliser's middle in their place.
        let counts = task.counts(b.graph)?;
        let seen = match (counts, task.masked) {
            (Some(counts), Some(root)) => {
                let ones = b.graph.affine(counts, 1.0 / root, 0.0)?;
                b.graph.mul(x1, ones)?
            }
            _ => x1,
        };
        let e = self.encode(b, seen)?;
        let quantised = self.quantise(b, e)?;
        // Straight through: the decoder's gradient reaches the encoder as if q were e.
        let g = &mut *b.graph;
        let gap = g.sub(quantised.sum, e)?;
        let gap = g.stop_gradient(gap)?;
        let latent = g.add(e, gap)?;
        let decoded = self.decode(b, latent, chunk)?;
        let reconstruction = absolute(b.graph, [decoded, x1], counts, task)?;
        let (logits, offsets) = self.heads(b, obs, chunk)?;
        let g = &mut *b.graph;
        let mut total = g.add(reconstruction, quantised.loss)?;
        for (i, (logits, one)) in logits.iter().zip(&quantised.chosen).enumerate() {
            let focal = self.focal(g, *logits, *one)?;
            total = g.axpby(1.0, total, if i == 0 { 5.0 } else { 0.5 }, focal)?;
        }
        let still = g.stop_gradient(decoded)?;
        let offset = self.offset(g, &offsets, &quantised.chosen, chunk)?;
        let predicted = g.add(still, offset)?;
        let error = absolute(g, [predicted, x1], counts, task)?;
        let value = g.axpby(1.0, total, self.offset_weight, error)?;
        Ok(Loss { value, parts: vec![("reconstruction", reconstruction), ("offset", error)] })
    }

    /// Evaluated once, whatever is asked for; the noise draws the codes.
    fn sampling(&self, _: Solver, _: &Task) -> std::result::Result<Sampling, ObjectiveError> {
        let (clock, noise) = (vec![vec![0.0]], 2 * self.books * self.codes);
        Ok(Sampling::Steps(Steps { solver: Solver::euler(1), clock, noise }))
    }

    fn step(&self, b: &mut Builder<'_>, _: &dyn Net, task: &Task, s: &State) -> Result<Value> {
        let chunk = task.chunk();
        let Some(noise) = s.noise else {
            return Err(crate::graph::error::shape_error("vq_bet", &[], "noise to draw codes with"));
        };
        let (logits, offsets) = self.heads(b, s.obs, chunk)?;
        let (mut chosen, mut latent) = (Vec::new(), None);
        for (i, logits) in logits.iter().enumerate() {
            let book = self.book(b, i)?;
            let g = &mut *b.graph;
            let pair = [2 * i, 2 * i + 1].map(|k| g.slice(noise, k * self.codes, self.codes));
            let [n, m] = pair;
            let (n, m) = (g.map(Activation::Square, n?)?, g.map(Activation::Square, m?)?);
            let wait = g.axpby(0.5, n, 0.5, m)?;
            let wait = g.affine(wait, 1.0, 1e-30)?;
            let wait = g.map(Activation::Log, wait)?;
            let likely = g.affine(*logits, 1.0 / self.temperature, 0.0)?;
            let score = g.sub(likely, wait)?;
            let one = g.one_hot(score)?;
            let code = g.matmul(one, book)?;
            latent = g.sum(latent, Some(code))?;
            chosen.push(one);
        }
        let Some(latent) = latent else {
            return Err(crate::graph::error::shape_error("vq_bet", &[], "at least one book"));
        };
        let decoded = self.decode(b, latent, chunk)?;
        let offset = self.offset(b.graph, &offsets, &chosen, chunk)?;
        b.graph.add(decoded, offset)
    }
}
