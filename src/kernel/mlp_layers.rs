//! The layers of an MLP as `mlp_pack`, `mlp_grad` and `mlp_grad_weights` read them: where weights lie among the parameters, packed, and
//! where a row's values lie on the tape between the two passes. Mirrors `shaders/shared/mlp_layers.wgsl`.

use super::math::Activation;
use bytemuck::{Pod, Zeroable};

/// Not needed.
pub(super) const NONE: u32 = u32::MAX;

/// z = W x + b, followed by an activation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// Rows and columns of W, which is dense: results and operands.
    pub size: [usize; 2],
    /// First element of W among the parameters, and among the gradients.
    pub weight: usize,
    /// First element of b.
    pub bias: usize,
    /// What follows; nothing after the last layer.
    pub act: Activation,
}

/// One layer of the table, as the shaders read it.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Record {
    pub n: u32,
    pub k: u32,
    pub weight: u32,
    pub bias: u32,
    pub forward: u32,
    pub backward: u32,
    pub act: u32,
    pub x: u32,
    pub z: u32,
    pad: [u32; 3],
}

/// Words of a layer in the table.
pub(super) const WORDS: usize = size_of::<Record>() / 4;
const _: () = assert!(WORDS == 12);

impl Record {
    /// Groups of four of the operand.
    pub fn k4(&self) -> usize {
        self.k.div_ceil(4) as usize
    }

    /// Groups of four of the result.
    pub fn n4(&self) -> usize {
        self.n.div_ceil(4) as usize
    }
}

/// All layers, first to last; each takes what the one before gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Layers {
    layers: Vec<Layer>,
    /// Whether the cotangent of the first operand is wanted.
    pub wants_dx: bool,
}

impl Layers {
    /// A chain; none if there is no layer or if their sizes do not meet.
    pub fn new(layers: Vec<Layer>, wants_dx: bool) -> Option<Layers> {
        let meet = layers.windows(2).all(|pair| pair[0].size[0] == pair[1].size[1]);
        let whole = layers.iter().all(|l| l.size[0] > 0 && l.size[1] > 0);
        (meet && whole && !layers.is_empty()).then_some(Layers { layers, wants_dx })
    }

    /// The layers.
    pub fn list(&self) -> &[Layer] {
        &self.layers
    }

    /// Columns of the first operand.
    pub fn dim(&self) -> usize {
        self.layers.first().map_or(0, |l| l.size[1])
    }

    /// Columns of the result.
    pub fn out(&self) -> usize {
        self.layers.last().map_or(0, |l| l.size[0])
    }

    /// Columns of the widest operand or result.
    pub fn widest(&self) -> usize {
        self.layers.iter().flat_map(|l| l.size).max().unwrap_or(0)
    }

    /// Elements of weights and biases.
    pub fn elements(&self) -> usize {
        self.layers.iter().map(|l| l.size[0] * l.size[1] + l.size[0]).sum()
    }

    /// Multiply-adds of the weights' gradients for a row.
    pub fn weight_work(&self) -> usize {
        self.layers.iter().map(|l| l.size[0] * l.size[1]).sum()
    }

    /// Multiply-adds of a row, forward and backward, without the weights' gradients.
    pub fn row_work(&self) -> usize {
        let first = self.layers.first().filter(|_| !self.wants_dx).map_or(0, |l| l.size[0] * l.size[1]);
        2 * self.weight_work() - first
    }

    /// The table, the packed groups of four, and the groups of four in a row of the tape.
    pub(super) fn records(&self) -> (Vec<Record>, usize, usize) {
        let (mut packed, mut tape) = (0, 0);
        let mut out = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            let [n4, k4] = layer.size.map(|d| d.div_ceil(4));
            let forward = packed;
            packed += 4 * k4 * n4 + n4;
            let back = at > 0 || self.wants_dx;
            let backward = if back { packed as u32 } else { NONE };
            packed += if back { 4 * n4 * k4 } else { 0 };
            let (x, z) = (tape, tape + k4);
            // The next operand lies behind this layer's z.
            tape = z + n4;
            out.push(Record {
                n: layer.size[0] as u32,
                k: layer.size[1] as u32,
                weight: layer.weight as u32,
                bias: layer.bias as u32,
                forward: forward as u32,
                backward,
                act: layer.act.code(),
                x: x as u32,
                z: z as u32,
                pad: [0; 3],
            });
        }
        (out, packed, tape)
    }

    /// The table as the words of a constant buffer.
    pub fn words(&self) -> Vec<f32> {
        bytemuck::cast_slice(&self.records().0).to_vec()
    }

    /// Elements of the packed weights.
    pub fn packed(&self) -> usize {
        4 * self.records().1
    }

    /// Elements of a row of the tape.
    pub fn tape(&self) -> usize {
        4 * self.records().2
    }
}

/// The first `layers` records of a table.
pub(super) fn table(words: &[f32], layers: u32) -> &[Record] {
    bytemuck::cast_slice(&words[..WORDS * layers as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other() {
        let layer = |n, k| Layer { size: [n, k], weight: 0, bias: 0, act: Activation::Silu };
        let layers = Layers::new(vec![layer(6, 5), layer(3, 6)], false).unwrap();
        let (records, packed, tape) = layers.records();
        // Five, six, six and three columns take 2, 2, 2 and 1 groups of four.
        assert_eq!(records.iter().map(|r| [r.x, r.z]).collect::<Vec<_>>(), [[0, 2], [4, 6]]);
        assert_eq!((tape, layers.tape()), (7, 28));
        assert_eq!([records[0].forward, records[0].backward], [0, NONE]);
        assert_eq!([records[1].forward, records[1].backward], [4 * 2 * 2 + 2, 18 + 4 * 2 + 1]);
        assert_eq!(packed, 27 + 8);
        assert_eq!((layers.row_work(), layers.weight_work(), layers.elements()), (30 + 36, 48, 57));
        assert!(
            Layers::new(vec![layer(6, 5), layer(3, 7)], false).is_none()
                && Layers::new(vec![], true).is_none()
        );
    }
}
