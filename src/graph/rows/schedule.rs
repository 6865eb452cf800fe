//! Which way a chain runs: layer by layer, or as a row program by a variant of `ode_rows` or `ode_latency`.

use super::{Fusion, SOFTWARE_ROWS};
use crate::kernel::row_program::RowProgram;
use crate::kernel::target::bucket;
use crate::kernel::{Target, Variant, ode_latency, ode_rows};

/// The way layer by layer.
pub const LAYERS: &str = "layers";
/// Samples up to which a workgroup for each (or each four) may be fastest: a large GPU runs a few hundred workgroups at a time.
const LATENCY_ROWS: usize = 256;

/// How the steps of a plan run, and how else they could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What a measurement is filed under: samples, and the chain's size, in buckets.
    pub question: String,
    /// Every way that the target admits, the guess first: [`LAYERS`] or the name of a variant.
    pub ways: Vec<&'static str>,
    /// The way taken.
    pub taken: &'static str,
}

/// A way to run a chain.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Layers,
    Rows(&'static Variant),
    Latency(&'static Variant),
}

impl Way {
    fn name(&self) -> &'static str {
        match self {
            Way::Layers => LAYERS,
            Way::Rows(variant) | Way::Latency(variant) => variant.name,
        }
    }
}

/// A chain's row program for each of the two kernels, which place values differently.
pub(super) struct Programs {
    pub(super) rows: RowProgram,
    pub(super) latency: RowProgram,
}

impl Programs {
    fn question(&self, rows: usize) -> String {
        let program = &self.rows;
        let [widest, columns, weights] =
            [program.widest(), program.columns(), 4 * program.packed].map(bucket);
        let (rows, work) = (bucket(rows), bucket(program.work()));
        let precision = if program.half { "half" } else { "single" };
        format!(
            "steps {rows} rows, widest {widest}, {columns} columns, {weights} {precision} weights, {work} multiply-adds"
        )
    }

    /// The way for `rows` samples: what is asked for, else what was measured to be fastest, else the guess.
    pub(super) fn decide(&self, rows: usize, fusion: Fusion, target: &Target) -> (Way, Schedule) {
        let by_rows: Vec<Way> =
            ode_rows::choices(&self.rows, rows, target).into_iter().map(Way::Rows).collect();
        let by_latency: Vec<Way> =
            ode_latency::choices(&self.latency, rows, target).into_iter().map(Way::Latency).collect();
        let first = |ways: &[Way]| ways.first().copied().unwrap_or(Way::Layers);
        // A rasteriser pays for each of the sums that all invocations of a norm take again.
        let soft = rows >= SOFTWARE_ROWS && !self.rows.has_norms();
        let fuses = target.gpu && (!target.software || soft);
        let guess = match fuses {
            true if rows <= ode_latency::MOST_ROWS => first(&by_latency),
            true => first(&by_rows),
            false => Way::Layers,
        };
        let mut ways = vec![guess, Way::Layers];
        ways.extend(by_latency.iter().filter(|_| rows <= LATENCY_ROWS));
        ways.extend(&by_rows);
        let mut others = ways.split_off(1);
        others.retain(|way| way.name() != guess.name());
        ways.append(&mut others);
        let question = self.question(rows);
        let way = match fusion {
            Fusion::Layers => Way::Layers,
            Fusion::Rows => first(&by_rows),
            Fusion::Latency => first(&by_latency),
            Fusion::Auto => target.tuned(|| question.clone(), &ways, Way::name).unwrap_or(guess),
        };
        let ways = ways.iter().map(Way::name).collect();
        (way, Schedule { question, ways, taken: way.name() })
    }
}
