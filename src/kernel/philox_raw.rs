//! `philox_raw`: Philox4x32-10 of given counters and keys, for the generator's known answers.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::philox::philox4x32;
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    n: u32,
    pad: [u32; 3],
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "philox_raw",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::philox_raw::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::philox_raw::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::philox_raw::ONLY.workgroup[0] == 64);

/// `y[i] = philox(counter[i], key[i])`: counters and results are [n, 4], keys [n, 2], all u32 words.
pub fn command(n: usize, counter: BufferId, key: BufferId, y: BufferId) -> Command {
    let params = Params { n: n as u32, pad: [0; 3] };
    Command::new(&KERNEL, &variant::philox_raw::ONLY, &params, &[counter, key, y], fold(n, 64))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let n = p.n as usize;
    let cost = Cost::new(100 * n).reads(0, Span::dense(0, 4 * n)).reads(1, Span::dense(0, 2 * n));
    cost.writes(2, Span::dense(0, 4 * n))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], _cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [counter, key, y] = args else { unreachable!("philox_raw has three bindings") };
    let n = p.n as usize;
    let counters = counter.read_u32()[..4 * n].as_chunks::<4>().0;
    let keys = key.read_u32()[..2 * n].as_chunks::<2>().0;
    for ((y, c), k) in y.write_u32()[..4 * n].as_chunks_mut::<4>().0.iter_mut().zip(counters).zip(keys) {
        *y = philox4x32(*c, *k);
    }
}
