use super::{TimeEmbedding, command, frequencies};
use crate::kernel::case::Case;
use crate::kernel::{BufferId, View};
use safetensors::SafeTensors;

fn golden(name: &str) -> Case {
    let folder = std::env::var("ADVECT_GOLDEN_DIR")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden").to_string());
    let bytes = std::fs::read(format!("{folder}/{name}.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let floats =
        |name: &str| -> Vec<f32> { bytemuck::pod_collect_to_vec(tensors.tensor(name).unwrap().data()) };
    let mut attributes: serde_json::Value = serde_json::from_str(&metadata["attrs"]).unwrap();
    let attributes = attributes.as_object_mut().unwrap();
    assert_eq!(attributes.remove("order").unwrap(), "sin,cos");
    assert_ne!(attributes.remove("endpoint"), Some(false.into()));
    let kind: TimeEmbedding = serde_json::from_value(attributes.clone().into()).unwrap();
    let (t, freq, want) = (floats("in.t"), frequencies(kind), floats("out.y"));
    let (rows, half) = (t.len(), freq.len());
    let ids = [BufferId(0), BufferId(1), BufferId(2)];
    Case {
        label: name.into(),
        command: command(
            [rows, half],
            0,
            (ids[0], View::dense(0, 1)),
            (ids[1], 0),
            (ids[2], View::dense(0, 2 * half)),
        ),
        buffers: vec![t, freq, vec![0.0; want.len()]],
        expect: vec![(2, want.into_iter().map(f64::from).collect())],
        exact: false,
        tolerance: metadata["tol"].parse().unwrap(),
    }
}

#[test]
fn reaches_the_golden_cases() {
    for name in ["op_time_embedding_index", "op_time_embedding_period"] {
        let case = golden(name);
        case.check(&case.run_twin(1)).unwrap();
    }
}
