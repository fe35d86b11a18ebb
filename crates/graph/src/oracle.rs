//! Executes a [`Program`] in the clear: the oracle every protocol must equal.
//!
//! Plain loops over `i64`, sharing no arithmetic with the protocols. A partial sum may
//! wrap around; the range proof says that the final one does not, and every value is
//! checked against it.

use crate::program::{Id, Inst};
use crate::{Error, FixedOp, Program, WeightSet};
use subrosa_core::geometry::{ConvGeometry, MatDims};

/// Runs `program` on `batch` samples of each input, truncations rounding down. Checks at
/// every instruction that the values are within the proven `bits`.
///
/// **Errors:** [`Error::Input`] when an input's length is not `batch` samples;
/// [`Error::Range`] if a value leaves its proven range (a bug, or an unchecked input).
pub fn run(program: &Program, weights: &WeightSet, inputs: &[Vec<i64>], batch: usize) -> Result<Vec<Vec<i64>>, Error> {
    check_inputs(program, weights, inputs, batch)?;
    let last_use = last_uses(program);
    let mut values: Vec<Option<Vec<i64>>> = vec![None; program.insts.len()];
    for (id, inst) in program.insts.iter().enumerate() {
        let value = Execution { program, weights, inputs, values: &values, batch }.evaluate(inst);
        check_bits(id, inst, &value)?;
        values[id] = Some(value);
        for x in inst.op.operands() {
            if last_use[x] == id {
                values[x] = None;
            }
        }
    }
    Ok(program.outputs.iter().map(|&id| values[id].clone().unwrap_or_default()).collect())
}

fn check_inputs(program: &Program, weights: &WeightSet, inputs: &[Vec<i64>], batch: usize) -> Result<(), Error> {
    let expected = |id: Id| program.insts[id].shape.len() * batch;
    if inputs.len() != program.inputs.len() || weights.tensors.len() != program.weights.len() {
        return Err(Error::Input(format!(
            "the program reads {} inputs, {} were given",
            program.inputs.len(),
            inputs.len()
        )));
    }
    match inputs.iter().zip(&program.inputs).position(|(x, &id)| x.len() != expected(id)) {
        Some(i) => Err(Error::Input(format!(
            "input {i} has {} values, {batch} samples need {}",
            inputs[i].len(),
            expected(program.inputs[i])
        ))),
        None => Ok(()),
    }
}

/// For each value, the last instruction that reads it; outputs are read at the end.
fn last_uses(program: &Program) -> Vec<usize> {
    let mut last = vec![usize::MAX; program.insts.len()];
    for (id, inst) in program.insts.iter().enumerate() {
        inst.op.operands().into_iter().for_each(|x| last[x] = id);
    }
    program.outputs.iter().for_each(|&id| last[id] = usize::MAX);
    last
}

fn check_bits(id: Id, inst: &Inst, value: &[i64]) -> Result<(), Error> {
    let limit = 1i128 << (inst.bits - 1);
    let inside = |v: &i64| (-limit..limit).contains(&i128::from(*v));
    if value.iter().all(inside) {
        return Ok(());
    }
    let worst = value.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0);
    Err(Error::Range {
        node: format!("instruction {id} of node {}", inst.node),
        magnitude_bits: (worst as f64).log2() - f64::from(inst.frac),
        needed: format!("{} bits were proven enough", inst.bits),
        remedy: "the input was not checked against the plan's range".to_owned(),
    })
}

struct Execution<'a> {
    program: &'a Program,
    weights: &'a WeightSet,
    inputs: &'a [Vec<i64>],
    values: &'a [Option<Vec<i64>>],
    batch: usize,
}

impl<'a> Execution<'a> {
    fn evaluate(&self, inst: &Inst) -> Vec<i64> {
        match &inst.op {
            FixedOp::Input { index } => self.inputs[*index].clone(),
            FixedOp::Weight { index } => self.weights.tensors[*index].clone(),
            FixedOp::Public { values } => values.clone(),
            FixedOp::MatMul { x, y, dims } => self.binary(inst, *x, *y, |x, y, out| matmul(x, y, *dims, out)),
            FixedOp::Conv { x, w, geometry } => self.binary(inst, *x, *w, |x, w, out| conv(x, w, geometry, out)),
            FixedOp::Mul { x, y } => self.zip(inst, *x, *y, i64::wrapping_mul),
            FixedOp::Add { x, y } => self.zip(inst, *x, *y, i64::wrapping_add),
            FixedOp::Sub { x, y } => self.zip(inst, *x, *y, i64::wrapping_sub),
            FixedOp::MulPublic { x, by } => self.map(*x, |v| v.wrapping_mul(*by)),
            FixedOp::Scale { x, by } => self.unary(inst, *x, |x, out| {
                out.iter_mut().zip(x).zip(by).for_each(|((o, v), b)| *o = v.wrapping_mul(*b));
            }),
            FixedOp::Trunc { x, shift } => self.map(*x, |v| v >> shift),
            FixedOp::Relu { x } => self.map(*x, |v| v.max(0)),
            FixedOp::TruncRelu { x, shift, bits_truncated: _ } => self.map(*x, |v| (v >> shift).max(0)),
            FixedOp::Ltz { x } => self.map(*x, |v| i64::from(v < 0)),
            FixedOp::Layout { x, map } => self.unary(inst, *x, |x, out| {
                out.iter_mut().zip(map).for_each(|(o, &at)| *o = x[at as usize]);
            }),
            FixedOp::Concat { xs } => self.concat(inst, xs),
            FixedOp::Sum { x, len, inner } => self.unary(inst, *x, |x, out| sum(x, *len, *inner, out)),
        }
    }

    fn value(&self, id: Id) -> &'a [i64] {
        self.values[id].as_deref().unwrap_or_default()
    }

    /// Sample `s` of a value: a value without batch axis is the same for every sample.
    fn sample(&self, id: Id, s: usize) -> &'a [i64] {
        let inst = &self.program.insts[id];
        let len = inst.shape.len();
        if inst.batched { &self.value(id)[s * len..(s + 1) * len] } else { self.value(id) }
    }

    fn samples(&self, inst: &Inst) -> usize {
        if inst.batched { self.batch } else { 1 }
    }

    fn each(&self, inst: &Inst, mut fill: impl FnMut(usize, &mut [i64])) -> Vec<i64> {
        let len = inst.shape.len();
        let mut out = vec![0; len * self.samples(inst)];
        (0..self.samples(inst)).for_each(|s| fill(s, &mut out[s * len..(s + 1) * len]));
        out
    }

    fn unary(&self, inst: &Inst, x: Id, f: impl Fn(&[i64], &mut [i64])) -> Vec<i64> {
        self.each(inst, |s, out| f(self.sample(x, s), out))
    }

    fn binary(&self, inst: &Inst, x: Id, y: Id, f: impl Fn(&[i64], &[i64], &mut [i64])) -> Vec<i64> {
        self.each(inst, |s, out| f(self.sample(x, s), self.sample(y, s), out))
    }

    fn zip(&self, inst: &Inst, x: Id, y: Id, f: impl Fn(i64, i64) -> i64) -> Vec<i64> {
        self.binary(inst, x, y, |x, y, out| out.iter_mut().zip(x).zip(y).for_each(|((o, &x), &y)| *o = f(x, y)))
    }

    fn map(&self, x: Id, f: impl Fn(i64) -> i64) -> Vec<i64> {
        self.value(x).iter().map(|&v| f(v)).collect()
    }

    fn concat(&self, inst: &Inst, xs: &[Id]) -> Vec<i64> {
        self.each(inst, |s, out| {
            let mut at = 0;
            for &x in xs {
                let part = self.sample(x, s);
                out[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        })
    }
}

/// `out[i][j] += x[i][l] * y[l][j]`, the innermost loop over contiguous `j`.
fn matmul(x: &[i64], y: &[i64], dims: MatDims, out: &mut [i64]) {
    let MatDims { groups, m, k, n } = dims;
    for g in 0..groups {
        let y = if y.len() == k * n { y } else { &y[g * k * n..(g + 1) * k * n] };
        for i in g * m..(g + 1) * m {
            let out = &mut out[i * n..(i + 1) * n];
            for l in 0..k {
                let factor = x[i * k + l];
                if factor != 0 {
                    axpy(factor, y[l * n..(l + 1) * n].iter(), out);
                }
            }
        }
    }
}

fn axpy<'a>(factor: i64, xs: impl Iterator<Item = &'a i64>, out: &mut [i64]) {
    out.iter_mut().zip(xs).for_each(|(o, x)| *o = o.wrapping_add(factor.wrapping_mul(*x)));
}

/// One kernel element at a time over whole output rows.
fn conv(x: &[i64], w: &[i64], g: &ConvGeometry, out: &mut [i64]) {
    let (inputs, outputs) = (g.c / g.groups, g.o / g.groups);
    let (kh, kw) = g.kernel;
    for (o, out) in out.chunks_exact_mut((g.output.0 * g.output.1).max(1)).enumerate().take(g.o) {
        for c in 0..inputs {
            let channel = o / outputs * inputs + c;
            let plane = &x[channel * g.input.0 * g.input.1..(channel + 1) * g.input.0 * g.input.1];
            for tap in 0..kh * kw {
                conv_tap(plane, w[(o * inputs + c) * kh * kw + tap], (tap / kw, tap % kw), g, out);
            }
        }
    }
}

fn conv_tap(plane: &[i64], factor: i64, (ky, kx): (usize, usize), g: &ConvGeometry, out: &mut [i64]) {
    let (h, w) = g.input;
    let left = kx * g.dilations.1;
    // The first and last output column whose tap lies inside the row.
    let first = g.pads.1.saturating_sub(left).div_ceil(g.strides.1).min(g.output.1);
    let last = (w + g.pads.1).saturating_sub(left).div_ceil(g.strides.1).clamp(first, g.output.1);
    for oy in 0..g.output.0 {
        let Some(y) = (oy * g.strides.0 + ky * g.dilations.0).checked_sub(g.pads.0).filter(|&y| y < h) else {
            continue;
        };
        let out = &mut out[oy * g.output.1 + first..oy * g.output.1 + last];
        if !out.is_empty() {
            let start = y * w + first * g.strides.1 + left - g.pads.1;
            axpy(factor, plane[start..].iter().step_by(g.strides.1), out);
        }
    }
}

fn sum(x: &[i64], len: usize, inner: usize, out: &mut [i64]) {
    for (x, out) in x.chunks_exact((len * inner).max(1)).zip(out.chunks_exact_mut(inner.max(1))) {
        for row in x.chunks_exact(inner.max(1)) {
            axpy(1, row.iter(), out);
        }
    }
}
