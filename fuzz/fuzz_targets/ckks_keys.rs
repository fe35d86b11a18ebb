//! Any bytes as a secret key file and as a bundle of evaluation keys.
#![no_main]
#[path = "ckks/mod.rs"]
#[allow(dead_code)]
mod ckks;

use libfuzzer_sys::fuzz_target;
use subrosa_he::files::{bundle_from_bytes, client_from_bytes};

fuzz_target!(|input: &[u8]| {
    let files = ckks::files();
    let _ = client_from_bytes(&ckks::damaged(&files.secret, input));
    let _ = bundle_from_bytes(&ckks::damaged(&files.bundle, input));
});
