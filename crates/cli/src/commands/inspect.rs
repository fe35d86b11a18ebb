//! `subrosa inspect MODEL`.

use crate::failure::{Failure, Result};
use crate::print;
use clap::Args;
use std::path::PathBuf;
use subrosa::Model;

/// What to describe.
#[derive(Args)]
pub(crate) struct Inspect {
    /// An ONNX file
    model: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// Fails, after printing, if a node is not supported.
    pub(crate) fn run(self) -> Result<()> {
        let inspection = Model::inspect(&self.model)?;
        if self.json {
            print::json(&inspection)?;
        } else {
            print::out(&inspection.to_string())?;
        }
        if inspection.supported() { Ok(()) } else { Err(Failure::Negative) }
    }
}
