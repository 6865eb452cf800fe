//! One call of a kernel, as plain data, and what a CPU twin receives.

use super::{Kernel, Variant, matmul, parallel};
use crate::device::{Access, Team};

/// A buffer of a plan (virtual until memory is assigned, then a slot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// One kernel call: the same on every executor.
#[derive(Clone, Debug)]
pub struct Command {
    /// What runs.
    pub kernel: &'static Kernel,
    /// Which WGSL variant the GPU runs (the CPU runs the twin).
    pub variant: &'static Variant,
    /// The parameter struct, as words.
    pub params: Vec<u32>,
    /// One buffer per storage binding.
    pub args: Vec<BufferId>,
    /// Workgroups in x, y, z.
    pub grid: [u32; 3],
}

impl Command {
    /// A call of `kernel` by `variant`.
    pub fn new<P: bytemuck::Pod>(
        kernel: &'static Kernel,
        variant: &'static Variant,
        params: &P,
        args: &[BufferId],
        grid: [u32; 3],
    ) -> Command {
        debug_assert_eq!(kernel.params_bytes, size_of::<P>());
        debug_assert_eq!(kernel.access.len(), args.len());
        Command {
            kernel,
            variant,
            params: bytemuck::cast_slice(std::slice::from_ref(params)).to_vec(),
            args: args.to_vec(),
            grid,
        }
    }

    /// Whether it is a call of one of the engine's own kernels and variants, with as many words and buffers as that takes.
    pub fn is_known(&self) -> bool {
        self.is_call() && self.has_variant_of(self.kernel)
    }

    /// The same before a plan is finished, when a product that will be split along its depth has the variant of its parts.
    pub(crate) fn is_pending(&self) -> bool {
        let split = || std::ptr::eq(self.kernel, &matmul::KERNEL) && self.has_variant_of(&matmul::SPLIT);
        self.is_call() && (self.has_variant_of(self.kernel) || split())
    }

    fn has_variant_of(&self, kernel: &Kernel) -> bool {
        let source = self.variant.source;
        let same = |known: &str| std::ptr::eq(known, source) || known == source;
        let mut variants = kernel.variants.iter();
        variants.any(|known| known.name == self.variant.name && same(known.source))
    }

    fn is_call(&self) -> bool {
        super::KERNELS.iter().any(|known| std::ptr::eq(*known, self.kernel))
            && 4 * self.params.len() == self.kernel.params_bytes
            && self.args.len() == self.kernel.access.len()
    }

    /// The first part of a buffer that it would touch and that is not there: binding, and the elements that it would need. `extent`
    /// gives each buffer's elements. What is touched in places that depend on data the kernel itself keeps within its buffers.
    pub fn outside(&self, extent: impl Fn(BufferId) -> usize) -> Option<(usize, usize)> {
        let cost = (self.kernel.cost)(&self.params);
        let mut touched = cost.read.iter().chain(&cost.written).map(|(binding, span)| (*binding, span.end()));
        touched.find(|(binding, end)| *end > extent(self.args[*binding]))
    }

    /// The buffers it reads.
    pub fn reads(&self) -> impl Iterator<Item = BufferId> + '_ {
        self.args.iter().zip(self.kernel.access).filter(|(_, a)| **a != Access::Write).map(|(b, _)| *b)
    }

    /// The buffers it writes.
    pub fn writes(&self) -> impl Iterator<Item = BufferId> + '_ {
        self.args.iter().zip(self.kernel.access).filter(|(_, a)| **a != Access::Read).map(|(b, _)| *b)
    }
}

/// Workgroups for `items` items at `per_group` each, folded so that no dimension exceeds 65,535.
pub fn fold(items: usize, per_group: u32) -> [u32; 3] {
    let groups = items.div_ceil(per_group as usize).max(1);
    if groups <= 65_535 {
        return [groups as u32, 1, 1];
    }
    let y = groups.div_ceil(65_535);
    [groups.div_ceil(y) as u32, y as u32, 1]
}

/// The parts in which 0..n is done where one binding takes `most` elements: as equal as can be, and beginning at multiples of 64, where
/// windows can begin.
pub fn parts(n: usize, most: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let each = n.div_ceil(n.div_ceil((most / 64 * 64).max(64)).max(1)).next_multiple_of(64).max(64);
    (0..n.max(1)).step_by(each).map(move |from| from..(from + each).min(n))
}

/// A twin's argument: one storage binding.
pub enum Arg<'a> {
    /// Bound read-only.
    Read(&'a [f32]),
    /// Bound writable.
    Write(&'a mut [f32]),
}

impl Arg<'_> {
    /// The elements, to read.
    #[inline]
    pub fn read(&self) -> &[f32] {
        match self {
            Arg::Read(s) => s,
            Arg::Write(s) => s,
        }
    }

    /// The elements, to read as integers.
    #[inline]
    pub fn read_u32(&self) -> &[u32] {
        bytemuck::cast_slice(self.read())
    }

    /// The elements, to write.
    ///
    /// # Panics
    /// If the binding is read-only: a fault of the kernel's own table, which the kernel tests would show.
    #[inline]
    pub fn write(&mut self) -> &mut [f32] {
        match self {
            Arg::Write(s) => s,
            Arg::Read(_) => unreachable!("a twin wrote to a binding that its table says it only reads"),
        }
    }

    /// The elements, to write as integers.
    #[inline]
    pub fn write_u32(&mut self) -> &mut [u32] {
        bytemuck::cast_slice_mut(self.write())
    }
}

/// Scalar operations of a twin that are worth a hand-off to an awake member of a team: about a microsecond of work.
const WORTH: usize = 4_000;

/// Where a twin runs: alone on this thread, or leading a team.
#[derive(Clone, Copy, Debug)]
pub struct TwinCx<'a> {
    team: Option<&'a Team>,
}

impl<'a> From<&'a Team> for TwinCx<'a> {
    fn from(team: &'a Team) -> Self {
        TwinCx { team: Some(team) }
    }
}

impl TwinCx<'_> {
    /// A context for a single thread.
    pub const SERIAL: TwinCx<'static> = TwinCx { team: None };

    /// Threads for work of `cost` scalar operations in all: 1 where it is not worth a hand-off.
    pub fn threads(&self, cost: usize) -> usize {
        match self.team {
            Some(team) if cost >= WORTH => team.size(),
            _ => 1,
        }
    }

    /// Calls `f(part)` for every part, on the team where there is one.
    pub fn for_each(&self, parts: usize, f: impl Fn(usize) + Sync) {
        match self.team {
            Some(team) => team.for_each(parts, f),
            None => (0..parts).for_each(f),
        }
    }

    /// Calls `f(first_row, chunk)` over `rows` rows that lie `stride` elements apart in `out` (`chunk` starts at the first
    /// element of `first_row`), split over the threads when the work (`cost` scalar operations in all) is worth the
    /// hand-off.
    pub fn rows(
        &self,
        out: &mut [f32],
        stride: usize,
        rows: usize,
        cost: usize,
        f: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let end = out.len().min(rows * stride);
        let out = &mut out[..end];
        let threads = self.threads(cost);
        if threads <= 1 || rows < 2 {
            return f(0, out);
        }
        let each = rows.div_ceil(threads);
        parallel::for_each(self, out.chunks_mut(each * stride), |part, chunk| f(part * each, chunk));
    }
}

/// The parameter struct of a call, from its words.
#[inline]
pub fn params<P: bytemuck::Pod>(words: &[u32]) -> &P {
    &bytemuck::cast_slice(words)[0]
}
