//! The digest by which parties make sure that they execute the same program.

use super::{FixedOp, Inst, Program, WeightShape};
use blake3::Hasher;
use subrosa_core::Shape;
use subrosa_core::geometry::{ConvGeometry, MatDims};

/// Changes whenever the serialisation below or the meaning of an operation does.
const CONTEXT: &str = "subrosa 2026-11 program digest v1";

impl Program {
    /// BLAKE3 over everything in the program, in a canonical order: fixed-width
    /// little-endian numbers, every list behind its length.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Digest(Hasher::new_derive_key(CONTEXT));
        hash.program(self);
        *hash.0.finalize().as_bytes()
    }
}

/// Every type is taken apart without `..`, so that a new field cannot be forgotten here.
struct Digest(Hasher);

impl Digest {
    fn program(&mut self, program: &Program) {
        let Program { ring, insts, inputs, outputs, weights } = program;
        self.number(u64::from(ring.bits()));
        self.list(insts, Self::inst);
        self.ids(inputs);
        self.ids(outputs);
        self.list(weights, Self::weight);
    }

    fn weight(&mut self, weight: &WeightShape) {
        let WeightShape { shape, frac, name } = weight;
        self.shape(shape);
        self.number(u64::from(*frac));
        self.number(name.len() as u64);
        self.0.update(name.as_bytes());
    }

    fn inst(&mut self, inst: &Inst) {
        let Inst { op, shape, frac, bits, batched, node } = inst;
        self.op(op);
        self.shape(shape);
        self.numbers(&[u64::from(*frac), u64::from(*bits), u64::from(*batched), *node as u64]);
    }

    fn op(&mut self, op: &FixedOp) {
        match op {
            FixedOp::Input { index } => self.tagged(0, &[*index]),
            FixedOp::Weight { index } => self.tagged(1, &[*index]),
            FixedOp::Public { values } => {
                self.tagged(2, &[]);
                self.integers(values);
            }
            FixedOp::MatMul { x, y, dims: MatDims { groups, m, k, n } } => {
                self.tagged(3, &[*x, *y, *groups, *m, *k, *n]);
            }
            FixedOp::Conv { x, w, geometry } => {
                self.tagged(4, &[*x, *w]);
                self.geometry(geometry);
            }
            FixedOp::Mul { x, y } => self.tagged(5, &[*x, *y]),
            FixedOp::Add { x, y } => self.tagged(6, &[*x, *y]),
            FixedOp::Sub { x, y } => self.tagged(7, &[*x, *y]),
            FixedOp::MulPublic { x, by } => {
                self.tagged(8, &[*x]);
                self.integers(&[*by]);
            }
            FixedOp::Scale { x, by } => {
                self.tagged(9, &[*x]);
                self.integers(by);
            }
            FixedOp::Trunc { x, shift } => self.tagged(10, &[*x, *shift as usize]),
            FixedOp::Relu { x } => self.tagged(11, &[*x]),
            FixedOp::TruncRelu { x, shift, bits_truncated } => {
                self.tagged(12, &[*x, *shift as usize, *bits_truncated as usize]);
            }
            FixedOp::Ltz { x } => self.tagged(13, &[*x]),
            FixedOp::Layout { x, map } => {
                self.tagged(14, &[*x]);
                self.list(map, |hash, &at| hash.number(u64::from(at)));
            }
            FixedOp::Concat { xs } => {
                self.tagged(15, &[]);
                self.ids(xs);
            }
            FixedOp::Sum { x, len, inner } => self.tagged(16, &[*x, *len, *inner]),
        }
    }

    fn geometry(&mut self, geometry: &ConvGeometry) {
        let ConvGeometry { c, input, o, output, kernel, strides, dilations, pads, groups } = geometry;
        self.numbers(&[*c as u64, *o as u64, *groups as u64]);
        for (h, w) in [input, output, kernel, strides, dilations, pads] {
            self.numbers(&[*h as u64, *w as u64]);
        }
    }

    fn tagged(&mut self, tag: u64, fields: &[usize]) {
        self.number(tag);
        fields.iter().for_each(|&field| self.number(field as u64));
    }

    fn shape(&mut self, shape: &Shape) {
        self.ids(shape.dims());
    }

    fn ids(&mut self, ids: &[usize]) {
        self.list(ids, |hash, &id| hash.number(id as u64));
    }

    fn integers(&mut self, values: &[i64]) {
        self.list(values, |hash, &v| hash.number(v as u64));
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        items.iter().for_each(|item| each(self, item));
    }

    fn numbers(&mut self, values: &[u64]) {
        values.iter().for_each(|&v| self.number(v));
    }

    fn number(&mut self, value: u64) {
        self.0.update(&value.to_le_bytes());
    }
}
