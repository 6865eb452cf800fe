#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    advect_fuzz::run("wire", data);
});
