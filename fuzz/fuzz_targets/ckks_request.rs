//! Any bytes as a request: refused, or written back as they were.
#![no_main]
#[path = "ckks/mod.rs"]
#[allow(dead_code)]
mod ckks;

use libfuzzer_sys::fuzz_target;
use subrosa_he::files::{request_from_bytes, request_to_bytes};

fuzz_target!(|input: &[u8]| {
    let files = ckks::files();
    let bytes = ckks::damaged(&files.request, input);
    if let Ok(request) = request_from_bytes(&files.plan, &files.digest, &bytes) {
        assert_eq!(request_to_bytes(&files.plan, &files.digest, &request), bytes);
    }
});
