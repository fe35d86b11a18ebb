//! From ONNX nodes to [`Op`](crate::Op)s.
//!
//! The importer walks the file's nodes in order. A node whose inputs are all constants is
//! evaluated (`fold`); any other is handed to the builder function of its row in
//! [`table`], which emits a few of our operations with their shapes. Unsupported nodes
//! are collected, so that a reader learns of all of them at once.
//!
//! Nothing here trusts the file: every size is checked before memory is asked for.

mod arrange;
pub(crate) mod builder;
pub(crate) mod constant;
mod elementwise;
mod fold;
mod fuse;
mod gelu;
mod hints;
mod linear;
mod node;
pub(crate) mod proto;
mod reduce;
mod scan;
mod shape;
mod table;
pub(crate) mod text;
mod walk;
mod window;

pub use table::{OnnxOp, supported_ops};
pub(crate) use walk::{Imported, import, is_batched, needed};
