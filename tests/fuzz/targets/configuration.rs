//! Hands libFuzzer's bytes to the target of the same name.
#![no_main]

#[path = "../targets.rs"]
#[expect(dead_code, reason = "one of them is used here")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::configuration(data));
