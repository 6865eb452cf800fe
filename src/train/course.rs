//! Whether a run was long enough, from the course of its held-out loss.

/// A held-out loss counts as falling if a doubling of the steps takes more than this part of it.
pub const FALLING: f64 = 0.1;

/// The held-out loss at the end of a run and at half of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Course {
    /// Step and loss near the middle.
    pub half: (u64, f64),
    /// Step and loss at the end.
    pub end: (u64, f64),
    /// The least loss and its step.
    pub least: (u64, f64),
}

impl Course {
    /// Of (step, held-out loss) in rising steps; `None` if they do not show both halves of the run: fewer than four, or none near
    /// half of the last step.
    pub fn of(losses: &[(u64, f64)]) -> Option<Course> {
        let &(last, _) = losses.last()?;
        if losses.len() < 4 {
            return None;
        }
        let half = losses.iter().min_by_key(|(step, _)| step.abs_diff(last / 2))?.0;
        if half < last / 4 || half > last - last / 4 {
            return None;
        }
        // A mean of neighbours where there are many: single ones differ by chance.
        let reach = last / 20;
        let mean = |at: u64| {
            let near = losses.iter().filter(|(step, _)| step.abs_diff(at) <= reach);
            let (sum, count) = near.fold((0.0, 0.0), |(sum, n), (_, loss)| (sum + loss, n + 1.0));
            (at, sum / count)
        };
        let least = losses.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Course { half: mean(half), end: mean(last), least })
    }

    /// The part of the loss that twice the steps took away; negative: it rose.
    pub fn fall_per_doubling(&self) -> f64 {
        let doublings = (self.end.0 as f64 / self.half.0.max(1) as f64).log2();
        let ratio = self.end.1 / self.half.1.max(f64::MIN_POSITIVE);
        if doublings > 0.0 { 1.0 - ratio.powf(1.0 / doublings) } else { 0.0 }
    }

    /// Whether more steps would have lowered it further.
    pub fn is_falling(&self) -> bool {
        self.fall_per_doubling() > FALLING
    }

    /// Whether it is well above what it was: what is learnt no longer holds for held-out episodes.
    pub fn is_rising(&self) -> bool {
        self.end.1 > self.least.1 * (1.0 + FALLING) && self.least.0 < self.end.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(steps: u64, loss: impl Fn(f64) -> f64) -> Option<Course> {
        let losses: Vec<_> = (1..=steps / 1000).map(|k| (1000 * k, loss(1000.0 * k as f64))).collect();
        Course::of(&losses)
    }

    #[test]
    fn a_power_law_falls_by_the_same_part_at_every_doubling() {
        // As Meta-World's harder half: .184 at 8,000 steps, .097 at 32,000.
        let power = (0.184f64 / 0.097).ln() / 4f64.ln();
        let short = course(8000, |s| 0.184 * (s / 8000.0).powf(-power)).unwrap();
        assert!((short.fall_per_doubling() - 0.274).abs() < 0.01, "{short:?}");
        assert!(short.is_falling() && !short.is_rising());
    }

    #[test]
    fn flat_and_rising_courses_are_told_apart() {
        let flat = course(20_000, |s| 0.1 + 0.5 * (-s / 1500.0).exp()).unwrap();
        assert!(!flat.is_falling() && !flat.is_rising(), "{flat:?}");
        let over = course(20_000, |s| 0.1 + 0.2 * ((s - 6000.0) / 20_000.0).powi(2)).unwrap();
        assert!(!over.is_falling() && over.is_rising(), "{over:?}");
        assert!((5000..=7000).contains(&over.least.0));
    }

    #[test]
    fn too_few_validations_tell_nothing() {
        assert_eq!(course(3000, |_| 1.0), None);
        assert_eq!(Course::of(&[]), None);
        assert_eq!(Course::of(&[(97, 1.0), (98, 1.0), (99, 1.0), (100, 1.0)]), None);
    }
}
