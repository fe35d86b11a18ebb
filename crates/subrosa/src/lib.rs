//! Private machine-learning inference: one ONNX model, any protection.
//!
//! ```no_run
//! use subrosa::{Dataset, InputSpec, Model, PlanOptions, Via};
//!
//! let model = Model::open("models/lenet.onnx")?;
//! let samples = Dataset::read("digit.png")?.fit(model.inputs())?;
//! let options = PlanOptions { via: Via::Rep3, input: InputSpec::given(0.0, 1.0)?, ..PlanOptions::default() };
//! let plan = model.plan(&options)?;
//! println!("{plan}");
//! let output = plan.open()?.run(&samples.inputs)?;
//! println!("{:?}", output.labels());
//! # Ok::<(), subrosa::Error>(())
//! ```
//!
//! Four states, each made from the one before: [`Model`] (read and checked), [`Plan`]
//! (ring, fraction bits and ranges proven, cost predicted exactly; it prints who learns
//! what), [`Session`] (parties that hold shares of the model), [`Output`].
//!
//! [`compare`](compare()) measures models under several protections, [`report_html`]
//! draws the result. Every error is an [`Error`] that names the culprit and the remedy.
//!
//! **Invariant:** this is the only crate with a promised interface; it does no
//! cryptography of its own, and downloads nothing.

// As the deployments in `tests` call it, which unit tests start, too.
#[cfg(test)]
extern crate self as subrosa;

pub mod attest;
pub mod backends;
pub mod ckks;
pub mod client;
pub mod compare;
pub mod data;
#[cfg(unix)]
pub mod deploy;
pub mod error;
pub mod inspection;
pub mod machine;
pub mod model;
pub mod oip;
pub mod options;
pub mod output;
pub mod plan;
pub mod report_html;
pub mod session;
pub mod sheet;
pub mod text;
pub mod trace;
pub mod verify;

pub use backends::Via;
pub use compare::{Comparison, compare};
pub use data::{Dataset, Samples};
pub use error::{Error, Result};
pub use inspection::Inspection;
pub use model::{Model, Port};
pub use options::{InputRange, InputSpec, Network, PlanOptions, Reveal, RingWidth};
pub use output::Output;
pub use plan::Plan;
pub use session::Session;
pub use sheet::PlanSheet;
pub use subrosa_core::{
    Absent, Adversary, Claim, Cost, Finding, Machine, Report, Row, SIMULATED, Secret, Standing, Terms, Trust, Verdict,
};
pub use verify::{Verification, verify};
