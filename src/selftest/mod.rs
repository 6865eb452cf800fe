//! The self-test: every kernel variant against its twin and an f64 oracle, and golden cases of the field's references.

pub mod cases;
pub mod golden;

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
}
