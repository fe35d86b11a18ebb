//! Any bytes as a model file: an error or a model, never a panic.
//!
//! Start from real files: `cargo fuzz run onnx fuzz/corpus/onnx models`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use subrosa_graph::Model;

fuzz_target!(|bytes: &[u8]| {
    let _ = Model::inspect(bytes);
    let _ = Model::from_bytes(bytes);
});
