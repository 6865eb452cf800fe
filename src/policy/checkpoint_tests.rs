use super::*;
use safetensors::tensor::Dtype;
use safetensors::tensor::TensorView;
use std::collections::HashMap;

/// A small policy: LeRobot's, from the import tests.
fn policy() -> Policy {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lerobot/checkpoints/shift");
    Policy::import_lerobot(dir).unwrap()
}

fn load(bytes: &[u8]) -> Result<Policy> {
    Policy::from_bytes(bytes, Path::new("p.safetensors"))
}

fn fault(bytes: &[u8]) -> String {
    load(bytes).unwrap_err().to_string()
}

/// The file as another program writes it again: other metadata, another type of number.
fn again(
    bytes: &[u8],
    change: impl Fn(&mut HashMap<String, String>),
    dtype: Dtype,
    number: impl Fn(f32) -> Vec<u8>,
) -> Vec<u8> {
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    change(&mut metadata);
    let file = SafeTensors::deserialize(bytes).unwrap();
    let all: Vec<(String, Vec<usize>, Vec<u8>)> = file
        .tensors()
        .into_iter()
        .map(|(name, t)| {
            let data = crate::nn::store::values(&t).flat_map(&number).collect();
            (name, t.shape().to_vec(), data)
        })
        .collect();
    let views = all.iter().map(|(n, s, d)| (n.clone(), TensorView::new(dtype, s.clone(), d).unwrap()));
    safetensors::serialize(views, Some(metadata)).unwrap()
}

fn f32s(v: f32) -> Vec<u8> {
    v.to_le_bytes().to_vec()
}

#[test]
fn the_same_policy_is_the_same_bytes() {
    let policy = policy();
    let bytes = policy.to_bytes().unwrap();
    assert_eq!(bytes, policy.clone().to_bytes().unwrap());
    assert_eq!(load(&bytes).unwrap(), policy);
    let text = String::from_utf8_lossy(&bytes[8..400]);
    let places: Vec<usize> =
        [FORMAT_KEY, SPEC_KEY].iter().map(|k| text.find(&format!("\"{k}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
    // Its data begin where they can be mapped.
    assert!(u64::from_le_bytes(bytes[..8].try_into().unwrap()).is_multiple_of(8));
}

#[test]
fn damaged_weights_are_refused() {
    let bytes = policy().to_bytes().unwrap();
    let mut zeroed = bytes.clone();
    let at = bytes.len() - 4096;
    assert!(zeroed[at..at + 12].iter().any(|b| *b != 0));
    zeroed[at..at + 12].fill(0);
    let said = fault(&zeroed);
    assert!(said.contains("weights are damaged") && said.contains("advect.checksum"), "{said}");
    assert!(said.contains("parameter \""), "{said}");
    // Another order is no damage; a file without the key was written before there was one.
    assert!(load(&again(&bytes, |_| {}, Dtype::F32, f32s)).is_ok());
    let old = |m: &mut HashMap<String, String>| assert!(m.remove(CHECKSUM_KEY).is_some());
    assert!(load(&again(&zeroed, old, Dtype::F32, f32s)).is_ok());
    let strange = |m: &mut HashMap<String, String>| drop(m.insert("advect.extra".into(), "1".into()));
    assert!(fault(&again(&bytes, strange, Dtype::F32, f32s)).contains("unknown key \"advect.extra\""));
    let others = |m: &mut HashMap<String, String>| drop(m.insert("format".into(), "pt".into()));
    assert!(load(&again(&bytes, others, Dtype::F32, f32s)).is_ok());
}

#[test]
fn halves_are_widened_and_doubles_rounded() {
    use half::{bf16, f16};
    let policy = policy();
    let bytes = policy.to_bytes().unwrap();
    let written = |dtype, number: &dyn Fn(f32) -> Vec<u8>| load(&again(&bytes, |_| {}, dtype, number));
    assert_eq!(written(Dtype::F64, &|v| f64::from(v).to_le_bytes().to_vec()).unwrap(), policy);
    let half = written(Dtype::F16, &|v| f16::from_f32(v).to_le_bytes().to_vec()).unwrap();
    let brain = written(Dtype::BF16, &|v| bf16::from_f32(v).to_le_bytes().to_vec()).unwrap();
    for (i, v) in policy.ema.values.iter().enumerate() {
        assert_eq!(half.ema.values[i], f16::from_f32(*v).to_f32());
        assert_eq!(brain.weights.values[i], bf16::from_f32(*v).to_f32());
    }
    let said = written(Dtype::F8_E4M3, &|_| vec![0]).unwrap_err().to_string();
    assert!(said.contains("found F8_E4M3, needed F32, F16, BF16 or F64"), "{said}");
    // A double beyond f32 is no weight.
    let said = written(Dtype::F64, &|_| 1e300f64.to_le_bytes().to_vec()).unwrap_err().to_string();
    assert!(said.contains("holds inf"), "{said}");
}

#[test]
fn what_could_not_be_loaded_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.safetensors");
    type Change = fn(&mut Policy);
    let faults: [(&str, Change); 6] = [
        ("rate_hz", |p| p.spec.rate_hz = Some(-1.0)),
        ("scale", |p| p.spec.obs_normalizer.scale[0] = f32::NAN),
        ("their moving average", |p| p.ema = ParamStore::zeros(&[])),
        ("holds NaN", |p| p.weights.values[3] = f32::NAN),
        ("obs_names", |p| p.spec.obs_names = Some(vec!["x".into()])),
        ("network.time.max_period: found 0, needed a number from 1", |p| {
            let crate::nn::NetworkSpec::Unet1d(net) = &mut p.spec.network else { panic!("no U-Net") };
            net.time = crate::nn::TimeInput::Sinusoidal { dim: 8, scale: 99.0, max_period: 0.0 };
        }),
    ];
    for (words, change) in faults {
        let mut policy = policy();
        change(&mut policy);
        let said = policy.save(&path).unwrap_err().to_string();
        assert!(said.contains(words), "found {said:?}, needed {words:?} in it");
        assert!(!path.exists());
    }
    policy().save(&path).unwrap();
    let said = Policy::load(folder.path()).unwrap_err().to_string();
    assert!(said.contains("is a folder, needed a policy file") && said.contains("p.safetensors"), "{said}");
}

/// Places of all numbers in a JSON value.
fn numbers(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Number(_) => out.push(at),
        Value::Array(all) => {
            all.iter().enumerate().for_each(|(i, v)| numbers(v, format!("{at}/{i}"), out));
        }
        Value::Object(all) => all.iter().for_each(|(k, v)| numbers(v, format!("{at}/{k}"), out)),
        _ => {}
    }
}

#[test]
fn every_number_of_a_stored_spec_has_its_range() {
    use crate::nn::transformer::Transformer;
    use crate::nn::{NetworkSpec, TimeInput};
    use crate::policy::{NoiseLaw, Objective, TimeConvention};
    let mut base = PolicySpec { time: TimeConvention::NoiseToAction, rate_hz: Some(10.0), ..policy().spec };
    base.path = crate::flow::Path::Independent { sigma: 0.1 };
    base.objective = Objective::default();
    let mut all = Vec::new();
    let small = Transformer { width: 16, layers: 1, heads: 2, ..Transformer::default() };
    let period = TimeInput::Period { dim: 8, min_period: 0.004, max_period: 4.0 };
    for network in [
        NetworkSpec::push_t(),
        NetworkSpec::Transformer(Transformer { time: period, ..small.clone() }),
        NetworkSpec::Transformer(small),
        base.network.clone(),
    ] {
        all.push(PolicySpec { network, ..base.clone() });
    }
    for name in Objective::NAMES {
        let objective = Objective::named(name).unwrap();
        let noise = match objective.method().starts_from_noise() {
            true => NoiseLaw::StandardNormal,
            false => NoiseLaw::Zero,
        };
        let time = match objective {
            Objective::Denoising(_) => TimeConvention::ActionToNoise,
            _ => TimeConvention::NoiseToAction,
        };
        all.push(PolicySpec { objective, noise, time, ..base.clone() });
    }
    all.retain(|spec| spec.check().is_ok());
    assert!(all.len() > 12, "{}", all.len());
    // What may be negative, and what may be 0 besides.
    let negative = ["/offset", "/action_offset", "/weight", "/mean"];
    let zero = ["/scale", "/provenance/", "/sigma", "/alpha", "/power", "_layers", "/layers", "/blocks"];
    let mut wrong = Vec::new();
    for spec in &all {
        let stored = serde_json::to_value(spec).unwrap();
        let mut places = Vec::new();
        numbers(&stored, String::new(), &mut places);
        for place in places {
            for value in [-1.0, 0.0, 1e300] {
                let mut changed = stored.clone();
                let leaf = changed.pointer_mut(&place).unwrap();
                *leaf = if leaf.is_f64() || value > 1.0 { json!(value) } else { json!(value as i64) };
                let read = serde_json::from_value::<PolicySpec>(changed);
                let taken = read.is_ok_and(|s| s.check().is_ok());
                let may = |list: &[&str]| {
                    list.iter().any(|part| place.contains(part)) && !place.contains("/time/scale")
                };
                if taken && !(may(&negative) && value < 1.0 || may(&zero) && value == 0.0) {
                    wrong.push(format!("{} {place} = {value}", spec.objective.name()));
                }
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "accepted: {wrong:#?}");
}

/// Flips a bit of a byte.
fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[test]
fn one_flipped_bit_is_noticed_in_weights_of_every_type_and_in_the_spec() {
    use half::{bf16, f16};
    let bytes = policy().to_bytes().unwrap();
    let written = |dtype, number: &dyn Fn(f32) -> Vec<u8>| again(&bytes, |_| {}, dtype, number);
    for (dtype, file) in [
        ("f32", bytes.clone()),
        ("f16", written(Dtype::F16, &|v| f16::from_f32(v).to_le_bytes().to_vec())),
        ("bf16", written(Dtype::BF16, &|v| bf16::from_f32(v).to_le_bytes().to_vec())),
    ] {
        load(&file).unwrap();
        let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        for part in 1..8 {
            // The low bits of values, which are as likely as before.
            let at = header + (file.len() - header) / 8 * part / 4 * 4;
            let said = fault(&flipped(&file, at));
            assert!(said.contains("weights are damaged: parameter"), "{dtype} {at}: {said}");
        }
    }
    // Digits of numbers in the spec, each of which is another number of the same kind.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut noticed = 0;
    for key in ["history", "horizon", "offset", "scale", "seed", "steps"] {
        let Some(at) = text.find(&format!("\\\"{key}\\\":")) else { continue };
        let digit = at + text[at..].find(|c: char| c.is_ascii_digit()).unwrap();
        assert!(load(&flipped(&bytes, digit)).is_err(), "{key}");
        noticed += usize::from(fault(&flipped(&bytes, digit)).contains("metadata are damaged"));
    }
    assert!(noticed > 1, "{noticed}");
}

#[test]
fn a_checksum_of_before_still_counts() {
    let policy = policy();
    let bytes = policy.to_bytes().unwrap();
    let old = super::super::checksum::of_floats(&[("", &policy.weights), (EMA_PREFIX, &policy.ema)]);
    let change = |m: &mut HashMap<String, String>| drop(m.insert(CHECKSUM_KEY.into(), old.clone()));
    let file = again(&bytes, change, Dtype::F32, f32s);
    assert_eq!(load(&file).unwrap(), policy);
    let said = fault(&flipped(&file, file.len() - 4096));
    assert!(said.contains("weights are damaged"), "{said}");
    // It says nothing of halves.
    let half = |v: f32| half::f16::from_f32(v).to_le_bytes().to_vec();
    assert!(load(&again(&bytes, change, Dtype::F16, half)).is_ok());
    for damaged in ["", "no digits", "0123456789abcdef 01", "\u{fc}"] {
        let change = |m: &mut HashMap<String, String>| drop(m.insert(CHECKSUM_KEY.into(), damaged.into()));
        assert!(fault(&again(&bytes, change, Dtype::F32, f32s)).contains("damaged"), "{damaged}");
    }
}
