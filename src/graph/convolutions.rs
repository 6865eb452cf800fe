//! Convolutions whose windows need not lie in memory: the unfolding and the product of its rows become one command.

use super::plan::{BufferKind, Program};
use crate::kernel::{BufferId, Command, matmul, unfold1d};

impl Program {
    /// Merges every unfolding with the product that alone reads its rows, where one kernel does both: products in whole tiles on a
    /// GPU. Elsewhere (few rows, a product split along its depth, software adapters, the CPU) unfolding is faster.
    pub(super) fn merge_convolutions(&mut self) {
        let mut merged: Vec<Option<Command>> = vec![None; self.commands.len()];
        let mut gone = vec![false; self.commands.len()];
        for (at, unfold) in self.commands.iter().enumerate() {
            if !std::ptr::eq(unfold.kernel, &unfold1d::KERNEL) {
                continue;
            }
            let [x, windows] = unfold.args[..] else { continue };
            if let Some(user) = self.only_user(at, windows)
                && self.together([at, user])
                && !self.commands[at..user].iter().any(|between| between.writes().any(|b| b == x))
                && let Some(command) = matmul::merged(unfold, &self.commands[user])
            {
                (gone[at], merged[user]) = (true, Some(command));
            }
        }
        self.replace_merged(merged, &gone);
    }

    /// The command that alone reads, once and later, what command `at` alone writes into a temporary.
    fn only_user(&self, at: usize, buffer: BufferId) -> Option<usize> {
        if self.buffers[buffer.0 as usize].kind != BufferKind::Temporary {
            return None;
        }
        let mut uses = self.commands.iter().enumerate().filter(|(_, c)| c.args.contains(&buffer));
        let ((first, _), (user, command)) = (uses.next()?, uses.next()?);
        let once = command.args.iter().filter(|b| **b == buffer).count() == 1;
        (first == at && once && uses.next().is_none() && command.reads().any(|b| b == buffer)).then_some(user)
    }
}
