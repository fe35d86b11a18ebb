//! How far a result may be from the value expected.

use crate::backend::Backend;
use std::collections::BTreeSet;

/// `abs(result - expected) <= absolute + relative * abs(expected)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tolerance {
    pub(crate) absolute: f64,
    pub(crate) relative: f64,
}

impl Tolerance {
    /// Whether `result` is near enough.
    pub(crate) fn accepts(self, result: f64, expected: f64) -> bool {
        // NaN and infinities must be met exactly.
        if !expected.is_finite() || !result.is_finite() {
            return result == expected || (result.is_nan() && expected.is_nan());
        }
        (result - expected).abs() <= self.absolute + self.relative * expected.abs()
    }
}

/// What the ONNX project's own runner allows, for the clear backend.
const CLEAR: Tolerance = Tolerance { absolute: 1e-7, relative: 1e-3 };

/// Inputs, weights and results rounded to some ten fraction bits or more: for these tests
/// the planner picks the narrowest ring, Z_2^32. The oracle is deterministic and stays
/// within half of this; a protocol adds a few units in the last place.
const FIXED: Tolerance = Tolerance { absolute: 2e-3, relative: 1e-3 };

/// Operators whose error is larger, and why.
const LOOSER: [(&str, Tolerance); 1] = [
    // The error of the piecewise cubic is relative to the largest value in range.
    ("Exp", Tolerance { absolute: 4e-3, relative: 1e-3 }),
];

/// The tolerance for a graph of these operators: the largest of theirs.
pub(crate) fn of(operators: &BTreeSet<String>, backend: Backend) -> Tolerance {
    if backend == Backend::PLAIN {
        return CLEAR;
    }
    let own = LOOSER.iter().filter(|(name, _)| operators.contains(*name)).map(|(_, t)| *t);
    own.fold(FIXED, |a, b| Tolerance { absolute: a.absolute.max(b.absolute), relative: a.relative.max(b.relative) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerance_is_two_sided_and_exact_for_infinities() {
        let t = Tolerance { absolute: 0.1, relative: 0.1 };
        assert!(t.accepts(11.0, 10.0) && t.accepts(8.9, 10.0));
        assert!(!t.accepts(11.2, 10.0) && !t.accepts(8.8, 10.0));
        assert!(t.accepts(f64::INFINITY, f64::INFINITY));
        assert!(!t.accepts(1e300, f64::INFINITY) && !t.accepts(f64::NAN, 0.0));
    }

    #[test]
    fn the_loosest_operator_decides() {
        let graph = ["Add".to_owned(), "Exp".to_owned()].into();
        assert_eq!(of(&graph, Backend::Oracle), Tolerance { absolute: 4e-3, relative: 1e-3 });
        assert_eq!(of(&graph, Backend::PLAIN), CLEAR);
    }
}
