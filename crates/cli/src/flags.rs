//! Flags that several commands share.

use crate::failure::Result;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use subrosa::{Dataset, InputSpec, Model, PlanOptions, Reveal, RingWidth, Via};

/// How to compute a model.
#[derive(Args)]
pub(crate) struct PlanFlags {
    /// What the result receiver gets
    #[arg(long, value_enum, default_value = "logits")]
    pub(crate) reveal: Opened,
    /// Width of the integers, in bits [default: the narrowest that holds the model's values]
    #[arg(long, value_name = "BITS", value_parser = ring)]
    pub(crate) ring: Option<RingWidth>,
    /// Let the compute parties know the weights: faster, only the input is secret
    #[arg(long)]
    pub(crate) public_weights: bool,
    /// Round down wherever the plan truncates, as the reference does, instead of down or up at
    /// random: one more comparison each
    #[arg(long)]
    pub(crate) exact: bool,
    /// Let a party deal for itself, which protects nothing from it: for measuring (via beaver, fss)
    #[arg(long)]
    pub(crate) insecure_self_dealer: bool,
    #[command(flatten)]
    pub(crate) range: RangeFlags,
}

/// Which values an input may take.
#[derive(Args, Default)]
pub(crate) struct RangeFlags {
    /// Data like the inputs to come, from which their range is taken
    #[arg(long, value_name = "FILE", conflicts_with = "input_range")]
    pub(crate) calibrate: Option<PathBuf>,
    /// The range of the inputs, e.g. 0,1 or -4,4
    #[arg(long, value_name = "LO,HI", value_parser = input_range, allow_hyphen_values = true)]
    pub(crate) input_range: Option<(f64, f64)>,
}

/// What is opened.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Opened {
    /// The model's outputs
    Logits,
    /// Only the index of the largest output, found under protection
    Label,
}

impl PlanFlags {
    pub(crate) fn options(&self, via: Via, batch: usize, input: InputSpec) -> PlanOptions {
        let reveal = match self.reveal {
            Opened::Logits => Reveal::Logits,
            Opened::Label => Reveal::Label,
        };
        PlanOptions {
            via,
            batch,
            input,
            reveal,
            ring: self.ring,
            public_weights: self.public_weights,
            exact: self.exact,
            insecure_self_dealer: self.insecure_self_dealer,
            ..PlanOptions::default()
        }
    }
}

impl RangeFlags {
    /// Whether anything was said of it.
    pub(crate) fn is_given(&self) -> bool {
        self.calibrate.is_some() || self.input_range.is_some()
    }

    /// The range as far as the flags tell it.
    pub(crate) fn spec(&self, model: &Model) -> Result<InputSpec> {
        if let Some(path) = &self.calibrate {
            let samples = Dataset::read(path)?.fit(model.inputs())?;
            return Ok(InputSpec::calibrate(&samples)?);
        }
        match self.input_range {
            Some((lo, hi)) => Ok(InputSpec::given(lo, hi)?),
            None => Ok(InputSpec::Auto),
        }
    }

    /// The calibration data itself.
    pub(crate) fn samples(&self, model: &Model) -> Result<Vec<Vec<f32>>> {
        let Some(path) = &self.calibrate else { return Ok(Vec::new()) };
        Ok(Dataset::read(path)?.fit(model.inputs())?.inputs)
    }

    /// The same, for samples at hand: pixels are known to be within 0..1.
    pub(crate) fn spec_for(&self, model: &Model, data: &Dataset) -> Result<InputSpec> {
        match (self.spec(model)?, data.format_range()) {
            (InputSpec::Auto, Some(range)) => Ok(InputSpec::Given(vec![range])),
            (spec, _) => Ok(spec),
        }
    }
}

/// Reads a backend's name.
pub(crate) fn via(text: &str) -> std::result::Result<Via, String> {
    text.parse().map_err(|e: subrosa::Error| e.to_string())
}

fn ring(text: &str) -> std::result::Result<RingWidth, String> {
    let width = RingWidth::ALL.into_iter().find(|w| w.bits().to_string() == text);
    width.ok_or_else(|| "choose one of 32, 48, 64".to_owned())
}

fn input_range(text: &str) -> std::result::Result<(f64, f64), String> {
    let wrong = || "give two numbers LO,HI with LO below HI, for example 0,1 or -4,4".to_owned();
    let (lo, hi) = text.split_once(',').ok_or_else(wrong)?;
    let number = |t: &str| t.trim().parse::<f64>().ok().filter(|x| x.is_finite()).ok_or_else(wrong);
    let (lo, hi) = (number(lo)?, number(hi)?);
    if lo < hi { Ok((lo, hi)) } else { Err(wrong()) }
}
