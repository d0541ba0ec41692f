//! Scenario files: whatever is written, the answer is a scenario or a list of mistakes.
#![no_main]

use evenkeel_sim::scenario::{Overrides, parse};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(loaded) = parse("fuzz.toml", text, &Overrides::default()) {
        let explained = loaded.resolved.to_string();
        parse("explained.toml", &explained, &Overrides::default()).expect("what is explained is a scenario");
    }
});
