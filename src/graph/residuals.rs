//! Gated sums whose rows are normed next: both become one command, which reads the sum's operands once and keeps the sum too.

use super::plan::Program;
use crate::kernel::{Command, fma_norm};

impl Program {
    /// Merges every `fma` with the norm of its result, where no command between them minds.
    pub(super) fn merge_residuals(&mut self) {
        let mut merged: Vec<Option<Command>> = vec![None; self.commands.len()];
        let mut gone = vec![false; self.commands.len()];
        for at in 0..self.commands.len() {
            for user in at + 1..self.commands.len() {
                let (sum, after) = (&self.commands[at], &self.commands[user]);
                if self.together([at, user])
                    && merged[user].is_none()
                    && let Some(command) = fma_norm::merged(sum, after)
                {
                    (gone[at], merged[user]) = (true, Some(command));
                    break;
                }
                // What waits for the sum, or changes what it reads, would meet it too late.
                let waits = after.args.iter().any(|b| sum.writes().any(|sum| sum == *b));
                if waits || after.writes().any(|b| sum.args.contains(&b)) {
                    break;
                }
            }
        }
        self.replace_merged(merged, &gone);
    }
}
