//! Any bytes as evidence of any kind, bare or stapled, and damage done to genuine evidence: an error
//! or claims; a panic of a library counts, though `authenticate` would catch it.
#![no_main]
#[path = "tee/mod.rs"]
#[allow(dead_code)]
mod tee;

use libfuzzer_sys::fuzz_target;
use subrosa_tee::{Reason, Stapled, authenticate};

fuzz_target!(|input: &[u8]| {
    let (sample, now) = tee::sample(input.first().copied().unwrap_or(0));
    for bytes in [input.to_vec(), tee::damaged(&sample, input.get(1..).unwrap_or_default())] {
        if let Ok(stapled) = Stapled::import(&bytes, None, None) {
            let verdict = authenticate(&stapled.evidence, &stapled.collateral, now);
            assert!(verdict != Err(Reason::Crashed));
        }
    }
});
