//! The words every other crate speaks: [`Shape`], [`Tensor`], [`RingWidth`], random
//! streams ([`Prg`]), secrets ([`Secret`]), cost ([`Cost`], [`Meter`]), claims
//! ([`Claim`]) and the rows of a report ([`Row`]).
//!
//! **Invariant:** no I/O, no threads, no clock. This crate builds for wasm32, and it
//! imports nothing else of the house.
//!
//! Start with [`shape`] and [`meter`]; [`prg`] states how random streams stay apart.

pub mod claim;
pub mod fixed;
pub mod geometry;
pub mod meter;
pub mod prg;
pub mod report;
pub mod secret;
pub mod shape;
pub mod tensor;

pub use claim::{Adversary, Claim, Trust};
pub use fixed::RingWidth;
pub use meter::{Cost, FRAME_HEADER_BYTES, Meter, Phase};
pub use prg::{Prg, Seed};
pub use report::{Absent, Finding, Machine, Report, Row, SELF_DEALER, SIMULATED, Standing, Terms, Verdict};
pub use secret::Secret;
pub use shape::{MAX_ELEMENTS, Shape, ShapeError};
pub use tensor::Tensor;
