//! Executes a [`Program`] in the clear: the oracle every protocol must equal.
//!
//! Plain loops over `i64`, sharing no arithmetic with the protocols. A partial sum may
//! wrap around; the range proof says that the final one does not, and every value is
//! checked against it.

use crate::program::{Id, Inst};
use crate::{Error, FixedOp, Program, WeightSet};
use std::cell::Cell;
use subrosa_core::geometry::{ConvGeometry, MatDims};

/// Runs `program` on `batch` samples of each input, truncations rounding down. Checks at
/// every instruction that the values are within the proven `bits`.
///
/// **Errors:** [`Error::Input`] when an input's length is not `batch` samples;
/// [`Error::Range`] if a value leaves its proven range (a bug, or an unchecked input).
pub fn run(program: &Program, weights: &WeightSet, inputs: &[Vec<i64>], batch: usize) -> Result<Vec<Vec<i64>>, Error> {
    execute(program, weights, inputs, batch, &Rounding(None))
}

/// As [`run`], but every truncation may round up instead, by a generator started at
/// `seed`: one of the results that a protocol may give. Range proofs and
/// [`crate::Lowered::output_ulps`] must hold for it.
///
/// **Errors:** as [`run`].
pub fn run_rounding(
    program: &Program,
    weights: &WeightSet,
    inputs: &[Vec<i64>],
    batch: usize,
    seed: u64,
) -> Result<Vec<Vec<i64>>, Error> {
    execute(program, weights, inputs, batch, &Rounding(Some(Cell::new(seed))))
}

/// What truncations add: nothing, or 0 or 1 at random.
struct Rounding(Option<Cell<u64>>);

impl Rounding {
    fn up(&self) -> i64 {
        let Some(state) = &self.0 else { return 0 };
        // The mixing function of splitmix64: S. Vigna, https://prng.di.unimi.it/splitmix64.c
        state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let z = (state.get() ^ (state.get() >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 63) as i64
    }
}

fn execute(
    program: &Program,
    weights: &WeightSet,
    inputs: &[Vec<i64>],
    batch: usize,
    rounding: &Rounding,
) -> Result<Vec<Vec<i64>>, Error> {
    check_inputs(program, weights, inputs, batch)?;
    let last_use = last_uses(program);
    let mut values: Vec<Option<Vec<i64>>> = vec![None; program.insts.len()];
    for (id, inst) in program.insts.iter().enumerate() {
        let value = Execution { program, weights, inputs, values: &values, batch, rounding }.evaluate(inst);
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
    rounding: &'a Rounding,
}

impl<'a> Execution<'a> {
    fn evaluate(&self, inst: &Inst) -> Vec<i64> {
        match &inst.op {
            FixedOp::Input { index } => self.inputs[*index].clone(),
            FixedOp::Weight { index } => self.weights.tensors[*index].clone(),
            FixedOp::Public { values } => values.clone(),
            FixedOp::MatMul { x, y, dims } => self.matmul(inst, *x, *y, *dims),
            FixedOp::Conv { x, w, geometry } => self.binary(inst, *x, *w, |x, w, out| conv(x, w, geometry, out)),
            FixedOp::Mul { x, y } => self.zip(inst, *x, *y, i64::wrapping_mul),
            FixedOp::Add { x, y } => self.zip(inst, *x, *y, i64::wrapping_add),
            FixedOp::Sub { x, y } => self.zip(inst, *x, *y, i64::wrapping_sub),
            FixedOp::MulPublic { x, by } => self.map(*x, |v| v.wrapping_mul(*by)),
            FixedOp::Scale { x, by } => self.unary(inst, *x, |x, out| {
                out.iter_mut().zip(x).zip(by).for_each(|((o, v), b)| *o = v.wrapping_mul(*b));
            }),
            FixedOp::Trunc { x, shift } => self.map(*x, |v| (v >> shift) + self.rounding.up()),
            FixedOp::Relu { x } => self.map(*x, |v| v.max(0)),
            FixedOp::TruncRelu { x, shift, bits_truncated: _ } => {
                self.map(*x, |v| ((v >> shift) + self.rounding.up()).max(0))
            }
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

    /// With one matrix for all samples, their rows are one product.
    fn matmul(&self, inst: &Inst, x: Id, y: Id, dims: MatDims) -> Vec<i64> {
        if dims.groups > 1 || self.program.insts[y].batched || !self.program.insts[x].batched {
            return self.binary(inst, x, y, |x, y, out| matmul(x, y, dims, out));
        }
        let mut out = vec![0; inst.shape.len() * self.batch];
        matmul(self.value(x), self.value(y), MatDims { m: dims.m * self.batch, ..dims }, &mut out);
        out
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

/// `out[i][j] += x[i][l] * y[l][j]`, the innermost loop over contiguous `j`; all rows `i`
/// meet a few rows of `y` while these are in the cache.
fn matmul(x: &[i64], y: &[i64], dims: MatDims, out: &mut [i64]) {
    const ROWS: usize = 32;
    let MatDims { groups, m, k, n } = dims;
    for g in 0..groups {
        let y = if y.len() == k * n { y } else { &y[g * k * n..(g + 1) * k * n] };
        for from in (0..k).step_by(ROWS) {
            for i in g * m..(g + 1) * m {
                let out = &mut out[i * n..(i + 1) * n];
                for l in from..k.min(from + ROWS) {
                    match x[i * k + l] {
                        0 => {}
                        factor => axpy(factor, &y[l * n..(l + 1) * n], out),
                    }
                }
            }
        }
    }
}

fn axpy(factor: i64, xs: &[i64], out: &mut [i64]) {
    out.iter_mut().zip(xs).for_each(|(o, x)| *o = o.wrapping_add(factor.wrapping_mul(*x)));
}

/// The product of the filters, one a row, with the input's patches, one a column.
fn conv(x: &[i64], w: &[i64], g: &ConvGeometry, out: &mut [i64]) {
    let (channels, filters) = (g.c / g.groups, g.o / g.groups);
    let (taps, positions) = (channels * g.kernel.0 * g.kernel.1, g.output.0 * g.output.1);
    let plane = g.input.0 * g.input.1;
    let dims = MatDims { groups: 1, m: filters, k: taps, n: positions };
    for group in 0..g.groups {
        let patches = patches(&x[group * channels * plane..(group + 1) * channels * plane], g);
        let w = &w[group * filters * taps..(group + 1) * filters * taps];
        matmul(w, &patches, dims, &mut out[group * filters * positions..(group + 1) * filters * positions]);
    }
}

/// `[channels * kernel, output]`: what each kernel element meets at each output position.
fn patches(x: &[i64], g: &ConvGeometry) -> Vec<i64> {
    let mut patches = Vec::with_capacity(x.len() * g.kernel.0 * g.kernel.1);
    for plane in x.chunks_exact((g.input.0 * g.input.1).max(1)) {
        for tap in 0..g.kernel.0 * g.kernel.1 {
            let at = |oy: usize, ox: usize| {
                let y = (oy * g.strides.0 + tap / g.kernel.1 * g.dilations.0).checked_sub(g.pads.0)?;
                let x = (ox * g.strides.1 + tap % g.kernel.1 * g.dilations.1).checked_sub(g.pads.1)?;
                if x < g.input.1 { plane.get(y * g.input.1 + x) } else { None }
            };
            for oy in 0..g.output.0 {
                patches.extend((0..g.output.1).map(|ox| at(oy, ox).copied().unwrap_or(0)));
            }
        }
    }
    patches
}

fn sum(x: &[i64], len: usize, inner: usize, out: &mut [i64]) {
    for (x, out) in x.chunks_exact((len * inner).max(1)).zip(out.chunks_exact_mut(inner.max(1))) {
        for row in x.chunks_exact(inner.max(1)) {
            axpy(1, row, out);
        }
    }
}
