//! Values during import: affine in the steps made so far.

use super::StepId;
use super::sparse::Sparse;
use std::collections::BTreeMap;

/// `sum of A_i x_i + b`; without terms, a constant.
#[derive(Clone, Debug)]
pub(super) struct Symbol {
    pub(super) terms: BTreeMap<StepId, Sparse>,
    pub(super) bias: Vec<f64>,
}

impl Symbol {
    pub(super) fn constant(bias: Vec<f64>) -> Self {
        Self { terms: BTreeMap::new(), bias }
    }

    pub(super) fn step(id: StepId, len: usize) -> Self {
        Self { terms: BTreeMap::from([(id, Sparse::identity(len))]), bias: vec![0.0; len] }
    }

    /// The constant, if it is one.
    pub(super) fn as_constant(&self) -> Option<&[f64]> {
        self.terms.is_empty().then_some(self.bias.as_slice())
    }

    /// The step, if it is one and nothing else.
    pub(super) fn as_step(&self) -> Option<StepId> {
        let (&id, matrix) = self.terms.iter().next().filter(|_| self.terms.len() == 1)?;
        let plain =
            self.bias.iter().all(|&b| b == 0.0) && matrix.diagonal().is_some_and(|d| d.iter().all(|&v| v == 1.0));
        plain.then_some(id)
    }

    /// `matrix * self`.
    pub(super) fn map(&self, matrix: &Sparse) -> Self {
        let terms = self.terms.iter().map(|(&id, a)| (id, matrix.after(a))).collect();
        Self { terms, bias: matrix.apply(&self.bias) }
    }

    /// Element `i` is element `map(i)`.
    pub(super) fn gather(&self, map: &[usize]) -> Self {
        let terms = self.terms.iter().map(|(&id, a)| (id, a.gather(map.iter().copied()))).collect();
        Self { terms, bias: map.iter().map(|&i| self.bias[i]).collect() }
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        for (&id, a) in &other.terms {
            let merged = sum.terms.get(&id).map_or_else(|| a.clone(), |b| b.plus(a));
            sum.terms.insert(id, merged);
        }
        sum.terms.retain(|_, a| a.entries() > 0);
        sum.bias.iter_mut().zip(&other.bias).for_each(|(a, b)| *a += b);
        sum
    }

    /// Element `i` times `factors[i]`.
    pub(super) fn times(&self, factors: &[f64]) -> Self {
        let mut out = self.clone();
        out.terms.values_mut().for_each(|a| a.scale_rows(|i| factors[i]));
        out.terms.retain(|_, a| a.entries() > 0);
        out.bias.iter_mut().zip(factors).for_each(|(b, f)| *b *= f);
        out
    }
}
