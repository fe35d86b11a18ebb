//! Emits instructions and proves each of them: for every one, the exact integer interval
//! of each element, checked against the ring, and a bound on the distance from the oracle.

use super::span::{self, Span};
use super::{scale, ulps};
use crate::program::{Id, Inst, WeightShape};
use crate::{Error, FixedOp, Program, WeightSet};
use std::collections::HashSet;
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_core::{RingWidth, Shape};

/// A program under construction.
pub(super) struct Builder {
    ring: RingWidth,
    insts: Vec<Inst>,
    /// Dropped after the last use: see [`Builder::retire`].
    spans: Vec<Option<Span>>,
    errors: Vec<u64>,
    magnitudes: Vec<f64>,
    weights: Vec<WeightShape>,
    tensors: Vec<Vec<i64>>,
    inputs: Vec<Id>,
    /// Index and name of the model's node being lowered.
    node: (usize, String),
}

/// What the lowering of an operation proves about a result beyond interval arithmetic:
/// each use states its argument in a comment.
#[derive(Default)]
pub(super) struct Theorem {
    /// Intervals that hold for every protocol.
    pub(super) bounds: Option<Span>,
    /// The distance from the oracle, in units of the last place.
    pub(super) error: Option<u64>,
}

/// A finished program with what was proven about it.
pub(super) struct Built {
    pub(super) program: Program,
    pub(super) weights: WeightSet,
    pub(super) magnitudes: Vec<f64>,
    pub(super) errors: Vec<u64>,
}

impl Builder {
    pub(super) fn new(ring: RingWidth) -> Self {
        Self {
            ring,
            insts: Vec::new(),
            spans: Vec::new(),
            errors: Vec::new(),
            magnitudes: Vec::new(),
            weights: Vec::new(),
            tensors: Vec::new(),
            inputs: Vec::new(),
            node: (0, String::new()),
        }
    }

    /// Instructions emitted from now on belong to this node.
    pub(super) fn enter(&mut self, index: usize, name: &str) {
        self.node = (index, name.to_owned());
    }

    pub(super) fn ring(&self) -> RingWidth {
        self.ring
    }

    pub(super) fn frac(&self, id: Id) -> u32 {
        self.insts[id].frac
    }

    pub(super) fn len(&self, id: Id) -> usize {
        self.insts[id].shape.len()
    }

    pub(super) fn shape(&self, id: Id) -> Shape {
        self.insts[id].shape.clone()
    }

    pub(super) fn error(&self, id: Id) -> u64 {
        self.errors[id]
    }

    /// The interval of each element. A retired one reads as "anything in its bits".
    pub(super) fn span(&self, id: Id) -> Span {
        self.spans[id].clone().unwrap_or_else(|| {
            let half = 1i64 << (self.insts[id].bits - 1).min(62);
            Span::filled(self.len(id), -half, half - 1)
        })
    }

    /// Largest magnitude, as a real number.
    pub(super) fn magnitude(&self, id: Id) -> f64 {
        self.magnitudes[id]
    }

    /// Bits to spare before a value could no longer be truncated.
    pub(super) fn room(&self, id: Id) -> u32 {
        (self.ring.bits() - 1).saturating_sub(self.insts[id].bits)
    }

    /// Forgets the intervals of all values but these.
    pub(super) fn retire(&mut self, keep: &HashSet<Id>) {
        for (id, span) in self.spans.iter_mut().enumerate() {
            if !keep.contains(&id) {
                *span = None;
            }
        }
    }

    pub(super) fn finish(self, outputs: Vec<Id>) -> Built {
        let Self { ring, insts, magnitudes, weights, tensors, inputs, errors, spans: _, node: _ } = self;
        let program = Program { ring, insts, inputs, outputs, weights };
        Built { program, weights: WeightSet { tensors }, magnitudes, errors }
    }

    /// A model input whose elements lie in `lo..=hi`.
    pub(super) fn input(&mut self, shape: Shape, frac: u32, (lo, hi): (i64, i64)) -> Result<Id, Error> {
        let index = self.inputs.len();
        let span = Span::filled(shape.len(), lo, hi);
        let id = self.push(FixedOp::Input { index }, shape, frac, true, span, 0)?;
        self.inputs.push(id);
        Ok(id)
    }

    /// A tensor of the model owner.
    pub(super) fn weight(&mut self, name: &str, shape: Shape, frac: u32, values: Vec<i64>) -> Result<Id, Error> {
        let index = self.weights.len();
        let span = Span::point(values.clone());
        let id = self.push(FixedOp::Weight { index }, shape.clone(), frac, false, span, 0)?;
        self.weights.push(WeightShape { shape, frac, name: name.to_owned() });
        self.tensors.push(values);
        Ok(id)
    }

    /// A constant known to all.
    pub(super) fn public(&mut self, shape: Shape, frac: u32, values: Vec<i64>) -> Result<Id, Error> {
        let span = Span::point(values.clone());
        self.push(FixedOp::Public { values }, shape, frac, false, span, 0)
    }

    pub(super) fn matmul(&mut self, x: Id, y: Id, dims: MatDims, shape: Shape) -> Result<Id, Error> {
        let frac = self.frac(x) + self.frac(y);
        self.emit(FixedOp::MatMul { x, y, dims }, shape, frac)
    }

    pub(super) fn conv(&mut self, x: Id, w: Id, geometry: ConvGeometry, shape: Shape) -> Result<Id, Error> {
        let frac = self.frac(x) + self.frac(w);
        self.emit(FixedOp::Conv { x, w, geometry }, shape, frac)
    }

    pub(super) fn mul(&mut self, x: Id, y: Id) -> Result<Id, Error> {
        self.mul_knowing(x, y, Theorem::default())
    }

    pub(super) fn mul_knowing(&mut self, x: Id, y: Id, theorem: Theorem) -> Result<Id, Error> {
        let frac = self.frac(x) + self.frac(y);
        self.emit_knowing(FixedOp::Mul { x, y }, self.shape(x), frac, theorem)
    }

    pub(super) fn add(&mut self, x: Id, y: Id) -> Result<Id, Error> {
        self.add_knowing(x, y, Theorem::default())
    }

    pub(super) fn add_knowing(&mut self, x: Id, y: Id, theorem: Theorem) -> Result<Id, Error> {
        let frac = self.frac(x);
        self.emit_knowing(FixedOp::Add { x, y }, self.shape(x), frac, theorem)
    }

    pub(super) fn sub(&mut self, x: Id, y: Id) -> Result<Id, Error> {
        self.sub_knowing(x, y, Theorem::default())
    }

    pub(super) fn sub_knowing(&mut self, x: Id, y: Id, theorem: Theorem) -> Result<Id, Error> {
        let frac = self.frac(x);
        self.emit_knowing(FixedOp::Sub { x, y }, self.shape(x), frac, theorem)
    }

    /// Product with an integer that stands for `by / 2^frac`.
    pub(super) fn mul_public(&mut self, x: Id, by: i64, frac: u32) -> Result<Id, Error> {
        if by == 1 && frac == 0 {
            return Ok(x);
        }
        let frac = self.frac(x) + frac;
        self.emit(FixedOp::MulPublic { x, by }, self.shape(x), frac)
    }

    /// Elementwise product with integers that stand for `by / 2^frac`.
    pub(super) fn scale(&mut self, x: Id, by: Vec<i64>, frac: u32) -> Result<Id, Error> {
        let frac = self.frac(x) + frac;
        self.emit(FixedOp::Scale { x, by }, self.shape(x), frac)
    }

    /// Drops `shift` fraction bits.
    pub(super) fn trunc(&mut self, x: Id, shift: u32) -> Result<Id, Error> {
        self.trunc_knowing(x, shift, Theorem::default())
    }

    pub(super) fn trunc_knowing(&mut self, x: Id, shift: u32, theorem: Theorem) -> Result<Id, Error> {
        let (x, shift) = self.truncated_beforehand(x, shift)?;
        if shift == 0 {
            return Ok(x);
        }
        let frac = self.frac(x).saturating_sub(shift);
        self.emit_knowing(FixedOp::Trunc { x, shift }, self.shape(x), frac, theorem)
    }

    /// `x`, without the bits that no protocol drops together with the last `k - 2`, and how many are left.
    fn truncated_beforehand(&mut self, x: Id, shift: u32) -> Result<(Id, u32), Error> {
        match shift.checked_sub(self.ring.bits() - 2) {
            Some(before) if before > 0 => Ok((self.trunc(x, before)?, shift - before)),
            Some(_) | None => Ok((x, shift)),
        }
    }

    pub(super) fn relu(&mut self, x: Id) -> Result<Id, Error> {
        self.emit(FixedOp::Relu { x }, self.shape(x), self.frac(x))
    }

    /// Drops `shift` fraction bits, then `max(x, 0)`.
    pub(super) fn trunc_relu(&mut self, x: Id, shift: u32) -> Result<Id, Error> {
        let (x, shift) = self.truncated_beforehand(x, shift)?;
        if shift == 0 {
            return self.relu(x);
        }
        let (lo, hi) = self.span(x).hull();
        let bits_truncated = span::bits((lo >> shift, (hi >> shift) + 1));
        self.emit(FixedOp::TruncRelu { x, shift, bits_truncated }, self.shape(x), self.frac(x).saturating_sub(shift))
    }

    /// 1 where negative, else 0.
    pub(super) fn ltz(&mut self, x: Id) -> Result<Id, Error> {
        self.emit(FixedOp::Ltz { x }, self.shape(x), 0)
    }

    /// Elements in a new arrangement; nothing where none moves (the value then keeps its
    /// old shape).
    pub(super) fn layout(&mut self, x: Id, map: Vec<u32>, shape: Shape) -> Result<Id, Error> {
        if super::geometry::is_identity(&map, self.len(x)) {
            return Ok(x);
        }
        self.emit(FixedOp::Layout { x, map }, shape, self.frac(x))
    }

    /// The same elements under this shape.
    pub(super) fn reshaped(&mut self, x: Id, shape: Shape) -> Result<Id, Error> {
        if shape == self.insts[x].shape {
            return Ok(x);
        }
        let map = (0..shape.len() as u32).collect();
        self.emit(FixedOp::Layout { x, map }, shape, self.frac(x))
    }

    /// Zeros at any fraction, as many as `x` has elements.
    pub(super) fn nothing(&mut self, x: Id, frac: u32) -> Result<Id, Error> {
        self.emit(FixedOp::MulPublic { x, by: 0 }, self.shape(x), frac)
    }

    /// The same integers counting `bits` more fraction bits: a division by `2^bits`.
    pub(super) fn divided(&mut self, x: Id, bits: u32) -> Result<Id, Error> {
        if x + 1 != self.insts.len() {
            return self.mul_public(x, 1, bits);
        }
        // Nothing has read the newest instruction yet.
        self.insts[x].frac += bits;
        self.magnitudes[x] /= f64::from(bits).exp2();
        Ok(x)
    }

    /// Says that the newest instruction's integers count `frac` fraction bits, where that
    /// differs from element to element in truth.
    pub(super) fn counted_in(&mut self, x: Id, frac: u32) {
        self.insts[x].frac = frac;
        self.magnitudes[x] = self.span(x).bound() as f64 / f64::from(frac).exp2();
    }

    /// Nothing is promised about how far this value is from the oracle's.
    pub(super) fn promise_nothing(&mut self, x: Id) {
        self.errors[x] = ulps::UNBOUNDED;
    }

    /// A bound on the distance from the oracle that the lowering of a function proves.
    pub(super) fn promise(&mut self, x: Id, error: u64) {
        self.errors[x] = self.errors[x].min(error);
    }

    /// Whether a value has no batch axis.
    pub(super) fn is_constant(&self, id: Id) -> bool {
        !self.insts[id].batched
    }

    /// Operands of one fraction, end to end.
    pub(super) fn concat(&mut self, xs: Vec<Id>, shape: Shape) -> Result<Id, Error> {
        let frac = xs.first().map_or(0, |&x| self.frac(x));
        self.emit(FixedOp::Concat { xs }, shape, frac)
    }

    pub(super) fn sum(&mut self, x: Id, len: usize, inner: usize, shape: Shape) -> Result<Id, Error> {
        self.sum_knowing(x, len, inner, shape, Theorem::default())
    }

    pub(super) fn sum_knowing(
        &mut self,
        x: Id,
        len: usize,
        inner: usize,
        shape: Shape,
        theorem: Theorem,
    ) -> Result<Id, Error> {
        self.emit_knowing(FixedOp::Sum { x, len, inner }, shape, self.frac(x), theorem)
    }

    fn emit(&mut self, op: FixedOp, shape: Shape, frac: u32) -> Result<Id, Error> {
        self.emit_knowing(op, shape, frac, Theorem::default())
    }

    fn emit_knowing(&mut self, op: FixedOp, shape: Shape, frac: u32, theorem: Theorem) -> Result<Id, Error> {
        let operands = op.operands();
        let spans: Vec<Span> = operands.iter().map(|&x| self.span(x)).collect();
        let errors: Vec<u64> = operands.iter().map(|&x| self.errors[x]).collect();
        if let FixedOp::Trunc { x, .. } | FixedOp::TruncRelu { x, .. } = &op {
            self.check(*x, self.ring.bits() - 1)?;
        }
        let wide = span::result(&op, shape.len(), &spans);
        let wide = match &theorem.bounds {
            Some(known) => wide.within(known),
            None => wide,
        };
        let span = wide.narrow().map_err(|magnitude| self.too_large(magnitude, frac, 65))?;
        let error = ulps::result(&op, &errors, &spans).min(theorem.error.unwrap_or(ulps::UNBOUNDED));
        let batched = operands.iter().any(|&x| self.insts[x].batched);
        self.push(op, shape, frac, batched, span, error)
    }

    fn push(
        &mut self,
        op: FixedOp,
        shape: Shape,
        frac: u32,
        batched: bool,
        span: Span,
        error: u64,
    ) -> Result<Id, Error> {
        let (id, bits) = (self.insts.len(), span::bits(span.hull()));
        self.magnitudes.push(span.bound() as f64 / f64::from(frac).exp2());
        self.insts.push(Inst { op, shape, frac, bits, batched, node: self.node.0 });
        self.spans.push(Some(span));
        self.errors.push(error);
        self.check(id, self.ring.bits())?;
        Ok(id)
    }

    fn check(&self, id: Id, most: u32) -> Result<(), Error> {
        let inst = &self.insts[id];
        if inst.bits <= most {
            return Ok(());
        }
        Err(self.too_large(self.magnitudes[id] * f64::from(inst.frac).exp2(), inst.frac, inst.bits))
    }

    /// That an integer of this magnitude does not fit the ring.
    pub(super) fn too_large(&self, magnitude: f64, frac: u32, bits: u32) -> Error {
        let at_least = if bits > 64 { "more than 64" } else { &bits.to_string() };
        Error::Range {
            node: self.node.1.clone(),
            magnitude_bits: magnitude.max(f64::MIN_POSITIVE).log2() - f64::from(frac),
            needed: format!("with {frac} fraction bits that takes {at_least} bits of {}", self.ring),
            remedy: scale::REMEDY.to_owned(),
        }
    }
}
