#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    bpftime_fuzz::text(bytes);
});
