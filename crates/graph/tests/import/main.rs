//! The importer against two references: tract's own execution of a model, and a slow
//! evaluator of our operations.
#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod build;
mod evaluator;
mod fusing;
mod hostile;
mod operators;
mod shipped;
