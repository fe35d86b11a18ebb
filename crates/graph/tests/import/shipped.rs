//! Every shipped model is imported as what tract computes.

use crate::evaluator::largest_difference;
use std::path::PathBuf;

fn models() -> Vec<PathBuf> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/");
    let paths = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut models: Vec<PathBuf> = paths.filter(|p| p.extension().is_some_and(|e| e == "onnx")).collect();
    models.sort();
    assert!(models.len() >= 10, "only {} models in {dir}", models.len());
    models
}

#[test]
fn our_operations_compute_what_tract_computes() {
    for path in models() {
        let bytes = std::fs::read(&path).unwrap();
        let difference = largest_difference(&bytes, 2, 1);
        assert!(difference < 1e-3, "{}: {difference}", path.display());
    }
}

#[test]
fn inspection_counts_parameters() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/mlp.onnx")).unwrap();
    let inspection = subrosa_graph::Model::inspect(&bytes).unwrap();
    assert_eq!(inspection.parameters, 118_282);
    assert_eq!(inspection.opset, 17);
    let ops: Vec<(&str, usize)> = inspection.ops.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(ops, [("Flatten", 1), ("Gemm", 3), ("Relu", 2)]);
    assert!(inspection.unsupported.is_empty());
    assert!(inspection.inputs[0].batched);
}
