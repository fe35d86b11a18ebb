//! ONNX in, integers out: the model's side of Subrosa, with no cryptography.
//!
//! 1. [`Model`] reads an ONNX file through tract and imports it as a [`Graph`] of a small
//!    closed set of [`Op`]s; tract also runs it in the clear.
//! 2. `lower` turns the graph into a [`Program`] of integers: it chooses ring and
//!    fraction bits and *proves* by interval arithmetic that nothing overflows.
//! 3. `oracle` executes a program in the clear: every protocol must equal it.
//!
//! **Invariant:** no cryptography, no network, no knowledge of protocols. tract's types
//! stay inside `model`, `plain`, `guard` and `import`.

pub mod error;
mod guard;
mod import;
pub mod lower;
pub mod model;
pub mod op;
pub mod oracle;
mod plain;
pub mod program;

pub use error::{Error, UnsupportedNode};
pub use import::{OnnxOp, supported_ops};
pub use lower::{Comparing, InputRange, LowerOptions, Lowered, Reveal, decode_output, encode_input, lower};
pub use model::{Inspection, Model, Port};
pub use op::{Graph, Node, Op};
pub use plain::PlainRunner;
pub use program::{FixedOp, Inst, Program, WeightSet};
