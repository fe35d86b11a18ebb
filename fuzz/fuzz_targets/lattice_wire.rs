//! Any bytes as each object of the lattice crate.
#![no_main]
#[path = "ckks/mod.rs"]
#[allow(dead_code)]
mod ckks;

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;
use subrosa_lattice::Params;
use subrosa_lattice::wire::{Reader, Writer};

fuzz_target!(|input: &[u8]| {
    static PARAMS: OnceLock<Params> = OnceLock::new();
    let params = PARAMS.get_or_init(ckks::params);
    let mut w = Writer::new();
    if let Ok(c) = params.read_ciphertext(&mut Reader::new(input, "ciphertext"), 1) {
        params.write_ciphertext(&mut w, &c);
        assert!(input.starts_with(&w.into_bytes()));
    }
    let _ = params.read_seeded(&mut Reader::new(input, "ciphertext"), 1);
    let _ = params.read_switch_key(&mut Reader::new(input, "key"), 1);
    let _ = params.read_galois_key(&mut Reader::new(input, "key"), input.len() % 4097, 1);
    let _ = params.read_public_key(&mut Reader::new(input, "key"));
    if let Ok(key) = params.read_secret_key(&mut Reader::new(input, "key")) {
        assert!(input.starts_with(key.write().expose()));
    }
});
