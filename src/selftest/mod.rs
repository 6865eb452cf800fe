//! The self-test: every kernel variant against its twin and an f64 oracle, and golden cases of the field's references.

pub mod cases;
pub mod golden;
pub mod gpu;

#[cfg(test)]
mod tests {
    use super::cases::CASES;
    use crate::kernel::Target;

    #[test]
    fn twins_match_their_oracles() {
        for (kernel, cases) in CASES {
            for case in cases(&Target::CPU) {
                for threads in [1, 2] {
                    if let Err(e) = case.check(&case.run_twin(threads)) {
                        panic!("{kernel}: {e}");
                    }
                }
            }
        }
    }

    /// Relative L2 distance of two executors' outputs over the elements that the oracle speaks of.
    fn distance(case: &crate::kernel::case::Case, a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
        let mut worst = 0.0f64;
        for (n, want) in &case.expect {
            let (mut diff, mut norm) = (0.0f64, 0.0f64);
            for ((a, b), w) in a[*n].iter().zip(&b[*n]).zip(want) {
                if case.exact {
                    diff += f64::from(u8::from(a.to_bits() != b.to_bits()));
                } else if !w.is_nan() {
                    diff += (f64::from(*a) - f64::from(*b)).powi(2);
                    norm += f64::from(*b).powi(2);
                }
            }
            worst = worst.max(if norm > 0.0 { (diff / norm).sqrt() } else { diff.sqrt() });
        }
        worst
    }

    /// Every case on the adapter there is, against the oracle and against the twin.
    #[test]
    #[ignore = "needs an adapter: cargo test --release -- --ignored wgsl"]
    fn wgsl_matches_oracles_and_twins() {
        let mut runner = super::gpu::CaseRunner::new().unwrap();
        let mut failures = Vec::new();
        for (kernel, cases) in CASES {
            let (mut worst, mut apart, mut count) = (0.0f64, 0.0f64, 0);
            for case in cases(&Target::MINIMAL_GPU) {
                let got = runner.run(&case).unwrap();
                match case.check(&got) {
                    Ok(error) => worst = worst.max(error),
                    Err(e) => failures.push(e.to_string()),
                }
                let away = distance(&case, &got, &case.run_twin(1));
                if away > case.tolerance.max(1e-5) {
                    failures.push(format!("{}: {away:.2e} from its twin", case.label));
                }
                apart = apart.max(away);
                count += 1;
            }
            println!("{kernel}: {count} cases, {worst:.1e} from the oracle, {apart:.1e} from the twin");
        }
        assert!(
            failures.is_empty(),
            "{}: {} failed:\n{}",
            runner.name(),
            failures.len(),
            failures.join("\n")
        );
    }
}
