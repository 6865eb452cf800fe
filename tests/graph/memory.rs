//! Memory by liveness, on random lists of commands.

use advect::graph::memory::assign;
use advect::graph::plan::{BufferInfo, BufferKind, Phase};
use advect::kernel::{BufferId, Command, fma};
use proptest::prelude::*;
use std::sync::Arc;

/// A random program: buffers (size, kind), commands (four buffers each), lengths of its phases.
fn programs() -> impl Strategy<Value = (Vec<BufferInfo>, Vec<Command>, Vec<Phase>)> {
    let buffers = prop::collection::vec((0usize..50, 0u8..8), 1..30);
    let commands = prop::collection::vec(any::<[u16; 4]>(), 1..60);
    (buffers, commands, any::<[u8; 2]>()).prop_map(|(buffers, commands, cuts)| {
        let kind = |i: usize, elements: usize, kind: u8| match kind {
            0 => (Some(Arc::from(format!("resident {i}"))), BufferKind::Resident),
            1 => (None, BufferKind::Constant(Arc::from(vec![0.0; elements]))),
            _ => (None, BufferKind::Temporary),
        };
        let infos: Vec<BufferInfo> = buffers
            .iter()
            .enumerate()
            .map(|(i, &(elements, k))| {
                let (name, kind) = kind(i, elements, k);
                BufferInfo { name, elements, kind }
            })
            .collect();
        let command = |args: &[u16; 4]| Command {
            kernel: &fma::KERNEL,
            variant: fma::KERNEL.variants[0],
            params: Vec::new(),
            args: args.iter().map(|a| BufferId(u32::from(*a) % infos.len() as u32)).collect(),
            grid: [1, 1, 1],
        };
        let commands: Vec<Command> = commands.iter().map(command).collect();
        let n = commands.len();
        let mut cuts = cuts.map(|c| usize::from(c) % (n + 1));
        cuts.sort_unstable();
        let bounds = [0, cuts[0], cuts[1], n];
        let phases = bounds.windows(2).map(|w| Phase { name: "part", range: w[0]..w[1] }).collect();
        (infos, commands, phases)
    })
}

proptest! {
    #![proptest_config(super::engine::cases(2000))]

    #[test]
    fn live_buffers_never_share(program in programs()) {
        let (buffers, commands, phases) = program;
        let got = assign(&buffers, &commands, &phases);
        let used: Vec<Vec<usize>> = (0..buffers.len())
            .map(|b| (0..commands.len()).filter(|c| commands[*c].args.contains(&BufferId(b as u32))).collect())
            .collect();
        let phase = |at: usize| phases.iter().position(|p| p.range.contains(&at)).unwrap();
        for (a, info) in buffers.iter().enumerate() {
            if used[a].is_empty() {
                continue;
            }
            let slot = got.slot_of[a] as usize;
            prop_assert!(slot < got.slot_elements.len());
            prop_assert!(got.slot_elements[slot] >= info.elements);
            for b in a + 1..buffers.len() {
                if used[b].is_empty() || got.slot_of[b] as usize != slot {
                    continue;
                }
                let temporary = |b: usize| buffers[b].kind == BufferKind::Temporary;
                prop_assert!(temporary(a) && temporary(b), "{a} and {b} share, but one keeps its value");
                // A phase may be replayed alone, so a value that crosses phases keeps its memory to itself.
                for x in [a, b] {
                    let parts: Vec<usize> = used[x].iter().map(|at| phase(*at)).collect();
                    prop_assert!(parts.iter().all(|p| *p == parts[0]), "{x} crosses phases and shares");
                }
                let (a, b) = (&used[a], &used[b]);
                let apart = a.last() < b.first() || b.last() < a.first();
                prop_assert!(apart, "{a:?} and {b:?} overlap");
            }
        }
    }

    /// Sharing is worth it: a chain of equal temporaries takes two slots.
    #[test]
    fn a_chain_takes_two_slots(length in 3usize..40, elements in 1usize..100) {
        let buffers = vec![BufferInfo { name: None, elements, kind: BufferKind::Temporary }; length];
        let command = |i: usize| Command {
            kernel: &fma::KERNEL,
            variant: fma::KERNEL.variants[0],
            params: Vec::new(),
            args: vec![BufferId(i as u32), BufferId(i as u32 + 1)],
            grid: [1, 1, 1],
        };
        let commands: Vec<Command> = (0..length - 1).map(command).collect();
        let phases = [Phase { name: "all", range: 0..commands.len() }];
        prop_assert_eq!(assign(&buffers, &commands, &phases).slot_elements, vec![elements; 2]);
    }
}
