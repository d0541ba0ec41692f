//! Small sites of every strategy under any script of faults.
#![no_main]

#[path = "../../tests/it/disasters.rs"]
mod disasters;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    disasters::survive(bytes);
});
