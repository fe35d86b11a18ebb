//! Development only: benches, the ONNX node test runner (`src/bin/onnx_nodes`) and the
//! tests that look at the whole house (`tests/`). It may import any crate; none imports it.
