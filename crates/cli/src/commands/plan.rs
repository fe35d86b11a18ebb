//! `subrosa plan MODEL`.

use crate::failure::Result;
use crate::flags::{self, PlanFlags};
use crate::print::{self, Left, Right};
use clap::Args;
use comfy_table::CellAlignment;
use std::path::PathBuf;
use subrosa::ckks::roles;
use subrosa::sheet::LayerSheet;
use subrosa::{Model, PlanOptions, Via, text};

/// What to plan.
#[derive(Args)]
pub(crate) struct PlanCommand {
    /// An ONNX file
    model: PathBuf,
    /// Who computes
    #[arg(long, value_name = "BACKEND", value_parser = flags::via, default_value = "rep3")]
    via: Via,
    /// Samples in one inference
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    #[command(flatten)]
    flags: PlanFlags,
    /// Add a line for each layer
    #[arg(long)]
    per_layer: bool,
    /// Leave room to publish what is decrypted under BITS of noise (via ckks)
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(12..=40))]
    publish: Option<u32>,
    /// Save what a client needs (via ckks), for `keygen`
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl PlanCommand {
    pub(crate) fn run(self) -> Result<()> {
        let model = Model::open(&self.model)?;
        let input = self.flags.range.spec(&model)?;
        let calibration = self.flags.range.samples(&model)?;
        let publish = self.publish.unwrap_or(0);
        let options = PlanOptions { calibration, publish, ..self.flags.options(self.via, self.batch, input) };
        let plan = model.plan(&options)?;
        if let Some(path) = &self.save {
            roles::save_plan(&plan, path)?;
        }
        if self.json {
            return print::json(plan.sheet());
        }
        print::out(&plan.to_string())?;
        match &plan.sheet().fixed {
            Some(fixed) if self.per_layer => print::out(&layers(&fixed.layers)),
            _ => Ok(()),
        }
    }
}

const COLUMNS: [(&str, CellAlignment); 9] = [
    ("layer", Left),
    ("operation", Left),
    ("shape", Left),
    ("fraction", Right),
    ("bits", Right),
    ("magnitude", Right),
    ("rounds", Right),
    ("offline", Right),
    ("online", Right),
];

fn layers(layers: &[LayerSheet]) -> String {
    let line = |l: &LayerSheet| {
        vec![
            l.node.clone(),
            l.op.clone(),
            l.shape.clone(),
            l.fraction_bits.to_string(),
            l.bits.to_string(),
            text::significant(l.magnitude),
            l.online.rounds.to_string(),
            text::bytes(l.offline.bytes as f64),
            text::bytes(l.online.bytes as f64),
        ]
    };
    print::table(&COLUMNS, layers.iter().map(line).collect())
}
