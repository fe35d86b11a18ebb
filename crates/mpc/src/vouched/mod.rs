//! Vouched messages: the engine below the protocols in which every message has a second party who
//! knows it ([`rep4`](crate::rep4), [`rep3-malicious`](crate::rep3_malicious)).
//!
//! `x = c + m_0 + m_1 + m_2`: parties 0, 1 and 2 know the masked value `c`, party `j` lacks the piece
//! `m_j`. So each piece is known to two of them, and whatever is opened online is sent by one of the
//! two and vouched for by the other: a party that deviates online is found out before anybody
//! goes on. What is left is the preprocessing, which computes functions of masks. There a term of a
//! product is known to one of the three alone. Either a fourth party knows all masks and vouches for
//! it, or the three prove to each other afterwards that their terms were right (`proof`), before
//! any input is there. Which of the two is the [`Crew`]'s.
//!
//! Four-party replicated sharing, and that whatever is sent is known to two of whom one sends it
//! and the other vouches, follow Dalskov, Escudero, Keller, *Fantastic Four: Honest-Majority
//! Four-Party Secure Computation With Malicious Security*, <https://eprint.iacr.org/2020/1330>.
//! That three of the four parts are drawn before the input is there, so that the fourth party is
//! needed in the preprocessing only, follows Koti, Patra, Rachuri, Suresh, *Tetrad*,
//! <https://eprint.iacr.org/2021/755> (and Trident before it).
//!
//! **Differs from both in**
//! - vouching: in the round of the message and not at the end, see `vouch`;
//! - products of masks: three corrections, see `deal`;
//! - truncation (`gates`): never wrong by more than one unit in the last place;
//! - comparison (`compare`): the mask's bits come from a circuit in the preprocessing
//!   (`circuit`), then it is a comparison of two operands as in [`masked`](crate::masked);
//! - who is to blame: a contradiction names a pair, one of whom deviated. It is not excluded.
//!
//! `docs/rep4.md` and `docs/rep3-malicious.md` have the arguments in full. Start with `share`, then
//! `vouch`, `deal`, `gates`, `proof`.

mod bilinear;
mod circuit;
mod compare;
mod cost;
mod crew;
mod deal;
mod gates;
#[cfg(test)]
mod leak_tests;
mod material;
mod products;
mod proof;
mod setup;
mod share;
mod truncate;
mod vouch;

pub use crew::Crew;
pub use share::{Product, Share};

use crate::masked::{SEED_BYTES, add_into, large_blocks_stay, sub_from};
use crate::protocol::{Contradiction, Evaluator, Primitive, Protocol, Source};
use crate::{Error, sharing};
use bilinear::Bilinear;
use deal::Streams;
use material::{Material, Parts};
use proof::Ledger;
use share::{HELD, HELPER, PUBLIC, Pieces, add_pieces, slot, sub_pieces};
use std::collections::VecDeque;
use std::marker::PhantomData;
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_core::{Claim, Cost, Seed};
use subrosa_net::{EndpointId, Session};
use subrosa_ring::{Ring, pack, packed_len, unpack};

/// One party of a protocol with vouched messages.
pub struct Vouched<R: Ring, C: Crew> {
    me: usize,
    session: Session,
    /// Of the pieces held, in their order.
    seeds: Vec<Seed>,
    /// Batches prepared so far.
    batches: u64,
    streams: Vec<Streams>,
    /// Whether the preprocessing is running.
    offline: bool,
    material: VecDeque<Material<R::Word>>,
    /// What was dealt and is still to be proven, where nobody vouches for it.
    ledger: Ledger,
    crew: PhantomData<C>,
}

impl<R: Ring, C: Crew> Vouched<R, C> {
    /// Keeps material for its turn.
    fn keep(&mut self, call: Primitive, parts: Parts<R::Word>) {
        self.material.push_back(Material { call, parts });
    }

    /// The material made for `call`. Anything else is refused before a message is sent, and
    /// nothing made so far is used afterwards.
    fn take(&mut self, call: Primitive) -> Result<Material<R::Word>, Error> {
        match self.material.pop_front() {
            Some(material) if material.call == call => Ok(material),
            Some(_) | None => {
                self.material.clear();
                Err(Error::Misuse(format!("{}: {call:?} was called, which was not prepared", C::NAME)))
            }
        }
    }

    /// The pieces of what an owner shares, from its message.
    fn input_pieces(&mut self, owner: EndpointId, parts: usize, n: usize) -> Result<Pieces<R::Word>, Error> {
        let len = cost::input_bytes::<R>(n)[self.me];
        let received = self.session.round(vec![], &[(owner, len * parts)])?;
        let message = received.first().map_or(&[] as &[u8], Vec::as_slice);
        let mut pieces = vec![Vec::with_capacity(parts * n); deal::held(self.me)];
        for part in message.chunks(len.max(1)) {
            let part = sharing::read_pieces::<R>(C::NAME, self.me, n, part);
            pieces.iter_mut().zip(part).for_each(|(piece, part)| piece.extend(part));
        }
        Ok(pieces)
    }

    fn empty(&self) -> Share<R::Word> {
        match (self.offline, self.me) {
            (true, me) => Share::masked(vec![Vec::new(); deal::held(me)]),
            (false, HELPER) => Share::absent(0),
            (false, _) => Share::opened(Vec::new()),
        }
    }
}

impl<R: Ring, C: Crew> Evaluator for Vouched<R, C> {
    type Ring = R;
    type Share = Share<R::Word>;
    type Product = Product<R::Word>;

    // x = p_0 + p_1 + p_2 as the owner deals it: less the mask, opened.
    fn input(&mut self, owner: EndpointId, parts: usize, n: usize) -> Result<Self::Share, Error> {
        let call = Primitive::Input { parts, n };
        if self.offline {
            let mask = self.mask_words(parts * n);
            let offset = if self.me == HELPER { Vec::new() } else { mask.clone() };
            self.keep(call, Parts { offset, ..Parts::default() });
            return Ok(Share::masked(mask));
        }
        let material = self.take(call)?;
        if self.me == HELPER {
            return Ok(Share::absent(parts * n));
        }
        let mut pieces = self.input_pieces(owner, parts, n)?;
        sub_pieces(&mut pieces, &material.parts.offset);
        Ok(Share::opened(self.open(pieces)?))
    }

    fn open_to(&mut self, receiver: EndpointId, parts: usize, x: &Self::Product) -> Result<(), Error> {
        let n = x.n.checked_div(parts).unwrap_or(0);
        let call = Primitive::OpenTo { parts, n };
        if x.n == 0 {
            return Ok(());
        }
        if self.offline {
            let mut offset = self.scattered(x)?;
            if self.me == HELPER {
                offset.clear();
            }
            self.keep(call, Parts { offset, ..Parts::default() });
            return Ok(());
        }
        let mut material = self.take(call)?;
        if self.me == HELPER {
            return Ok(());
        }
        let mut pieces = std::mem::take(&mut material.parts.offset);
        add_pieces(&mut pieces, &x.pieces);
        let mut message = Vec::new();
        for at in 0..parts {
            let of = |piece: &Vec<R::Word>| piece.get(at * n..(at + 1) * n).unwrap_or_default().to_vec();
            message.extend(Self::opening_message(pieces.iter().map(of).collect())?);
        }
        self.session.round(vec![(receiver, message)], &[])?;
        Ok(())
    }

    fn public(&self, values: &[R::Word]) -> Self::Share {
        let value = (self.me != HELPER).then(|| values.to_vec());
        let masks = vec![vec![R::Word::default(); values.len()]; deal::held(self.me)];
        Share::known(self.me, values.len(), value, masks)
    }

    fn to_product(&self, x: &Self::Share) -> Self::Product {
        let zeros = || vec![R::Word::default(); x.n];
        if self.me == HELPER {
            return Product { n: x.n, pieces: Vec::new(), crossed: Vec::new() };
        }
        let mut pieces: Pieces<R::Word> = match self.offline {
            true => x.masks.iter().map(|m| m.to_vec()).collect(),
            false => vec![zeros(); deal::held(self.me)],
        };
        let public = slot(self.me, PUBLIC).and_then(|at| pieces.get_mut(at));
        if let (true, Some(c), Some(piece)) = (self.offline == x.known, &x.value, public) {
            add_into(piece, c);
        }
        Product { n: x.n, pieces, crossed: Vec::new() }
    }

    fn mul(&mut self, x: &Self::Share, y: &Self::Share) -> Result<Self::Product, Error> {
        self.bilinear(Primitive::Mul { n: x.n }, Bilinear::Mul { n: x.n }, x, y)
    }

    fn matmul(
        &mut self,
        batch: usize,
        dims: MatDims,
        x: &Self::Share,
        y: &Self::Share,
    ) -> Result<Self::Product, Error> {
        let matrices = dims.matrices(y.n);
        self.bilinear(Primitive::MatMul { batch, dims, matrices }, Bilinear::MatMul { batch, dims, matrices }, x, y)
    }

    fn conv(
        &mut self,
        batch: usize,
        geometry: &ConvGeometry,
        x: &Self::Share,
        w: &Self::Share,
    ) -> Result<Self::Product, Error> {
        let geometry = *geometry;
        self.bilinear(Primitive::Conv { batch, geometry }, Bilinear::Conv { batch, geometry }, x, w)
    }

    fn reshare(&mut self, x: &Self::Product) -> Result<Self::Share, Error> {
        match x.n {
            0 => Ok(self.empty()),
            _ => self.reshare_product(x),
        }
    }

    fn trunc(&mut self, x: Source<'_, Self>, shift: u32) -> Result<Self::Share, Error> {
        match x.is_empty() {
            true => Ok(self.empty()),
            false => self.truncate(&x, shift),
        }
    }

    fn ltz(&mut self, x: &Self::Share, width: u32) -> Result<Self::Share, Error> {
        match x.n {
            0 => Ok(self.empty()),
            _ => self.sign_in_ring(x, width),
        }
    }

    fn relu(&mut self, x: &Self::Share, width: u32) -> Result<Self::Share, Error> {
        match x.n {
            0 => Ok(self.empty()),
            _ => self.rectify(x, width),
        }
    }

    fn trunc_relu(&mut self, x: Source<'_, Self>, shift: u32, width: u32) -> Result<Self::Share, Error> {
        match x.is_empty() {
            true => Ok(self.empty()),
            false => self.truncate_and_rectify(&x, shift, width),
        }
    }
}

impl<R: Ring, C: Crew> Protocol for Vouched<R, C> {
    const NAME: &'static str = C::NAME;
    const PARTIES: usize = if C::HELPED { 4 } else { 3 };
    const ONLINE: usize = 3;
    const CLAIM: Claim = C::CLAIM;
    const SOURCE: &'static str = C::SOURCE;

    fn setup(mut session: Session) -> Result<Self, Error> {
        let me = session.id();
        if me >= Self::PARTIES {
            return Err(Error::Misuse(format!("{}: endpoint {me} is none of the parties", C::NAME)));
        }
        large_blocks_stay();
        let seeds = setup::seeds::<C>(&mut session)?;
        let streams = seeds.iter().map(|seed| Streams::new(C::NAME, seed)).collect();
        Ok(Self {
            me,
            session,
            seeds,
            batches: 0,
            streams,
            offline: false,
            material: VecDeque::new(),
            ledger: Ledger::default(),
            crew: PhantomData,
        })
    }

    fn setup_cost() -> Cost {
        setup::cost::<C>()
    }

    fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    fn prepare(
        &mut self,
        demand: &[Primitive],
        rehearse: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        cost::check::<R, C>(demand)?;
        self.material.clear();
        self.batches += 1;
        // New streams a batch: keys stay short-lived and far below AES's birthday bound.
        for (streams, seed) in self.streams.iter_mut().zip(&self.seeds) {
            *streams = Streams::new(C::NAME, &seed.derive(&self.batches.to_le_bytes()));
        }
        self.ledger = Ledger::default();
        self.offline = true;
        // Nothing is used before all of it is proven.
        let rehearsed = rehearse(self).and_then(|()| self.prove());
        self.offline = false;
        rehearsed.inspect_err(|_| self.material.clear())
    }

    fn offline_cost(demand: &[Primitive]) -> Cost {
        cost::offline::<C>(demand, R::WIDTH.bits())
    }

    fn online_cost(primitive: &Primitive) -> Cost {
        cost::online::<R, C>(primitive)
    }

    fn offline_memory(demand: &[Primitive]) -> u64 {
        demand.iter().map(|call| cost::memory(call, R::WIDTH.bits())).sum()
    }

    fn deal(secret: &[R::Word]) -> Result<Vec<Vec<u8>>, Error> {
        sharing::deal_pieces::<R>(C::NAME, secret)
    }

    fn deal_kept(secret: &[R::Word]) -> Result<Vec<Vec<u8>>, Error> {
        let seeds = [Seed::random()?, Seed::random()?, Seed::random()?];
        let mut c = secret.to_vec();
        seeds.iter().for_each(|seed| sub_from(&mut c, &expand::<R, C>(seed.expose(), secret.len())));
        let c = pack(&c, R::WIDTH.bits());
        let message = |held: &&[usize]| -> Vec<u8> {
            let mut message: Vec<u8> =
                held.iter().filter_map(|&p| seeds.get(p)).flat_map(|seed| *seed.expose()).collect();
            if held.len() < HELPER {
                message.extend(&c);
            }
            message
        };
        Ok(HELD[..Self::PARTIES].iter().map(message).collect())
    }

    fn dealt_bytes(party: usize, n: usize) -> usize {
        let c = if party == HELPER { 0 } else { packed_len(n, R::WIDTH.bits()) };
        deal::held(party) * SEED_BYTES + c
    }

    fn dealt(&self, n: usize, message: &[u8]) -> Self::Share {
        let (seeds, c) = message.split_at_checked(deal::held(self.me) * SEED_BYTES).unwrap_or((&[], &[]));
        let masks = seeds.as_chunks().0.iter().map(|seed| expand::<R, C>(seed, n)).collect();
        Share::known(self.me, n, (self.me != HELPER).then(|| unpack(c, R::WIDTH.bits(), n)), masks)
    }

    fn opening_bytes(n: usize) -> usize {
        packed_len(n, R::WIDTH.bits()) + vouch::DIGEST
    }

    fn reconstruct(n: usize, messages: &[Vec<u8>]) -> Result<Vec<R::Word>, Contradiction> {
        sharing::open_pieces::<R>(n, messages)
    }
}

/// What a dealt seed stands for. A fresh seed a vector.
fn expand<R: Ring, C: Crew>(seed: &[u8; SEED_BYTES], n: usize) -> Vec<R::Word> {
    sharing::expand(C::NAME, seed, n)
}
