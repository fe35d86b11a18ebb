//! What a caller may choose.

use crate::attest::Local;
use crate::backends::Via;
use crate::data::Samples;
use crate::{Error, Result};
pub use subrosa_core::RingWidth;
pub use subrosa_graph::{InputRange, Reveal};
pub use subrosa_net::Network;

/// How to compute a model.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Who computes.
    pub via: Via,
    /// Samples in one inference.
    pub batch: usize,
    /// The values an input may take.
    pub input: InputSpec,
    /// What the result receiver gets.
    pub reveal: Reveal,
    /// The ring, or the narrowest that does.
    pub ring: Option<RingWidth>,
    /// Whether the compute parties may know the weights (faster; only the input is secret).
    pub public_weights: bool,
    /// Whether truncations always round down, as the reference does; if not, they round down or
    /// up at random, which is cheaper.
    pub exact: bool,
    /// Whether a party deals for itself, which protects nothing from it: for measuring, via
    /// protocols that have a dealer.
    pub insecure_self_dealer: bool,
    /// Via ckks, bits of noise under which answers can be published; 0 if none will be.
    pub publish: u32,
    /// Threads a party.
    pub threads: usize,
    /// Samples like the inputs to come, one flat array an input; may be empty. Via ckks, the
    /// ranges inside the model are taken from them.
    pub calibration: Vec<Vec<f32>>,
    /// A network to imitate between the parties of one machine.
    pub network: Option<Network>,
    /// Whom the client trusts and what attests the program: what a run via tee on this machine
    /// needs.
    pub tee: Option<Local>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            via: Via::Plain,
            batch: 1,
            input: InputSpec::Auto,
            reveal: Reveal::Logits,
            ring: None,
            public_weights: false,
            exact: false,
            insecure_self_dealer: false,
            publish: 0,
            threads: 1,
            calibration: Vec::new(),
            network: None,
            tee: None,
        }
    }
}

/// Where the range of the inputs comes from. A plan proves that nothing overflows for
/// every input in it; anything outside is refused.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum InputSpec {
    /// The widest of [`AUTO_RANGES`] that the model can be computed on.
    #[default]
    Auto,
    /// Stated: one range for all inputs, or one each.
    Given(Vec<InputRange>),
    /// From calibration data, one each.
    Calibrated(Vec<InputRange>),
}

/// Magnitudes tried, widest first, when nothing is known of the inputs.
pub const AUTO_RANGES: [f64; 8] = [1024.0, 256.0, 64.0, 16.0, 8.0, 4.0, 2.0, 1.0];

impl InputSpec {
    /// Ranges from data like the inputs to come.
    ///
    /// All values within `[0, 1]`, `[-1, 1]` or `[0, 255]` give that range, the first that
    /// holds them; others give ± the next power of two.
    ///
    /// **Errors:** [`Error::Input`] for NaN and infinities.
    pub fn calibrate(samples: &Samples) -> Result<Self> {
        samples.inputs.iter().map(|values| range_of(values)).collect::<Result<_>>().map(Self::Calibrated)
    }

    /// One range for all inputs.
    ///
    /// **Errors:** [`Error::Misuse`] unless `lo < hi`, both finite.
    pub fn given(lo: f64, hi: f64) -> Result<Self> {
        if lo.is_finite() && hi.is_finite() && lo < hi {
            return Ok(Self::Given(vec![InputRange { lo, hi }]));
        }
        Err(Error::misuse(format!("the input range {lo},{hi} is empty"), "give LO,HI with LO below HI"))
    }

    /// The ranges to try in turn, each one range an input.
    pub(crate) fn candidates(&self, inputs: usize) -> Result<Vec<Vec<InputRange>>> {
        match self {
            Self::Auto => Ok(AUTO_RANGES.map(|m| vec![InputRange { lo: -m, hi: m }; inputs]).to_vec()),
            Self::Given(ranges) | Self::Calibrated(ranges) => match ranges.as_slice() {
                [one] => Ok(vec![vec![*one; inputs]]),
                many if many.len() == inputs => Ok(vec![many.to_vec()]),
                many => {
                    let message = format!("{} input ranges were given for {inputs} inputs", many.len());
                    Err(Error::misuse(message, "give one range, or one for each input"))
                }
            },
        }
    }

    /// How it came about, in words.
    pub fn origin(&self) -> &'static str {
        match self {
            Self::Auto => "assumed: the widest that can be computed",
            Self::Given(_) => "given",
            Self::Calibrated(_) => "from calibration data",
        }
    }
}

fn range_of(values: &[f32]) -> Result<InputRange> {
    if values.is_empty() {
        return Err(Error::input("the calibration data is empty", "give at least one sample"));
    }
    if let Some(i) = values.iter().position(|v| !v.is_finite()) {
        let message = format!("value {} of the calibration data is not finite", i + 1);
        return Err(Error::input(message, "remove NaN and infinities"));
    }
    let (lo, hi) = values.iter().fold((f32::MAX, f32::MIN), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    let (lo, hi) = (f64::from(lo), f64::from(hi));
    let within = |a: f64, b: f64| (lo >= a && hi <= b).then_some(InputRange { lo: a, hi: b });
    Ok(within(0.0, 1.0).or(within(-1.0, 1.0)).or(within(0.0, 255.0)).unwrap_or_else(|| {
        let magnitude = power_of_two_above(hi.max(-lo));
        InputRange { lo: -magnitude, hi: magnitude }
    }))
}

/// The smallest power of two that is at least `x`, for `x` of 1 and more.
fn power_of_two_above(x: f64) -> f64 {
    x.log2().ceil().exp2().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibrated(values: &[f32]) -> (f64, f64) {
        let range = range_of(values).unwrap();
        (range.lo, range.hi)
    }

    #[test]
    fn usual_ranges_are_recognised_first() {
        assert_eq!(calibrated(&[0.0, 0.5, 1.0]), (0.0, 1.0));
        assert_eq!(calibrated(&[-0.5, 0.5]), (-1.0, 1.0));
        assert_eq!(calibrated(&[0.0, 200.0]), (0.0, 255.0));
        assert_eq!(calibrated(&[-3.0, 12.07]), (-16.0, 16.0));
        assert_eq!(calibrated(&[-300.0, 2.0]), (-512.0, 512.0));
        assert_eq!(calibrated(&[-2.0, 2.0]), (-2.0, 2.0));
    }

    #[test]
    fn what_has_no_range_is_refused() {
        assert!(range_of(&[]).is_err());
        assert!(range_of(&[1.0, f32::NAN]).is_err());
        assert!(range_of(&[f32::INFINITY]).is_err());
        assert!(InputSpec::given(1.0, 1.0).is_err());
        assert!(InputSpec::given(f64::NAN, 1.0).is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_calibrated_range_holds_its_data(values in proptest::collection::vec(-1e6f32..1e6, 1..50)) {
            let range = range_of(&values).unwrap();
            for v in values {
                proptest::prop_assert!(range.lo <= f64::from(v) && f64::from(v) <= range.hi);
            }
        }
    }

    #[test]
    fn automatic_ranges_come_widest_first() {
        let candidates = InputSpec::Auto.candidates(2).unwrap();
        assert_eq!(candidates.len(), AUTO_RANGES.len());
        assert!(candidates.windows(2).all(|w| w[0][0].hi > w[1][0].hi && w[0].len() == 2));
    }
}
