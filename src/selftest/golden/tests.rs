use super::*;
use safetensors::tensor::{Dtype, TensorView, serialize};
use std::collections::HashMap;

/// A ReLU case with the given expectation.
fn relu(case: &str, want: [f32; 3], extra: bool) -> GoldenFile {
    let bytes = |v: [f32; 3]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let (x, y, one) = (bytes([-1.0, 2.0, 3.0]), bytes(want), bytes([1.0; 3]));
    let dx = bytes([0.0, 1.0, 1.0]);
    let view = |data| TensorView::new(Dtype::F32, vec![1, 3], data).unwrap();
    let mut tensors =
        vec![("in.x", view(&x)), ("out.y", view(&y)), ("cot.y", view(&one)), ("grad.x", view(&dx))];
    if extra {
        tensors.push(("out.more", view(&x)));
    }
    let metadata: HashMap<String, String> =
        [("case", case), ("attrs", "{}"), ("source", "here"), ("tol", "1e-6")]
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .into();
    GoldenFile::parse("relu".into(), serialize(tensors, Some(metadata)).unwrap()).unwrap()
}

fn cpu() -> Device {
    Device::Cpu(crate::device::Cpu::with_threads(2).unwrap())
}

#[test]
fn right_wrong_unknown_and_incomplete_cases_are_told_apart() {
    let status = |file: GoldenFile| run(&file, &cpu()).status;
    assert_eq!(status(relu("relu", [0.0, 2.0, 3.0], false)), Status::Passed);
    assert_eq!(status(relu("relu", [0.0, 2.0, 3.1], false)), Status::Failed);
    assert_eq!(status(relu("relu", [0.0, 2.0, f32::NAN], false)), Status::Failed);
    assert_eq!(status(relu("relu", [0.0, 2.0, 3.0], true)), Status::Failed);
    assert_eq!(status(relu("rely", [0.0, 2.0, 3.0], false)), Status::Failed);
}

#[test]
fn a_case_is_in_the_table_once() {
    let names: std::collections::BTreeSet<_> = CASES.iter().map(|c| c.0).collect();
    assert_eq!(names.len(), CASES.len());
}
