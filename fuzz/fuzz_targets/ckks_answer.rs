//! Any bytes as an answer: refused, or written back as they were, and decrypted.
#![no_main]
#[path = "ckks/mod.rs"]
#[allow(dead_code)]
mod ckks;

use libfuzzer_sys::fuzz_target;
use subrosa_he::files::{answer_from_bytes, answer_to_bytes, client_from_bytes};

fuzz_target!(|input: &[u8]| {
    let files = ckks::files();
    let bytes = ckks::damaged(&files.answer, input);
    if let Ok(answer) = answer_from_bytes(&files.plan, &files.digest, &bytes) {
        assert_eq!(answer_to_bytes(&files.plan, &files.digest, &answer), bytes);
        let (client, _) = client_from_bytes(&files.secret).unwrap();
        assert_eq!(client.decrypt(&answer).unwrap().len(), 2);
    }
});
