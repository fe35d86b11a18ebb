//! `rep3`: replicated secret sharing over Z_2^k between three parties, semi-honest, no two
//! colluding.
//!
//! Sharing and products follow Araki, Furukawa, Lindell, Nof, Ohara, *High-Throughput
//! Semi-Honest Secure Three-Party Computation*, <https://eprint.iacr.org/2016/768>,
//! section 3; fixed point, conversions and the three-party oblivious transfer follow ABY3,
//! Mohassel and Rindal, <https://eprint.iacr.org/2018/403>, section 5.
//!
//! **Differs from both in**
//! - truncation (`prep`): never wrong by more than one unit in the last place, at one
//!   bit of slack. The mask's wrap-around is corrected (with the known top bit, as in
//!   Escudero et al., <https://eprint.iacr.org/2020/338>, section 5) through a three-party
//!   transfer, instead of being made unlikely;
//! - comparison (`compare`): one opening of the masked value to two parties makes it a
//!   comparison of two *known* operands, so that its first layer, up to five bits wide, is
//!   local; then a prefix tree. The width is the plan's proven one, not the ring's;
//! - the last AND of a comparison is opened directly under a daBit.
//!
//! `docs/rep3.md` has the argument in full. Start with `share`, then [`Rep3`].

mod compare;
mod dabits;
mod groups;
#[cfg(test)]
mod leak_tests;
mod prep;
mod share;
mod streams;
mod trunc;

pub use share::{Product, Share};

use crate::protocol::{Evaluator, Primitive, Protocol, Source};
use crate::{Error, protocol::Linear};
use prep::{Material, Reader, round};
use share::zip;
use std::collections::VecDeque;
use streams::{Streams, words};
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_core::{Adversary, Claim, Cost, Prg, Seed};
use subrosa_net::{EndpointId, Session};
use subrosa_ring::{Ring, Word, conv2d_acc, matmul_acc, pack, packed_len};
use zeroize::Zeroize;

/// One party of `rep3`.
pub struct Rep3<R: Ring> {
    me: usize,
    session: Session,
    /// Seeds of slots `me` and `me + 1`, from which each batch's streams are derived.
    seeds: [Seed; 2],
    /// Batches prepared so far.
    batches: u64,
    /// Streams of slot `me`, shared with the previous party.
    a: Streams,
    /// Streams of slot `me + 1`, shared with the next party.
    b: Streams,
    /// This party's own randomness.
    private: Prg,
    material: VecDeque<Material<R::Word>>,
}

const CLAIM: Claim = Claim {
    adversary: Adversary::SemiHonest,
    parties: 3,
    threshold: 1,
    security_bits: 128,
    summary: "three servers compute on shares; safe while they follow the protocol and no two collude",
    learns: &[
        "each server: the architecture, the layers' fraction bits and magnitudes (powers of two) and the number of inputs; nothing of inputs or results, nor of weights unless these were declared public",
        "model owner: nothing",
        "data owner: nothing about the model beyond the input's shape and range",
        "result receiver: the output to its last fraction bit, nothing else; no server should also be the receiver",
        "two colluding servers: everything",
    ],
};

impl<R: Ring> Rep3<R> {
    fn next(&self) -> EndpointId {
        (self.me + 1) % 3
    }

    fn prev(&self) -> EndpointId {
        (self.me + 2) % 3
    }

    /// `n` words of this party's part of a sharing of zero.
    fn zero(&mut self, n: usize) -> Vec<R::Word> {
        let ours: Vec<R::Word> = words(&mut self.a.zero, n);
        zip(&ours, &words(&mut self.b.zero, n), Word::sub)
    }

    /// A product's part with a zero share added: uniform, so it may be sent.
    fn masked(&mut self, x: &Product<R::Word>) -> Vec<R::Word> {
        let zero = self.zero(x.z.len());
        zip(&x.z, &zero, Word::add)
    }

    /// The preprocessing made for `primitive`. Anything else is refused before a message
    /// is sent, and nothing made so far is used afterwards.
    fn take(&mut self, primitive: Primitive) -> Result<Material<R::Word>, Error> {
        match self.material.pop_front() {
            Some(material) if material.is_for(&primitive) => Ok(material),
            Some(_) | None => {
                self.material.clear();
                Err(Error::Misuse(format!("rep3: {primitive:?} was called, which `prepare` was not told of")))
            }
        }
    }
}

impl<R: Ring> Evaluator for Rep3<R> {
    type Ring = R;
    type Share = Share<R::Word>;
    type Product = Product<R::Word>;

    fn input(&mut self, owner: EndpointId, n: usize) -> Result<Self::Share, Error> {
        let message = self.session.round(vec![], &[(owner, Self::dealt_bytes(self.me, n))])?;
        Ok(self.dealt(n, message.first().map_or(&[], Vec::as_slice)))
    }

    fn open_to(&mut self, receiver: EndpointId, x: &Self::Product) -> Result<(), Error> {
        let part = pack(&self.masked(x), R::WIDTH.bits());
        round(&mut self.session, vec![(receiver, part)], &[])?;
        Ok(())
    }

    fn public(&self, values: &[R::Word]) -> Self::Share {
        // A public value is a sharing whose slot 0 holds it.
        let zero = || vec![R::Word::default(); values.len()];
        match self.me {
            0 => Share { a: values.to_vec(), b: zero() },
            2 => Share { a: zero(), b: values.to_vec() },
            _ => Share { a: zero(), b: zero() },
        }
    }

    fn to_product(&self, x: &Self::Share) -> Self::Product {
        Product { z: x.a.clone() }
    }

    // x y = sum of x_s y_t over all slots; party i computes x_i y_i + x_i y_(i+1) +
    // x_(i+1) y_i, here as x_i (y_i + y_(i+1)) + x_(i+1) y_i. [Araki+16] section 3.2.
    fn mul(&mut self, x: &Self::Share, y: &Self::Share) -> Result<Self::Product, Error> {
        let both = zip(&y.a, &y.b, Word::add);
        let left = zip(&x.a, &both, Word::mul);
        let right = zip(&x.b, &y.a, Word::mul);
        Ok(Product { z: zip(&left, &right, Word::add) })
    }

    fn matmul(
        &mut self,
        batch: usize,
        dims: MatDims,
        x: &Self::Share,
        y: &Self::Share,
    ) -> Result<Self::Product, Error> {
        let one = dims.k * dims.n;
        // One matrix for all samples and groups: fold them into the rows.
        let dims = match y.a.len() == one {
            true => MatDims { groups: 1, m: batch * dims.groups * dims.m, ..dims },
            false => MatDims { groups: batch * dims.groups, ..dims },
        };
        let repeats = (dims.groups * one).checked_div(y.a.len()).unwrap_or(1);
        let (both, first) = (zip(&y.a, &y.b, Word::add).repeat(repeats), y.a.repeat(repeats));
        let mut z = vec![R::Word::default(); dims.groups * dims.m * dims.n];
        matmul_acc(dims, &x.a, &both, &mut z);
        matmul_acc(dims, &x.b, &first, &mut z);
        Ok(Product { z })
    }

    fn conv(
        &mut self,
        batch: usize,
        geometry: &ConvGeometry,
        x: &Self::Share,
        w: &Self::Share,
    ) -> Result<Self::Product, Error> {
        let both = zip(&w.a, &w.b, Word::add);
        let mut z = vec![R::Word::default(); batch * geometry.o * geometry.output.0 * geometry.output.1];
        conv2d_acc(geometry, batch, &x.a, &both, &mut z);
        conv2d_acc(geometry, batch, &x.b, &w.a, &mut z);
        Ok(Product { z })
    }

    fn reshare(&mut self, x: &Self::Product) -> Result<Self::Share, Error> {
        let k = R::WIDTH.bits();
        let a = self.masked(x);
        let (prev, next) = (self.prev(), self.next());
        let received = round(&mut self.session, vec![(prev, pack(&a, k))], &[(next, packed_len(a.len(), k))])?;
        let b = Reader(received.first().map_or(&[], Vec::as_slice)).words(a.len(), k);
        Ok(Share { a, b })
    }

    fn trunc(&mut self, x: Source<'_, Self>, shift: u32) -> Result<Self::Share, Error> {
        if x.is_empty() {
            return Ok(Share { a: vec![], b: vec![] });
        }
        let material = self.take(Primitive::Trunc { n: x.len(), shift, form: x.form() })?;
        trunc::trunc(self, material, x, shift)
    }

    fn ltz(&mut self, x: &Self::Share, width: u32) -> Result<Self::Share, Error> {
        if x.is_empty() {
            return Ok(x.clone());
        }
        let material = self.take(Primitive::Ltz { n: x.len(), width })?;
        compare::ltz(self, material, x, width)
    }

    fn relu(&mut self, x: &Self::Share, width: u32) -> Result<Self::Share, Error> {
        if x.is_empty() {
            return Ok(x.clone());
        }
        let material = self.take(Primitive::Relu { n: x.len(), width })?;
        let negative = compare::ltz(self, material, x, width)?;
        self.select_positive(&negative, x)
    }

    fn trunc_relu(&mut self, x: Source<'_, Self>, shift: u32, width: u32) -> Result<Self::Share, Error> {
        if x.is_empty() {
            return Ok(Share { a: vec![], b: vec![] });
        }
        let material = self.take(Primitive::TruncRelu { n: x.len(), shift, width, form: x.form() })?;
        let (negative, y) = trunc::trunc_ltz(self, material, x, shift, width)?;
        self.select_positive(&negative, &y)
    }
}

impl<R: Ring> Rep3<R> {
    /// `(1 - negative) * x`.
    fn select_positive(&mut self, negative: &Share<R::Word>, x: &Share<R::Word>) -> Result<Share<R::Word>, Error> {
        let ones = self.public(&vec![R::Word::from_u64(1); x.len()]);
        let product = self.mul(&ones.sub(negative), x)?;
        self.reshare(&product)
    }
}

impl<R: Ring> Protocol for Rep3<R> {
    const NAME: &'static str = "rep3";
    const PARTIES: usize = 3;
    const CLAIM: Claim = CLAIM;
    const SOURCE: &'static str =
        "Araki et al., https://eprint.iacr.org/2016/768, section 3; ABY3, https://eprint.iacr.org/2018/403, section 5";

    fn setup(mut session: Session) -> Result<Self, Error> {
        let me = session.id();
        if me >= Self::PARTIES {
            return Err(Error::Misuse(format!("rep3 has parties 0, 1 and 2; endpoint {me} is none of them")));
        }
        // Slot me is shared with the previous party, slot me + 1 with the next one.
        let halves = [Seed::random()?, Seed::random()?];
        let peers = [(me + 2) % 3, (me + 1) % 3];
        let sends = peers.iter().zip(&halves).map(|(&p, half)| (p, half.expose().to_vec())).collect();
        let mut received = session.round(sends, &peers.map(|p| (p, SEED_BYTES)))?;
        let mut theirs = received.iter().map(Vec::as_slice);
        // Of each pair the party that comes first in the circle contributes the first half.
        let seeds = [
            joint_seed(theirs.next().unwrap_or(&[]), halves[0].expose()),
            joint_seed(halves[1].expose(), theirs.next().unwrap_or(&[])),
        ];
        received.zeroize();
        let private = Seed::random()?.stream("rep3 private");
        let (a, b) = (Streams::new(&seeds[0]), Streams::new(&seeds[1]));
        Ok(Self { me, session, seeds, batches: 0, a, b, private, material: VecDeque::new() })
    }

    fn setup_cost() -> Cost {
        Cost::messages(6, SEED_BYTES as u64)
    }

    fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    fn prepare(&mut self, demand: &[Primitive]) -> Result<(), Error> {
        check(demand, R::WIDTH.bits())?;
        self.material.clear();
        self.batches += 1;
        // New streams a batch: keys stay short-lived and far below AES's birthday bound.
        let batch = self.batches.to_le_bytes();
        self.a = Streams::new(&self.seeds[0].derive(&batch));
        self.b = Streams::new(&self.seeds[1].derive(&batch));
        self.material = prep::prepare(self, demand)?;
        Ok(())
    }

    fn offline_cost(demand: &[Primitive]) -> Cost {
        prep::cost(demand, R::WIDTH.bits())
    }

    fn online_cost(primitive: &Primitive) -> Cost {
        online_cost(primitive, R::WIDTH.bits())
    }

    fn offline_memory(demand: &[Primitive]) -> u64 {
        prep::memory(demand, R::WIDTH.bits())
    }

    fn deal(secret: &[R::Word]) -> Result<Vec<Vec<u8>>, Error> {
        // x_0 and x_1 are streams of seeds, x_2 = x - x_0 - x_1.
        let (seed_0, seed_1) = (Seed::random()?, Seed::random()?);
        let x_0: Vec<R::Word> = words(&mut seed_0.stream(DEAL), secret.len());
        let x_1: Vec<R::Word> = words(&mut seed_1.stream(DEAL), secret.len());
        let x_2 = zip(&zip(secret, &x_0, Word::sub), &x_1, Word::sub);
        let x_2 = pack(&x_2, R::WIDTH.bits());
        let seeds = |s: &[&Seed]| -> Vec<u8> { s.iter().flat_map(|s| *s.expose()).collect() };
        let with_x_2 = |seed: &Seed| [seeds(&[seed]), x_2.clone()].concat();
        Ok(vec![seeds(&[&seed_0, &seed_1]), with_x_2(&seed_1), with_x_2(&seed_0)])
    }

    fn dealt_bytes(party: usize, n: usize) -> usize {
        match party {
            0 => 2 * SEED_BYTES,
            _ => SEED_BYTES + packed_len(n, R::WIDTH.bits()),
        }
    }

    fn dealt(&self, n: usize, message: &[u8]) -> Self::Share {
        read_dealt::<R>(self.me, n, message)
    }

    fn opening_bytes(n: usize) -> usize {
        packed_len(n, R::WIDTH.bits())
    }

    fn reconstruct(n: usize, messages: &[Vec<u8>]) -> Vec<R::Word> {
        let parts = messages.iter().map(|m| Reader(m).words::<R::Word>(n, R::WIDTH.bits()));
        parts.fold(vec![R::Word::default(); n], |sum, part| zip(&sum, &part, Word::add))
    }
}

/// A slot's seed from both holders' halves, in order.
fn joint_seed(first: &[u8], second: &[u8]) -> Seed {
    let mut halves = [first, second].concat();
    let seed = Seed::from_bytes([0; SEED_BYTES]).derive(&halves);
    halves.zeroize();
    seed
}

const SEED_BYTES: usize = 32;
/// Purpose of the streams that dealt seeds stand for. A fresh seed a vector.
const DEAL: &str = "rep3 deal";

/// Party `me`'s share from an owner's message.
fn read_dealt<R: Ring>(me: usize, n: usize, message: &[u8]) -> Share<R::Word> {
    let (seeds, rest) =
        message.split_at_checked(if me == 0 { 2 * SEED_BYTES } else { SEED_BYTES }).unwrap_or((&[], &[]));
    let expand = |seed: &[u8; SEED_BYTES]| words(&mut Seed::from_bytes(*seed).stream(DEAL), n);
    let mut expanded = seeds.as_chunks().0.iter().map(expand);
    let mut slot = || expanded.next().unwrap_or_default();
    let mut rest = Reader(rest);
    match me {
        0 => Share { a: slot(), b: slot() },
        1 => Share { a: slot(), b: rest.words(n, R::WIDTH.bits()) },
        _ => Share { b: slot(), a: rest.words(n, R::WIDTH.bits()) },
    }
}

/// Refuses sizes outside the protocols' ranges, before anything is sent.
fn check(demand: &[Primitive], k: u32) -> Result<(), Error> {
    let bad = |p: &Primitive| match *p {
        Primitive::Trunc { shift, .. } => shift == 0 || shift > k - 2,
        Primitive::TruncRelu { shift, width, .. } => shift == 0 || width == 0 || shift.saturating_add(width) > k - 1,
        Primitive::Ltz { width, .. } | Primitive::Relu { width, .. } => width == 0 || width > k,
        Primitive::Input { .. }
        | Primitive::OpenTo { .. }
        | Primitive::Mul { .. }
        | Primitive::MatMul { .. }
        | Primitive::Conv { .. }
        | Primitive::Reshare { .. } => false,
    };
    match demand.iter().find(|p| bad(p)) {
        Some(p) => Err(Error::Misuse(format!("rep3 over Z_2^{k} cannot run {p:?}: its widths do not fit the ring"))),
        None => Ok(()),
    }
}

fn online_cost(primitive: &Primitive, k: u32) -> Cost {
    let packed = |n: usize, bits: u32| packed_len(n, bits) as u64;
    match *primitive {
        Primitive::Input { n } => {
            Cost::round([2 * SEED_BYTES as u64, SEED_BYTES as u64 + packed(n, k), SEED_BYTES as u64 + packed(n, k)])
        }
        Primitive::OpenTo { n: 0 } => Cost { rounds: 1, bytes: 0 },
        Primitive::OpenTo { n } => Cost::messages(3, packed(n, k)),
        Primitive::Mul { .. } | Primitive::MatMul { .. } | Primitive::Conv { .. } => Cost::FREE,
        Primitive::Reshare { n: 0 } => Cost { rounds: 1, bytes: 0 },
        Primitive::Reshare { n } => Cost::messages(3, packed(n, k)),
        Primitive::Trunc { n: 0, .. }
        | Primitive::Ltz { n: 0, .. }
        | Primitive::Relu { n: 0, .. }
        | Primitive::TruncRelu { n: 0, .. } => Cost::FREE,
        Primitive::Trunc { n, shift, form } => trunc::opening_cost(n, k, form) + Cost::messages(2, packed(n, shift)),
        Primitive::Ltz { n, width } => trunc::opening_cost(n, width, crate::Form::Share) + compare::cost(n, width, 0),
        Primitive::Relu { n, width } => {
            let compare = trunc::opening_cost(n, width, crate::Form::Share) + compare::cost(n, width, 0);
            compare + Cost::messages(3, packed(n, k))
        }
        Primitive::TruncRelu { n, shift, width, form } => {
            let compare = trunc::opening_cost(n, k, form) + compare::cost(n, width, packed(n, shift));
            compare + Cost::messages(3, packed(n, k))
        }
    }
}

/// The low `k` bits.
fn mask<W: Word>(x: W, k: u32) -> W {
    W::from_u64(x.to_u64() & prep::low_bits(k))
}
