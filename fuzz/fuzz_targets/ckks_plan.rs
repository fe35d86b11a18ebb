//! Any bytes as a plan: refused, or what it says is written back as it was.
#![no_main]
#[path = "ckks/mod.rs"]
#[allow(dead_code)]
mod ckks;

use libfuzzer_sys::fuzz_target;
use subrosa_he::PublicPlan;

fuzz_target!(|input: &[u8]| {
    let bytes = ckks::damaged(&ckks::files().plan.to_bytes(), input);
    if let Ok(plan) = PublicPlan::from_bytes(&bytes) {
        assert_eq!(plan.to_bytes(), bytes);
    }
});
