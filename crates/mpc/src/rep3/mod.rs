//! `rep3`: replicated secret sharing over Z_2^k between three parties, semi-honest, no two
//! colluding.
//!
//! Sharing and re-randomised products follow Araki, Furukawa, Lindell, Nof, Ohara,
//! *High-Throughput Semi-Honest Secure Three-Party Computation*,
//! <https://eprint.iacr.org/2016/768>, section 3. That two of the three parts are drawn
//! before the input is there, so that party 2 is needed in the preprocessing only, follows
//! ASTRA, Chaudhari, Choudhury, Patra, Suresh, <https://eprint.iacr.org/2019/429> (the
//! semi-honest protocol).
//!
//! **Differs from both in**
//! - truncation (`gates`): never wrong by more than one unit in the last place, at one
//!   bit of slack. The mask's wrap-around is corrected (with the known top bit, as in
//!   Escudero et al., <https://eprint.iacr.org/2020/338>, section 5) instead of being made
//!   unlikely;
//! - comparison (`compare`): a masked value is a comparison of two *known* operands, so that
//!   its first layer, up to five bits wide, is local; then a prefix tree. The width is the
//!   plan's proven one, not the ring's;
//! - truncation, sign and relu end in one opening, of a sum that both sides compute locally;
//! - products with weights: what depends on weights and masks is computed beforehand.
//!
//! `docs/rep3.md` has the argument in full. Start with `share`, then `deal`, `gates`, [`Rep3`].

mod compare;
mod deal;
mod gates;
mod groups;
#[cfg(test)]
mod leak_tests;
mod products;
mod share;
mod streams;

pub use share::{Product, Share};

use crate::protocol::{Evaluator, Primitive, Protocol, Source};
use crate::{Error, protocol::Linear};
use deal::{Dealing, Material, Parts, Stage, round};
use share::zip;
use std::collections::VecDeque;
use streams::{Streams, words};
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_core::{Adversary, Claim, Cost, Seed};
use subrosa_net::{EndpointId, Session};
use subrosa_ring::{Ring, Word, conv2d_acc, matmul_acc, pack, packed_len, unpack};
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
    stage: Stage,
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
    /// This party's part of `n` zeros in three parts, uniform given the other two's sum.
    fn zero(&mut self, n: usize) -> Vec<R::Word> {
        let ours: Vec<R::Word> = words(&mut self.a.zero, n);
        zip(&ours, &words(&mut self.b.zero, n), Word::sub)
    }

    /// The material made for `call`. Anything else is refused before a message is sent, and
    /// nothing made so far is used afterwards.
    fn take(&mut self, call: Primitive) -> Result<Material<R::Word>, Error> {
        match self.material.pop_front() {
            Some(material) if material.call == call => Ok(material),
            Some(_) | None => {
                self.material.clear();
                Err(Error::Misuse(format!("rep3: {call:?} was called, which was not prepared")))
            }
        }
    }

    /// This party's part of what an owner shares: a seed's stream at party 0, what it lacks
    /// of the value at party 1.
    fn input_part(&mut self, owner: EndpointId, n: usize) -> Result<Vec<R::Word>, Error> {
        let len = input_bytes::<R>(n)[self.me];
        let received = self.session.round(vec![], &[(owner, len)])?;
        let message = received.first().map_or(&[] as &[u8], Vec::as_slice);
        Ok(match self.me {
            0 => message.first_chunk().map_or_else(Vec::new, |s| words(&mut Seed::from_bytes(*s).stream(DEAL), n)),
            1 => unpack(message, R::WIDTH.bits(), n),
            _ => Vec::new(),
        })
    }
}

impl<R: Ring> Evaluator for Rep3<R> {
    type Ring = R;
    type Share = Share<R::Word>;
    type Product = Product<R::Word>;

    // x = p_0 + p_1 as the owner deals it: parties 0 and 1 add their masks and open.
    fn input(&mut self, owner: EndpointId, n: usize) -> Result<Self::Share, Error> {
        let call = Primitive::Input { n };
        if self.is_offline() {
            let mask = self.mask_words(n);
            let offset = if self.me < 2 { mask.clone() } else { Vec::new() };
            self.keep(call, Parts { offset, ..Parts::default() });
            return Ok(Share::masked(mask));
        }
        let material = self.take(call)?;
        let part = self.input_part(owner, n)?;
        match self.me {
            2 => Ok(Share::absent(n)),
            _ => Ok(Share::opened(self.open(zip(&part, &material.parts.offset, Word::sub))?)),
        }
    }

    fn open_to(&mut self, receiver: EndpointId, x: &Self::Product) -> Result<(), Error> {
        let call = Primitive::OpenTo { n: x.n };
        if self.is_offline() {
            let mut offset = self.zero(x.n);
            if let Some(z) = &x.z {
                share::add_into(&mut offset, z);
            }
            self.keep(call, Parts { offset, ..Parts::default() });
            return Ok(());
        }
        let mut part = std::mem::take(&mut self.take(call)?.parts.offset);
        if let Some(z) = &x.z {
            share::add_into(&mut part, z);
        }
        round(&mut self.session, vec![(receiver, pack(&part, R::WIDTH.bits()))], &[])?;
        Ok(())
    }

    fn public(&self, values: &[R::Word]) -> Self::Share {
        let value = (self.me < 2).then(|| values.to_vec());
        Share::known(values.len(), value, vec![R::Word::default(); values.len()])
    }

    // c + m_0 + m_2: party 1 contributes c, where it did not do so in the preprocessing.
    fn to_product(&self, x: &Self::Share) -> Self::Product {
        let offline = self.is_offline();
        let mask = if offline && self.me < 2 { x.mask.as_deref() } else { None };
        let value = if self.me == 1 && offline == x.known { x.value.as_deref() } else { None };
        let z = match (mask, value) {
            (Some(m), Some(c)) => Some(zip(m, c, Word::add)),
            (Some(z), None) | (None, Some(z)) => Some(z.to_vec()),
            (None, None) => None,
        };
        Product { n: x.n, z }
    }

    fn mul(&mut self, x: &Self::Share, y: &Self::Share) -> Result<Self::Product, Error> {
        let multiply = |x: &[R::Word], y: &[R::Word], z: &mut [R::Word]| {
            z.iter_mut().zip(x.iter().zip(y)).for_each(|(z, (&x, &y))| *z = z.add(x.mul(y)));
        };
        self.bilinear(Primitive::Mul { n: x.n }, x, y, x.n, multiply)
    }

    fn matmul(
        &mut self,
        batch: usize,
        dims: MatDims,
        x: &Self::Share,
        y: &Self::Share,
    ) -> Result<Self::Product, Error> {
        let call = Primitive::MatMul { batch, dims };
        let one = dims.k * dims.n;
        // One matrix for all samples and groups: fold them into the rows.
        let folded = match y.n == one {
            true => MatDims { groups: 1, m: batch * dims.groups * dims.m, ..dims },
            false => MatDims { groups: batch * dims.groups, ..dims },
        };
        let repeats = (folded.groups * one).checked_div(y.n).unwrap_or(1);
        let multiply = |x: &[R::Word], y: &[R::Word], z: &mut [R::Word]| match repeats {
            1 => matmul_acc(folded, x, y, z),
            repeats => matmul_acc(folded, x, &y.repeat(repeats), z),
        };
        self.bilinear(call, x, y, folded.groups * folded.m * folded.n, multiply)
    }

    fn conv(
        &mut self,
        batch: usize,
        geometry: &ConvGeometry,
        x: &Self::Share,
        w: &Self::Share,
    ) -> Result<Self::Product, Error> {
        let call = Primitive::Conv { batch, geometry: *geometry };
        let out = batch * geometry.o * geometry.output.0 * geometry.output.1;
        self.bilinear(call, x, w, out, |x, w, z| conv2d_acc(geometry, batch, x, w, z))
    }

    fn reshare(&mut self, x: &Self::Product) -> Result<Self::Share, Error> {
        self.reshare_product(x)
    }

    fn trunc(&mut self, x: Source<'_, Self>, shift: u32) -> Result<Self::Share, Error> {
        match x.is_empty() {
            true => Ok(self.empty()),
            false => self.truncate(&x, shift),
        }
    }

    fn ltz(&mut self, x: &Self::Share, width: u32) -> Result<Self::Share, Error> {
        match x.is_empty() {
            true => Ok(self.empty()),
            false => self.sign_in_ring(x, width),
        }
    }

    fn relu(&mut self, x: &Self::Share, width: u32) -> Result<Self::Share, Error> {
        match x.is_empty() {
            true => Ok(self.empty()),
            false => self.rectify(x, width),
        }
    }

    fn trunc_relu(&mut self, x: Source<'_, Self>, shift: u32, width: u32) -> Result<Self::Share, Error> {
        match x.is_empty() {
            true => Ok(self.empty()),
            false => self.truncate_and_rectify(&x, shift, width),
        }
    }
}

impl<R: Ring> Protocol for Rep3<R> {
    const NAME: &'static str = "rep3";
    const PARTIES: usize = 3;
    const CLAIM: Claim = CLAIM;
    const SOURCE: &'static str =
        "Araki et al., https://eprint.iacr.org/2016/768, section 3; ASTRA, https://eprint.iacr.org/2019/429";

    fn setup(mut session: Session) -> Result<Self, Error> {
        large_blocks_stay();
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
        let (a, b) = (Streams::new(&seeds[0]), Streams::new(&seeds[1]));
        Ok(Self { me, session, seeds, batches: 0, a, b, stage: Stage::Setup, material: VecDeque::new() })
    }

    fn setup_cost() -> Cost {
        Cost::messages(6, SEED_BYTES as u64)
    }

    fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    fn prepare(
        &mut self,
        demand: &[Primitive],
        rehearse: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let k = R::WIDTH.bits();
        check(demand, k)?;
        self.material.clear();
        self.batches += 1;
        // New streams a batch: keys stay short-lived and far below AES's birthday bound.
        let batch = self.batches.to_le_bytes();
        self.a = Streams::new(&self.seeds[0].derive(&batch));
        self.b = Streams::new(&self.seeds[1].derive(&batch));
        self.stage = Stage::Offline(self.receive_dealt(demand)?);
        let rehearsed = rehearse(self);
        let stage = std::mem::replace(&mut self.stage, Stage::Online);
        rehearsed?;
        match stage {
            Stage::Offline(dealing) => self.send_dealt(dealing, demand),
            Stage::Setup | Stage::Online => Ok(()),
        }
    }

    fn offline_cost(demand: &[Primitive]) -> Cost {
        deal::cost(demand, R::WIDTH.bits())
    }

    fn online_cost(primitive: &Primitive) -> Cost {
        let dealt = |n| input_bytes::<R>(n).map(|b| b as u64);
        let n = if let Primitive::Input { n } = *primitive { n } else { 0 };
        deal::online_cost(primitive, R::WIDTH.bits(), dealt(n))
    }

    fn offline_memory(demand: &[Primitive]) -> u64 {
        deal::memory(demand, R::WIDTH.bits())
    }

    fn deal(secret: &[R::Word]) -> Result<Vec<Vec<u8>>, Error> {
        // p_0 is the stream of a seed, p_1 = x - p_0; party 2 gets nothing.
        let seed = Seed::random()?;
        let p_0: Vec<R::Word> = words(&mut seed.stream(DEAL), secret.len());
        let p_1 = zip(secret, &p_0, Word::sub);
        Ok(vec![seed.expose().to_vec(), pack(&p_1, R::WIDTH.bits()), Vec::new()])
    }

    fn deal_kept(secret: &[R::Word]) -> Result<Vec<Vec<u8>>, Error> {
        // m_0 and m_2 are the streams of seeds, c = x - m_0 - m_2.
        let seeds = [Seed::random()?, Seed::random()?];
        let [m_0, m_2] = seeds.each_ref().map(|seed| words::<R::Word>(&mut seed.stream(DEAL), secret.len()));
        let c = pack(&zip(&zip(secret, &m_0, Word::sub), &m_2, Word::sub), R::WIDTH.bits());
        let [seed_0, seed_2] = seeds.each_ref().map(|seed| seed.expose().as_slice());
        Ok(vec![[seed_0, &c].concat(), [seed_2, &c].concat(), [seed_0, seed_2].concat()])
    }

    fn dealt_bytes(party: usize, n: usize) -> usize {
        match party {
            2 => 2 * SEED_BYTES,
            _ => SEED_BYTES + packed_len(n, R::WIDTH.bits()),
        }
    }

    fn dealt(&self, n: usize, message: &[u8]) -> Self::Share {
        let (seeds, c) =
            message.split_at_checked(if self.me == 2 { 2 * SEED_BYTES } else { SEED_BYTES }).unwrap_or((&[], &[]));
        let expand = |seed: &[u8; SEED_BYTES]| words::<R::Word>(&mut Seed::from_bytes(*seed).stream(DEAL), n);
        let masks = seeds.as_chunks().0.iter().map(expand);
        let mask = masks.reduce(|sum, mask| zip(&sum, &mask, Word::add)).unwrap_or_default();
        Share::known(n, (self.me < 2).then(|| unpack(c, R::WIDTH.bits(), n)), mask)
    }

    fn opening_bytes(n: usize) -> usize {
        packed_len(n, R::WIDTH.bits())
    }

    fn reconstruct(n: usize, messages: &[Vec<u8>]) -> Vec<R::Word> {
        let parts = messages.iter().map(|m| unpack::<R::Word>(m, R::WIDTH.bits(), n));
        parts.fold(vec![R::Word::default(); n], |sum, part| zip(&sum, &part, Word::add))
    }
}

/// Lets the allocator keep the memory of freed vectors up to this size: glibc's gives it back
/// to the system until a block as large was freed once (mallopt(3), `M_MMAP_THRESHOLD`),
/// and then every layer of every batch is paid for in page faults. No effect elsewhere.
fn large_blocks_stay() {
    const LARGEST: usize = (32 << 20) - (64 << 10);
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGEST)));
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

/// Lengths of a data owner's messages to the parties.
fn input_bytes<R: Ring>(n: usize) -> [usize; 3] {
    [SEED_BYTES, packed_len(n, R::WIDTH.bits()), 0]
}

impl<R: Ring> Rep3<R> {
    /// Parties 0 and 1: what party 2 dealt for `demand`.
    fn receive_dealt(&mut self, demand: &[Primitive]) -> Result<Dealing, Error> {
        let lens = deal::message_bytes(demand, R::WIDTH.bits());
        match (self.me, lens) {
            (2, _) => Ok(Dealing::with_capacity(lens)),
            (_, [0, 0]) => Ok(Dealing::of(Vec::new())),
            (me, lens) => {
                let received = round(&mut self.session, vec![], &[(2, lens[me])])?;
                Ok(Dealing::of(received.into_iter().next().unwrap_or_default()))
            }
        }
    }

    /// Party 2: sends what it dealt.
    fn send_dealt(&mut self, mut dealing: Dealing, demand: &[Primitive]) -> Result<(), Error> {
        let lens = deal::message_bytes(demand, R::WIDTH.bits());
        if self.me != 2 || lens == [0, 0] {
            return Ok(());
        }
        let [to_0, to_1] = std::mem::take(&mut dealing.to);
        if [to_0.len(), to_1.len()] != lens {
            return Err(Error::Misuse("rep3: the rehearsal made other calls than it was announced to".into()));
        }
        round(&mut self.session, vec![(0, to_0), (1, to_1)], &[])?;
        Ok(())
    }

    fn empty(&self) -> Share<R::Word> {
        match (self.is_offline(), self.me) {
            (true, _) => Share::masked(Vec::new()),
            (false, 2) => Share::absent(0),
            (false, _) => Share::opened(Vec::new()),
        }
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
