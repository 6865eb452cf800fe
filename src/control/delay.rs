//! How late the next chunk will be, from how late the last ones were.

use std::collections::VecDeque;

/// The largest of the last few real delays (real-time chunking's estimate: too large costs a little freedom, too small a
/// jump).
pub(super) struct Delays {
    last: VecDeque<usize>,
    most: usize,
}

impl Delays {
    /// Expects `first` until that is forgotten.
    pub(super) fn new(first: usize, most: usize) -> Delays {
        Delays { last: VecDeque::from([first]), most: most.max(1) }
    }

    pub(super) fn push(&mut self, delay: usize) {
        if self.last.len() == self.most {
            self.last.pop_front();
        }
        self.last.push_back(delay);
    }

    pub(super) fn expected(&self) -> usize {
        self.last.iter().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_the_last() {
        let mut delays = Delays::new(2, 3);
        assert_eq!(delays.expected(), 2);
        delays.push(5);
        delays.push(1);
        assert_eq!(delays.expected(), 5);
        delays.push(1);
        assert_eq!(delays.expected(), 5);
        delays.push(1);
        assert_eq!(delays.expected(), 1, "5 is forgotten");
    }
}
