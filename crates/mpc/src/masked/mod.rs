//! Masked values: the engine below every protocol in which a dealer knows the masks.
//!
//! `x = c + m_0 + m_1 + ...` modulo 2^k: all computing parties know the *masked value* `c`, each
//! knows one `m_i`, and the dealer knows all of these but no `c`. The preprocessing is a run
//! of the program on masks alone (`deal`): the dealer deals functions of masks, as additive
//! parts that stand for seeds wherever possible. Online the computing parties alone exchange
//! messages, one opening a product, two or more a comparison (`products`, `gates`, `compare`).
//!
//! Masks and what is dealt are planned wire by wire, because the preprocessing rehearses the
//! very calls of the run; another gate over masked values needs a function that deals it and
//! one that consumes it.
//!
//! Who the parties are is a [`Cast`]: three servers, one of which deals
//! ([`Rep3`](crate::rep3::Rep3)), or any number beside a dealer
//! ([`Beaver`](crate::beaver::Beaver)).
//!
//! - **Truncation** (`gates`) is never wrong by more than one unit in the last place, at one
//!   bit of slack: the mask's wrap-around is corrected (with the known top bit, as in Escudero
//!   et al., <https://eprint.iacr.org/2020/338>, section 5) instead of being made unlikely.
//! - **Comparison** (`compare`): a masked value is a comparison of two *known* operands, so that
//!   its first layer, up to five bits wide, is local; then a prefix tree. The width is the
//!   plan's proven one, not the ring's.
//! - Truncation, sign and relu end in one opening, of a sum that every side computes locally.
//! - Products with weights: what depends on weights and masks is computed beforehand.
//!
//! `docs/rep3.md` has the argument in full. Start with `share`, then `deal`, `gates`, [`Masked`].

mod cast;
mod compare;
mod deal;
mod gates;
pub(crate) mod groups;
mod inputs;
mod keyed;
mod keys;
#[cfg(test)]
pub(crate) mod leak_tests;
mod messages;
mod products;
mod seat;
mod share;
mod streams;
pub(crate) mod tree;

pub use cast::{Cast, Gates};
pub use share::{Product, Share};

pub(crate) use crate::sharing::{SEED_BYTES, add_into, narrow_words, sub_from, words};
pub(crate) use share::zip;
pub(crate) use streams::{Streams, planes};

use crate::protocol::{Contradiction, Evaluator, Linear, Primitive, Protocol, Source};
use crate::{Error, sharing};
use deal::{Material, Parts, Stage, openers, round};
use inputs::input_bytes;
use keys::Dealt;
use seat::no_keys;
use std::collections::VecDeque;
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_core::{Claim, Cost, Seed};
use subrosa_graph::Comparing;
use subrosa_net::{EndpointId, Session};
use subrosa_ring::{Ring, Word, conv2d_acc, matmul_acc, pack, packed_len, unpack};

/// One party of a protocol of masked values.
pub struct Masked<R: Ring, C: Cast> {
    me: usize,
    session: Session,
    /// None until keys are agreed on.
    cast: Option<C>,
    /// What is shared with the dealer, from which each batch's streams are derived; at the
    /// dealer, with each computing party in order.
    seeds: Vec<Seed>,
    /// Batches prepared so far.
    batches: u64,
    /// The streams of `seeds`.
    streams: Vec<Streams>,
    stage: Stage,
    material: VecDeque<Material<R::Word>>,
    keys: Dealt,
    /// Inputs of this batch whose masks their owner was told.
    told: u64,
}

impl<R: Ring, C: Cast> Masked<R, C> {
    fn is_dealer(&self) -> bool {
        self.me == C::COMPUTING
    }

    /// What hides this party's part of a result from the receiver: a part of a zero sharing,
    /// or where the dealer does not open, a part of what the dealer has of the result.
    fn opening_mask(&mut self, x: &Product<R::Word>) -> Result<Vec<R::Word>, Error> {
        if C::DEALER_OPENS {
            let Self { cast, streams, .. } = self;
            let mut part = cast.as_mut().ok_or_else(no_keys::<C>)?.zero(streams, x.n);
            add_own(&mut part, x);
            return Ok(part);
        }
        let mut part = self.split_product(x.n, x.z.as_deref())?;
        if !self.is_dealer() {
            add_own(&mut part, x);
        }
        Ok(part)
    }

    /// Opens the first `opened` elements of `x`, of which all were prepared for.
    fn open_some(
        &mut self,
        receiver: EndpointId,
        parts: usize,
        x: &Product<R::Word>,
        opened: usize,
    ) -> Result<(), Error> {
        let call = Primitive::OpenTo { parts, n: x.n.checked_div(parts).unwrap_or(0) };
        if self.is_offline() {
            self.begin(call)?;
            let offset = self.opening_mask(x)?;
            self.keep(call, Parts { offset, ..Parts::default() })?;
            return Ok(());
        }
        let mut part = std::mem::take(&mut self.take(call)?.parts.offset);
        if self.me >= openers::<C>() {
            return Ok(());
        }
        add_own(&mut part, x);
        part.truncate(opened);
        let message = sharing::pack_parts(&part, parts, R::WIDTH.bits());
        round(&mut self.session, vec![(receiver, message)], &[])?;
        Ok(())
    }

    /// The material made for `call`. Anything else is refused before a message is sent, and
    /// nothing made so far is used afterwards.
    fn take(&mut self, call: Primitive) -> Result<Material<R::Word>, Error> {
        match self.material.pop_front() {
            Some(material) if material.call == call => Ok(material),
            Some(_) | None => {
                self.material.clear();
                Err(products::missing::<C>(call))
            }
        }
    }
}

impl<R: Ring, C: Cast> Evaluator for Masked<R, C> {
    type Ring = R;
    type Share = Share<R::Word>;
    type Product = Product<R::Word>;

    // x = p_0 + p_1 + ... as the owner deals it: the computing parties add their masks and open.
    fn input(&mut self, owner: EndpointId, parts: usize, n: usize) -> Result<Self::Share, Error> {
        let call = Primitive::Input { parts, n };
        if C::OWNER_MASKS {
            return self.input_of_owner(owner, parts, n);
        }
        if self.is_offline() {
            let mask = self.mask_words(parts * n);
            let offset = if self.is_dealer() { Vec::new() } else { mask.clone() };
            self.keep(call, Parts { offset, ..Parts::default() })?;
            return Ok(Share::masked(mask));
        }
        let material = self.take(call)?;
        let part = self.input_part(owner, parts, n)?;
        match self.is_dealer() {
            true => Ok(Share::absent(parts * n)),
            false => Ok(Share::opened(self.open(zip(&part, &material.parts.offset, Word::sub))?)),
        }
    }

    fn open_to(&mut self, receiver: EndpointId, parts: usize, x: &Self::Product) -> Result<(), Error> {
        self.open_some(receiver, parts, x, x.n)
    }

    fn open_first(&mut self, receiver: EndpointId, x: &Self::Product, n: usize) -> Result<(), Error> {
        self.open_some(receiver, 1, x, n)
    }

    fn public(&self, values: &[R::Word]) -> Self::Share {
        let value = (!self.is_dealer()).then(|| values.to_vec());
        Share::known(values.len(), value, vec![R::Word::default(); values.len()])
    }

    // c + m_0 + m_1 + ...: party 1 contributes c, where it did not do so in the preprocessing.
    fn to_product(&self, x: &Self::Share) -> Self::Product {
        let offline = self.is_offline();
        let mask = if offline && !self.is_dealer() { x.mask.as_deref() } else { None };
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
        let (out, len) = (batch * dims.groups * dims.m * dims.n, y.n);
        let call = Primitive::MatMul { batch, dims, matrices: dims.matrices(len) };
        self.bilinear(call, x, y, out, |x, y, z| matmul_repeated(batch, dims, len, x, y, z))
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
            false => match C::GATES {
                Gates::Bits => self.sign_in_ring(x, width),
                Gates::Keys => self.sign_by_keys(x, width),
            },
        }
    }

    fn relu(&mut self, x: &Self::Share, width: u32) -> Result<Self::Share, Error> {
        match x.is_empty() {
            true => Ok(self.empty()),
            false => match C::GATES {
                Gates::Bits => self.rectify(x, width),
                Gates::Keys => self.rectify_by_keys(Primitive::Relu { n: x.n, width }, &Source::Share(x), 0, width),
            },
        }
    }

    fn trunc_relu(&mut self, x: Source<'_, Self>, shift: u32, width: u32) -> Result<Self::Share, Error> {
        let call = Primitive::TruncRelu { n: x.len(), shift, width, form: x.form() };
        match x.is_empty() {
            true => Ok(self.empty()),
            false => match C::GATES {
                Gates::Bits => self.truncate_and_rectify(call, &x, shift, width),
                Gates::Keys => self.rectify_by_keys(call, &x, shift, width),
            },
        }
    }
}

impl<R: Ring, C: Cast> Protocol for Masked<R, C> {
    const NAME: &'static str = C::NAME;
    const PARTIES: usize = C::COMPUTING + 1;
    const ONLINE: usize = C::COMPUTING + if C::DEALER_OPENS { 1 } else { 0 };
    const COMPARING: Comparing = match C::GATES {
        Gates::Bits => Comparing::Circuits,
        Gates::Keys => Comparing::Keys,
    };
    const CLAIM: Claim = C::CLAIM;
    const SOURCE: &'static str = C::SOURCE;

    fn setup(session: Session) -> Result<Self, Error> {
        let mut party = Self::seated(session)?;
        party.agree()?;
        Ok(party)
    }

    fn setup_cost() -> Cost {
        C::setup_cost()
    }

    fn setup_without_dealer(session: Session) -> Result<Self, Error> {
        match C::DEALER_OPENS {
            true => Err(Error::Misuse(format!("{}: who deals also opens, and has to be there", C::NAME))),
            false => Self::seated(session),
        }
    }

    fn take_dealt(&mut self) -> Result<(), Error> {
        self.agree()
    }

    fn dealt_ahead(demand: &[Primitive]) -> Vec<u64> {
        match C::DEALER_OPENS {
            true => Vec::new(),
            false => seat::ahead::<C>(demand, R::WIDTH.bits()),
        }
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
        check::<C>(demand, k)?;
        self.material.clear();
        self.keys = Dealt::default();
        self.told = 0;
        self.batches += 1;
        // New streams a batch: keys stay short-lived and far below AES's birthday bound.
        for (streams, seed) in self.streams.iter_mut().zip(&self.seeds) {
            *streams = Streams::new(C::NAME, &seed.derive(&self.batches.to_le_bytes()));
        }
        self.cast.as_mut().ok_or_else(no_keys::<C>)?.renew(self.batches);
        // Until it is all there nothing can be consumed: without material every call is refused.
        self.stage = Stage::Online;
        self.stage = Stage::Offline(self.receive_dealt(demand)?);
        let rehearsed = rehearse(self);
        let stage = std::mem::replace(&mut self.stage, Stage::Online);
        if let Err(error) = rehearsed {
            self.material.clear();
            return Err(error);
        }
        match stage {
            Stage::Offline(dealing) => self.send_dealt(dealing, demand),
            Stage::Setup | Stage::Online => Ok(()),
        }
    }

    fn offline_cost(demand: &[Primitive]) -> Cost {
        deal::cost::<C>(demand, R::WIDTH.bits())
    }

    fn online_cost(primitive: &Primitive) -> Cost {
        let n = if let Primitive::Input { n, .. } = *primitive { n } else { 0 };
        let dealt: Vec<u64> = input_bytes::<R, C>(n).into_iter().map(|b| b as u64).collect();
        deal::online_cost::<C>(primitive, R::WIDTH.bits(), &dealt)
    }

    fn offline_memory(demand: &[Primitive]) -> u64 {
        deal::memory::<C>(demand, R::WIDTH.bits())
    }

    const TOLD_BYTES: usize = if C::OWNER_MASKS { SEED_BYTES } else { 0 };

    fn deal_told(secret: &[R::Word], told: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
        if !C::OWNER_MASKS {
            return Self::deal(secret);
        }
        let mut c = secret.to_vec();
        let seeds: Vec<&[u8; SEED_BYTES]> = told.iter().filter_map(|told| told.as_slice().try_into().ok()).collect();
        if seeds.len() != C::COMPUTING {
            return Err(Error::Misuse(format!("{}: not every party told the owner of an input its mask", C::NAME)));
        }
        seeds.into_iter().for_each(|seed| sub_from(&mut c, &expand::<R, C>(seed, secret.len())));
        Ok(vec![pack(&c, R::WIDTH.bits()); C::COMPUTING])
    }

    fn deal(secret: &[R::Word]) -> Result<Vec<Vec<u8>>, Error> {
        if C::OWNER_MASKS {
            return Err(Error::Misuse(format!("{}: an input is dealt under masks that its owner is told", C::NAME)));
        }
        // The dealer, if it opens, gets an empty message.
        let mut messages = sharing::deal_added::<R>(C::NAME, C::COMPUTING, secret)?;
        messages.extend(C::DEALER_OPENS.then(Vec::new));
        Ok(messages)
    }

    fn deal_kept(secret: &[R::Word]) -> Result<Vec<Vec<u8>>, Error> {
        // m_i is the stream of a seed, c = x - m_0 - m_1 - ...
        let (mut c, mut seeds) = (secret.to_vec(), Vec::new());
        for _ in 0..C::COMPUTING {
            let seed = Seed::random()?;
            sub_from(&mut c, &expand::<R, C>(seed.expose(), secret.len()));
            seeds.push(seed);
        }
        let c = pack(&c, R::WIDTH.bits());
        let mut messages: Vec<Vec<u8>> = seeds.iter().map(|seed| [seed.expose().as_slice(), &c].concat()).collect();
        messages.push(seeds.iter().flat_map(|seed| *seed.expose()).collect());
        Ok(messages)
    }

    fn dealt_bytes(party: usize, n: usize) -> usize {
        match party == C::COMPUTING {
            true => C::COMPUTING * SEED_BYTES,
            false => SEED_BYTES + packed_len(n, R::WIDTH.bits()),
        }
    }

    fn dealt(&self, n: usize, message: &[u8]) -> Self::Share {
        let seeds = if self.is_dealer() { C::COMPUTING } else { 1 };
        let (seeds, c) = message.split_at_checked(seeds * SEED_BYTES).unwrap_or((&[], &[]));
        let masks = seeds.as_chunks().0.iter().map(|seed| expand::<R, C>(seed, n));
        let mask = masks.reduce(|sum, mask| zip(&sum, &mask, Word::add)).unwrap_or_default();
        Share::known(n, (!self.is_dealer()).then(|| unpack(c, R::WIDTH.bits(), n)), mask)
    }

    fn opening_bytes(n: usize) -> usize {
        packed_len(n, R::WIDTH.bits())
    }

    fn reconstruct(n: usize, messages: &[Vec<u8>]) -> Result<Vec<R::Word>, Contradiction> {
        Ok(sharing::open_added::<R>(n, messages))
    }
}

/// Lets the allocator keep the memory of freed vectors up to this size: glibc's gives it back
/// to the system until a block as large was freed once (mallopt(3), `M_MMAP_THRESHOLD`),
/// and then every layer of every batch is paid for in page faults. No effect elsewhere.
pub(crate) fn large_blocks_stay() {
    const LARGEST: usize = (32 << 20) - (64 << 10);
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGEST)));
}

/// What a dealt seed stands for. A fresh seed a vector.
fn expand<R: Ring, C: Cast>(seed: &[u8; SEED_BYTES], n: usize) -> Vec<R::Word> {
    sharing::expand(C::NAME, seed, n)
}

/// Adds this party's own part of a product.
fn add_own<W: Word>(part: &mut [W], x: &Product<W>) {
    if let Some(z) = &x.z {
        add_into(part, z);
    }
}

impl<R: Ring, C: Cast> Masked<R, C> {
    fn empty(&self) -> Share<R::Word> {
        match (self.is_offline(), self.is_dealer()) {
            (true, _) => Share::masked(Vec::new()),
            (false, true) => Share::absent(0),
            (false, false) => Share::opened(Vec::new()),
        }
    }
}

/// Refuses sizes outside the protocols' ranges, before anything is sent.
fn check<C: Cast>(demand: &[Primitive], k: u32) -> Result<(), Error> {
    match demand.iter().find(|p| !p.fits(k)) {
        Some(p) => {
            let name = C::NAME;
            Err(Error::Misuse(format!("{name} over Z_2^{k} cannot run {p:?}: its widths do not fit the ring")))
        }
        None => Ok(()),
    }
}

/// `z += x y` for `batch * dims.groups` matrix products with a right operand of `len` elements,
/// which is repeated as [`Evaluator::matmul`] says.
pub(crate) fn matmul_repeated<W: Word>(batch: usize, dims: MatDims, len: usize, x: &[W], y: &[W], z: &mut [W]) {
    let one = dims.k * dims.n;
    // One matrix for all samples and groups: fold them into the rows.
    let folded = match len == one {
        true => MatDims { groups: 1, m: batch * dims.groups * dims.m, ..dims },
        false => MatDims { groups: batch * dims.groups, ..dims },
    };
    match (folded.groups * one).checked_div(len).unwrap_or(1) {
        1 => matmul_acc(folded, x, y, z),
        // The same matrices for each sample: sample by sample, without copies of them.
        repeats => {
            let one = MatDims { groups: folded.groups / repeats, ..folded };
            let (left, out) = ((one.groups * one.m * one.k).max(1), (one.groups * one.m * one.n).max(1));
            x.chunks(left).zip(z.chunks_mut(out)).for_each(|(x, z)| matmul_acc(one, x, y, z));
        }
    }
}
