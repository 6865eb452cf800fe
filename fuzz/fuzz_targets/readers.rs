//! One reader by coverage: `ADVECT_READER=wire cargo fuzz run readers ../tests/fuzz/corpus/wire`.
#![no_main]

#[path = "../../tests/fuzz/mutate.rs"]
#[allow(dead_code)]
mod mutate;
#[path = "../../tests/fuzz/readers.rs"]
#[allow(dead_code)]
mod readers;
#[path = "../../tests/fuzz/seeds.rs"]
#[allow(dead_code)]
mod seeds;

use readers::{READERS, Reader};
use std::sync::OnceLock;

fn chosen() -> &'static Reader {
    static CHOSEN: OnceLock<&Reader> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = std::env::var("ADVECT_READER").unwrap_or_default();
        let names: Vec<&str> = READERS.iter().map(|reader| reader.name).collect();
        let reader = READERS.iter().find(|reader| reader.name == name);
        reader.unwrap_or_else(|| panic!("ADVECT_READER={name}: needed one of {}", names.join(", ")))
    })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (chosen().run)(data);
});
