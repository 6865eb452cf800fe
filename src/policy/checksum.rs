//! The checksum in a file's metadata: of every tensor as each kind of number that other programs write weights as, and of what the
//! metadata say. Against damage, not against malice.
//!
//! The key holds words of hexadecimal digits: 16 of the other keys' texts, then for each tensor, in the order of their names, 24: 8 of its
//! values as f32, 8 as they are once they are rounded to f16, and 8 to bf16. Files of before hold one word, [`of_floats`].

use crate::nn::ParamStore;
use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use std::collections::{BTreeMap, HashMap};

/// The key of the checksum.
pub(crate) const CHECKSUM_KEY: &str = "advect.checksum";
/// What every key of this program's begins with.
pub(crate) const OWN: &str = "advect.";

/// Parameter stores by name, each under its prefix, in the order of the names.
pub(super) fn by_name<'a>(stores: &[(&str, &'a ParamStore)]) -> BTreeMap<String, (&'a [usize], &'a [f32])> {
    let of = |(prefix, store): &(&str, &'a ParamStore)| {
        let (prefix, store) = (prefix.to_string(), *store);
        store.layout.iter().map(move |info| {
            let values = &store.values[info.offset..info.offset + info.shape.len()];
            (format!("{prefix}{}", info.name), (info.shape.dims(), values))
        })
    };
    stores.iter().flat_map(of).collect()
}

/// FNV-1a over the bits of the values, a value at a time: every change of a single value changes it.
fn of_values(values: impl Iterator<Item = f32>) -> String {
    let hash = values.fold(0x811c_9dc5_u32, |hash, v| (hash ^ v.to_bits()).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

/// FNV-1a over this program's keys and their texts, in the order of the keys.
fn of_text<'a>(keys: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let keys: BTreeMap<&str, &str> =
        keys.filter(|(key, _)| key.starts_with(OWN) && *key != CHECKSUM_KEY).collect();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for (key, text) in keys {
        // No text holds these bytes, so that what ends one cannot begin the other.
        key.bytes().chain([0xff]).chain(text.bytes()).chain([0xfe]).for_each(&mut add);
    }
    format!("{hash:016x}")
}

/// The one checksum of files of before: FNV-1a over the names and the values as f32, all tensors together.
pub(super) fn of_floats(stores: &[(&str, &ParamStore)]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |word: u32| hash = (hash ^ u64::from(word)).wrapping_mul(0x0100_0000_01b3);
    for (name, (_, values)) in by_name(stores) {
        name.bytes().for_each(|b| add(b.into()));
        values.iter().for_each(|v| add(v.to_bits()));
    }
    format!("{hash:016x}")
}

/// What the key of a file with these tensors and texts is to hold.
pub(super) fn checksum<'a>(
    stores: &[(&str, &ParamStore)],
    keys: impl Iterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut words = of_text(keys);
    for (_, values) in by_name(stores).into_values() {
        let values = || values.iter().copied();
        words.push(' ');
        words += &of_values(values());
        words += &of_values(values().map(|v| f16::from_f32(v).to_f32()));
        words += &of_values(values().map(|v| bf16::from_f32(v).to_f32()));
    }
    words
}

/// Compares what was loaded with the checksum of its file; a tensor that another program wrote again in half precision with that of the
/// values so rounded. A file without a checksum was written before there was one.
pub(crate) fn verify(
    metadata: &HashMap<String, String>,
    file: &SafeTensors<'_>,
    stores: &[(&str, &ParamStore)],
) -> Result<(), String> {
    let Some(stored) = metadata.get(CHECKSUM_KEY) else { return Ok(()) };
    let differs = |what: String, found: &str, needed: &str| {
        Err(format!(
            "{what}: the checksum is {found}, needed {needed} (a program that changes a file on purpose leaves out the \
             metadata's key {CHECKSUM_KEY:?})"
        ))
    };
    let mut words = stored.split(' ');
    let first = words.next().unwrap_or_default();
    let tensors = by_name(stores);
    let words: Vec<&str> = words.collect();
    if words.is_empty() {
        let halves = file.tensors().iter().any(|(_, t)| matches!(t.dtype(), Dtype::F16 | Dtype::BF16));
        let found = of_floats(stores);
        return match halves || found == first {
            true => Ok(()),
            false => differs("its weights are damaged: all of them".into(), &found, first),
        };
    }
    let found = of_text(metadata.iter().map(|(key, text)| (key.as_str(), text.as_str())));
    if found != first {
        return differs("its metadata are damaged".into(), &found, first);
    }
    if words.len() != tensors.len() || words.iter().any(|word| word.len() != 24 || !word.is_ascii()) {
        let found = format!("{} words", words.len());
        return differs(
            "its metadata are damaged".into(),
            &found,
            &format!("{} of 24 digits", tensors.len()),
        );
    }
    for ((name, (_, values)), word) in tensors.into_iter().zip(words) {
        let found = of_values(values.iter().copied());
        let needed = match file.tensor(&name).map(|tensor| tensor.dtype()) {
            Ok(Dtype::F16) => &word[8..16],
            Ok(Dtype::BF16) => &word[16..],
            _ => &word[..8],
        };
        if found != needed {
            return differs(format!("its weights are damaged: parameter {name:?}"), &found, needed);
        }
    }
    Ok(())
}
