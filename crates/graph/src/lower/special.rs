//! Real functions that the standard library lacks.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Gauss error function, error below 1e-14: the series
/// `erf x = 2/sqrt(pi) e^(-x^2) sum 2^n x^(2n+1) / (2n+1)!!`, whose terms are all positive
/// (Abramowitz and Stegun, 7.1.6).
pub(super) fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..400 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
        if term.abs() <= sum.abs() * 1e-17 {
            break;
        }
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

/// `1 / (1 + e^-x)`.
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `x * Phi(x)`, or its tanh approximation.
pub(super) fn gelu(x: f64, tanh: bool) -> f64 {
    let phi = match tanh {
        true => 0.5 * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()),
        false => 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)),
    };
    x * phi
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from Abramowitz and Stegun, table 7.1.
    #[test]
    fn erf_known_values() {
        for (x, y) in [(0.0, 0.0), (0.5, 0.5204998778), (1.0, 0.8427007929), (2.0, 0.9953222650)] {
            assert!((erf(x) - y).abs() < 1e-10 && (erf(-x) + y).abs() < 1e-10, "erf({x}) = {}", erf(x));
        }
        assert!((erf(5.99) - 1.0).abs() < 1e-14);
    }
}
