//! Gated sums whose rows are normed next: both become one command, which reads the sum's operands once and keeps the sum too.

use super::plan::Program;
use crate::kernel::{Command, fma, fma_norm};

impl Program {
    /// Merges every `fma` with the norm of its result, where no command between them minds.
    pub(super) fn merge_residuals(&mut self) {
        let mut merged: Vec<Option<Command>> = vec![None; self.commands.len()];
        let mut gone = vec![false; self.commands.len()];
        let sums = self.commands.iter().enumerate().filter(|(_, c)| std::ptr::eq(c.kernel, &fma::KERNEL));
        for (at, sum) in sums {
            for (user, after) in self.commands.iter().enumerate().skip(at + 1) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::norm::{self, NormKind};
    use crate::kernel::{Target, View, copy};

    /// A sum and its norm, with a command for `between` them of the sum's buffer and its operand's, or in another phase.
    fn kernels(between: &str) -> Vec<&'static str> {
        let (rows, cols) = (3, 20);
        let view = View::dense(0, cols);
        let mut p = Program::new(Target::MINIMAL_GPU);
        let mut buffer = |name: &str| p.resident(name, rows * cols).unwrap();
        let [x, s, r, y, other] = ["x", "s", "r", "y", "other"].map(&mut buffer);
        let (u, empty) = (p.temporary(rows * cols).unwrap(), p.empty());
        p.phase("steps");
        p.push(fma::command([rows, cols], (x, view), (s, view), (r, view), (u, view))).unwrap();
        let copy = |from, to| copy::command([rows, cols], 0, cols, (from, view), (to, view));
        match between {
            "the sum is read" => p.push(copy(u, other)).unwrap(),
            "an operand is written" => p.push(copy(other, r)).unwrap(),
            "nothing that matters" => p.push(copy(x, other)).unwrap(),
            "a phase ends" => p.phase("later"),
            _ => {}
        }
        p.push(norm::command(NormKind::Layer, 1e-5, [rows, cols], (u, view), None, (y, view), empty))
            .unwrap();
        p.finish().unwrap().commands.iter().map(|c| c.kernel.name).collect()
    }

    #[test]
    fn a_sum_joins_the_norm_that_follows_it_alone() {
        assert_eq!(kernels(""), ["fma_norm"]);
        assert_eq!(kernels("nothing that matters"), ["copy", "fma_norm"]);
        for between in ["the sum is read", "an operand is written"] {
            assert_eq!(kernels(between), ["fma", "copy", "norm"], "{between}");
        }
        assert_eq!(kernels("a phase ends"), ["fma", "norm"]);
    }
}
