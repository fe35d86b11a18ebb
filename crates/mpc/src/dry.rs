//! A protocol run without data: it records which primitives a program will call.
//!
//! Planning a program is executing it on [`Dry`]: kernels have one body for both, so a
//! plan cannot drift from what runs.

use crate::Error;
use crate::protocol::{Evaluator, Form, Linear, Primitive, Source, WordOf};
use std::marker::PhantomData;
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_net::EndpointId;
use subrosa_ring::Ring;

/// The recording protocol over ring `R`.
pub struct Dry<R> {
    calls: Vec<Primitive>,
    ring: PhantomData<R>,
}

/// Only a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length(usize);

impl Length {
    /// A vector of `n` elements.
    pub fn of(n: usize) -> Self {
        Self(n)
    }
}

impl<R> Default for Dry<R> {
    fn default() -> Self {
        Self { calls: Vec::new(), ring: PhantomData }
    }
}

impl<R> Dry<R> {
    /// The primitives called so far, in order.
    pub fn calls(&self) -> &[Primitive] {
        &self.calls
    }

    /// The primitives called, in order.
    pub fn into_calls(self) -> Vec<Primitive> {
        self.calls
    }

    fn call(&mut self, primitive: Primitive, n: usize) -> Length {
        self.calls.push(primitive);
        Length(n)
    }
}

impl<W> Linear<W> for Length {
    fn len(&self) -> usize {
        self.0
    }
    fn map(&self, out_len: usize, _: impl Fn(&[W]) -> Vec<W>) -> Self {
        Self(out_len)
    }
    fn add(&self, _: &Self) -> Self {
        *self
    }
    fn sub(&self, _: &Self) -> Self {
        *self
    }
}

impl<R: Ring> Evaluator for Dry<R> {
    type Ring = R;
    type Share = Length;
    type Product = Length;

    fn input(&mut self, _: EndpointId, parts: usize, n: usize) -> Result<Length, Error> {
        Ok(self.call(Primitive::Input { parts, n }, parts * n))
    }
    fn open_to(&mut self, _: EndpointId, parts: usize, x: &Length) -> Result<(), Error> {
        self.call(Primitive::OpenTo { parts, n: x.0.checked_div(parts).unwrap_or(0) }, 0);
        Ok(())
    }
    fn public(&self, values: &[WordOf<Self>]) -> Length {
        Length(values.len())
    }
    fn to_product(&self, x: &Length) -> Length {
        *x
    }
    fn mul(&mut self, x: &Length, _: &Length) -> Result<Length, Error> {
        Ok(self.call(Primitive::Mul { n: x.0 }, x.0))
    }
    fn matmul(&mut self, batch: usize, dims: MatDims, _: &Length, y: &Length) -> Result<Length, Error> {
        let n = batch * dims.groups * dims.m * dims.n;
        Ok(self.call(Primitive::MatMul { batch, dims, matrices: dims.matrices(y.0) }, n))
    }
    fn conv(&mut self, batch: usize, geometry: &ConvGeometry, _: &Length, _: &Length) -> Result<Length, Error> {
        let n = batch * geometry.o * geometry.output.0 * geometry.output.1;
        Ok(self.call(Primitive::Conv { batch, geometry: *geometry }, n))
    }
    fn reshare(&mut self, x: &Length) -> Result<Length, Error> {
        Ok(self.call(Primitive::Reshare { n: x.0 }, x.0))
    }
    fn trunc(&mut self, x: Source<'_, Self>, shift: u32) -> Result<Length, Error> {
        let (n, form): (usize, Form) = (x.len(), x.form());
        Ok(self.call(Primitive::Trunc { n, shift, form }, n))
    }
    fn ltz(&mut self, x: &Length, width: u32) -> Result<Length, Error> {
        Ok(self.call(Primitive::Ltz { n: x.0, width }, x.0))
    }
    fn relu(&mut self, x: &Length, width: u32) -> Result<Length, Error> {
        Ok(self.call(Primitive::Relu { n: x.0, width }, x.0))
    }
    fn trunc_relu(&mut self, x: Source<'_, Self>, shift: u32, width: u32) -> Result<Length, Error> {
        let (n, form): (usize, Form) = (x.len(), x.form());
        Ok(self.call(Primitive::TruncRelu { n, shift, width, form }, n))
    }
}
