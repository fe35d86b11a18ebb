//! Words: products over Z_2^k that are dealt and proven modulo 2^(k + s).
//!
//! Pieces are integers below 2^k, and both who hold one know the integer. So a term is a number
//! modulo 2^(k + s) that the prover can compute, and its correction is sent in all k + s bits; the
//! protocol uses the low k. Equations modulo 2^(k + s) are weighed with random factors of s bits
//! and added up, after SPDZ2k, Cramer, Damgård, Escudero, Scholl, Xing,
//! <https://eprint.iacr.org/2018/482>: an error that is not 0 modulo 2^k is 0 in such a sum with
//! probability 2^-s at most. Of matrix products and convolutions, result `(i, j)` is weighed with
//! `alpha_i beta_j`, so that what is left is one short inner product: Freivalds' check. There the
//! probability is below (s + 2) 2^-(s + 1).
//!
//! What is left to show, for one prover, is a sum of products of what its first and its second
//! verifier know, `<u_1, v_1> + <u_2, v_2>`, where `u_1` and `v_2` are made of left operands with
//! `alpha`, `v_1` and `u_2` of right ones with `beta`:
//!
//! 1. `beta` is drawn. `v_1`, `u_2` are fixed.
//! 2. With fresh masks `m_1` (of the first verifier and the prover) and `m_2` (of the second and the
//!    prover), the prover splits `<m_1, v_1> + <u_2, m_2>` between the two.
//! 3. `alpha` is drawn. `u_1`, `v_2` are fixed.
//! 4. The first tells the second `u_1 + m_1`, the second the first `v_2 + m_2`. The prover knows
//!    both and vouches for them.
//! 5. Now each can compute its part of a sum that is zero if the prover was right. The first tells
//!    the second its part, and the prover vouches for it.
//!
//! What the prover got wrong in step 2 was fixed before `alpha`, so that it cannot make up for an
//! error. This takes the place of a second, sacrificed product (Furukawa, Lindell, Nof, Weinstein,
//! <https://eprint.iacr.org/2016/944>): the masks are known to the prover, so nothing but their inner
//! product has to be dealt.

use super::wide::{
    self, Wide, factors, grid, inner_product, integers, left, pack_wide, right, unpack_wide, weigh, wide_bytes,
    wide_mask, wide_words,
};
use super::{Crew, Vouched, challenge_cost};
use crate::Error;
use crate::vouched::bilinear::Bilinear;
use crate::vouched::deal::Factors;
use crate::vouched::share::{Pieces, next, previous, slot};
use crate::vouched::vouch::{DIGEST, digest};
use subrosa_core::{Cost, Seed};
use subrosa_ring::{Ring, Word};
use zeroize::Zeroize;

/// A product that was dealt, at one party.
pub(in crate::vouched) struct Dealt {
    map: Bilinear,
    from: &'static [usize],
    supports: [[bool; 3]; 2],
    /// The factors as integers, by piece held, where not zero.
    x: [Option<Vec<u64>>; 2],
    y: [Option<Vec<u64>>; 2],
    /// By piece held: what was drawn of it. Empty where nothing was.
    drawn: [Vec<Wide>; 2],
    /// The previous party's correction.
    received: Vec<Wide>,
}

impl Drop for Dealt {
    fn drop(&mut self) {
        self.x.zeroize();
        self.y.zeroize();
        self.drawn.zeroize();
        self.received.zeroize();
    }
}

/// The place of the piece that is `b` in a party's own terms, and of that which is `a`.
const B: usize = 0;
const A: usize = 1;

/// Which of `x_a y_b` and `x_b y_a` party `p` has, for factors with these pieces.
pub(super) fn terms(p: usize, supports: [[bool; 3]; 2]) -> [bool; 2] {
    let [x, y] = supports;
    let (a, b) = (next(p), previous(p));
    [x[a] && y[b], x[b] && y[a]]
}

/// A verifier's or the prover's vectors: `<u_1, v_1>` and `<u_2, v_2>`.
#[derive(Default)]
struct Sides {
    /// Of what is known by the piece `a`.
    u: [Vec<Wide>; 2],
    /// Of what is known by the piece `b`.
    v: [Vec<Wide>; 2],
}

impl Drop for Sides {
    fn drop(&mut self) {
        self.u.zeroize();
        self.v.zeroize();
    }
}

/// One prover's terms, as one of the three sees them.
struct View<'a> {
    prover: usize,
    /// The places of its pieces `a` and `b` here.
    a: Option<usize>,
    b: Option<usize>,
    dealt: Vec<(&'a Dealt, [bool; 2])>,
}

/// Random factors of all rows, or columns, product after product.
struct Weights(Vec<Vec<u64>>);

impl View<'_> {
    fn rows(&self, seed: &Seed) -> Weights {
        let mut prg = seed.stream("factors of rows");
        Weights(self.dealt.iter().map(|(d, _)| factors(&mut prg, grid(&d.map).0)).collect())
    }

    fn columns(&self, seed: &Seed) -> Weights {
        let mut prg = seed.stream("factors of columns");
        Weights(self.dealt.iter().map(|(d, _)| factors(&mut prg, grid(&d.map).1)).collect())
    }

    /// One of the four vectors: `make`, of a piece of one factor of each product.
    fn vector(
        &self,
        term: usize,
        piece: Option<usize>,
        factor: impl Fn(&Dealt) -> &[Option<Vec<u64>>; 2],
        weights: &Weights,
        make: fn(&Bilinear, &[u64], &[u64]) -> Vec<Wide>,
    ) -> Vec<Wide> {
        let Some(piece) = piece else { return Vec::new() };
        let each = |((dealt, terms), weights): (&(&Dealt, [bool; 2]), &Vec<u64>)| {
            let of = factor(dealt)[piece].as_ref().filter(|_| terms[term])?;
            Some(make(&dealt.map, of, weights))
        };
        self.dealt.iter().zip(&weights.0).filter_map(each).flatten().collect()
    }

    /// The sum over all products of weighed results: of corrections, or of what was drawn.
    fn weighed<'d>(&'d self, z: impl Fn(&'d Dealt) -> &'d [Wide], rows: &Weights, columns: &Weights) -> Wide {
        let each = self.dealt.iter().zip(rows.0.iter().zip(&columns.0));
        each.fold(0, |sum: Wide, ((d, _), (rows, columns))| sum.wrapping_add(weigh(&d.map, rows, columns, z(d))))
    }

    /// Of `x_a y_a`, which the first verifier and the prover know.
    fn own_products(&self, rows: &Weights, columns: &Weights) -> Wide {
        let Some(a) = self.a else { return 0 };
        let each = self.dealt.iter().zip(rows.0.iter().zip(&columns.0));
        each.fold(0, |sum: Wide, ((d, _), (rows, columns))| match (&d.x[a], &d.y[a]) {
            (Some(x), Some(y)) => sum.wrapping_add(inner_product(&left(&d.map, x, rows), &right(&d.map, y, columns))),
            (_, _) => sum,
        })
    }
}

impl<R: Ring, C: Crew> Vouched<R, C> {
    /// Products in pieces, for which nobody vouches. One round.
    pub(in crate::vouched) fn multiply_unvouched(
        &mut self,
        all: Vec<Factors<R::Word>>,
    ) -> Result<Vec<Pieces<R::Word>>, Error> {
        let (me, k) = (self.me, R::WIDTH.bits());
        let (mut message, mut due) = (Vec::new(), 0);
        let mut results: Vec<Pieces<R::Word>> = Vec::with_capacity(all.len());
        let mut noted = Vec::with_capacity(all.len());
        for factors in &all {
            let n = factors.map.outputs();
            let of = |x: &[Option<std::sync::Arc<Vec<R::Word>>>]| {
                [B, A].map(|at| x.get(at).and_then(Option::as_deref).map(|x| integers(x, k)))
            };
            let mut dealt = Dealt {
                map: factors.map,
                from: factors.from,
                supports: factors.supports,
                x: of(&factors.x),
                y: of(&factors.y),
                drawn: Default::default(),
                received: Vec::new(),
            };
            let mut pieces = vec![vec![R::Word::default(); n]; 2];
            for &party in factors.from {
                if me == next(party) {
                    due += n * wide_bytes(k);
                }
                let Some(at) = slot(me, next(party)) else { continue };
                let Some(streams) = self.streams.get_mut(at) else { continue };
                let drawn = wide_words(&mut streams.dealt, n, k);
                add_low(&mut pieces[at], &drawn);
                if me == party {
                    let mut correction = term(&dealt, k);
                    correction.iter_mut().zip(&drawn).for_each(|(z, r)| *z = z.wrapping_sub(*r) & wide_mask(k));
                    message.extend(pack_wide(&correction, k));
                    add_low(&mut pieces[B], &correction);
                }
                dealt.drawn[at] = drawn;
            }
            results.push(pieces);
            noted.push(dealt);
        }
        let received = self.pass_on(message, due)?;
        let mut rest = received.as_slice();
        for ((factors, mut dealt), pieces) in all.iter().zip(noted).zip(&mut results) {
            if factors.from.contains(&previous(me)) {
                let (now, later) = rest.split_at_checked(factors.map.outputs() * wide_bytes(k)).unwrap_or((rest, &[]));
                rest = later;
                dealt.received = unpack_wide(now, k);
                // Its piece `b` is `a` here.
                add_low(&mut pieces[A], &dealt.received);
            }
            self.ledger.product(factors, dealt);
        }
        self.prove_if_much()?;
        Ok(results)
    }

    /// Proves the terms of all products to each other.
    pub(super) fn prove_words(&mut self, dealt: Vec<Dealt>) -> Result<(), Error> {
        let (me, k) = (self.me, R::WIDTH.bits());
        let (ahead, behind) = (next(me), previous(me));
        let view = |prover: usize| View {
            prover,
            a: slot(me, next(prover)),
            b: slot(me, previous(prover)),
            dealt: (dealt.iter().filter(|d| d.from.contains(&prover)))
                .map(|d| (d, terms(prover, d.supports)))
                .collect(),
        };
        // What this party proves, and that of which it is the first and the second verifier.
        let [own, first, second] = [me, ahead, behind].map(view);
        let views = [&own, &first, &second];
        let seeds = self.challenges()?;
        let columns = views.map(|view| view.columns(&seeds[view.prover]));
        let sides = |view: &View<'_>, columns: &Weights| Sides {
            u: [Vec::new(), view.vector(1, view.a, |d| &d.y, columns, right)],
            v: [view.vector(0, view.b, |d| &d.y, columns, right), Vec::new()],
        };
        let [mut mine, mut ahead_of, mut behind_of] =
            [sides(&own, &columns[0]), sides(&first, &columns[1]), sides(&second, &columns[2])];

        // The masks: m_1 of piece a, m_2 of piece b.
        let [told_mine, told_first, told_second] = views.map(|view| lengths(&view.dealt));
        let mut masks = |place: usize, way: usize, n: usize| -> Vec<Wide> {
            self.streams.get_mut(place).map_or_else(Vec::new, |s| wide_words(&mut s.proof[way], n, k))
        };
        let (mut m_1, mut m_2) = (masks(A, 0, told_mine[0]), masks(B, 1, told_mine[1]));
        let own_part = masks(A, 0, 1).first().copied().unwrap_or_default();
        let (mut first_mask, mut second_mask) = (masks(B, 0, told_first[0]), masks(A, 1, told_second[1]));
        let first_part = masks(B, 0, 1).first().copied().unwrap_or_default();
        let product = inner_product(&m_1, &mine.v[0]).wrapping_add(inner_product(&mine.u[1], &m_2));
        let sent = pack_wide(&[product.wrapping_sub(own_part) & wide_mask(k)], k);
        let second_part = unpack_wide(&self.pass_on(sent, wide_bytes(k))?, k).first().copied().unwrap_or_default();

        let seeds = self.challenges()?;
        let rows = views.map(|view| view.rows(&seeds[view.prover]));
        mine.u[0] = own.vector(0, own.a, |d| &d.x, &rows[0], left);
        mine.v[1] = own.vector(1, own.b, |d| &d.x, &rows[0], left);
        ahead_of.u[0] = first.vector(0, first.a, |d| &d.x, &rows[1], left);
        behind_of.v[1] = second.vector(1, second.b, |d| &d.x, &rows[2], left);
        let hidden = |x: &[Wide], mask: &mut Vec<Wide>| -> Vec<Wide> {
            let sum = x.iter().zip(mask.iter()).map(|(x, m)| x.wrapping_add(*m) & wide_mask(k)).collect();
            mask.zeroize();
            sum
        };
        let (own_u, own_v) = (hidden(&mine.u[0], &mut m_1), hidden(&mine.v[1], &mut m_2));
        let (first_u, second_v) = (hidden(&ahead_of.u[0], &mut first_mask), hidden(&behind_of.v[1], &mut second_mask));
        let vouched = |told: &[Wide]| digest(&pack_wide(told, k)).to_vec();
        // As the second verifier of the party behind, and vouching as a prover.
        let forward = [vouched(&own_u), pack_wide(&second_v, k)].concat();
        let back = [vouched(&own_v), pack_wide(&first_u, k)].concat();
        let lens = [(ahead, DIGEST + told_second[0] * wide_bytes(k)), (behind, DIGEST + told_first[1] * wide_bytes(k))];
        let received = self.session.round(vec![(ahead, forward), (behind, back)], &lens)?;
        let mut parts = received.iter().map(|m| m.split_at_checked(DIGEST).unwrap_or_default());
        let (from_ahead, from_behind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if digest(from_ahead.1) != from_behind.0 {
            return Err(self.accuse(ahead, behind));
        }
        if digest(from_behind.1) != from_ahead.0 {
            return Err(self.accuse(behind, ahead));
        }
        let (told_u, told_v) = (unpack_wide(from_ahead.1, k), unpack_wide(from_behind.1, k));

        // The parts of the sum that is zero.
        let of_first = |view: &View<'_>, i: usize, place: usize, u_2: &[Wide], v_2: &[Wide], part: Wide| -> Wide {
            let drawn = view.weighed(|d| &d.drawn[place], &rows[i], &columns[i]);
            let known = view.own_products(&rows[i], &columns[i]).wrapping_add(inner_product(u_2, v_2));
            drawn.wrapping_sub(known).wrapping_add(part) & wide_mask(k)
        };
        let own_sum = of_first(&own, 0, A, &mine.u[1], &own_v, own_part);
        let first_sum = of_first(&first, 1, B, &ahead_of.u[1], &told_v, first_part);
        let corrections = second.weighed(|d| &d.received, &rows[2], &columns[2]);
        let second_sum = corrections.wrapping_sub(inner_product(&told_u, &behind_of.v[0])).wrapping_add(second_part);
        let sends = vec![(ahead, vouched(&[own_sum])), (behind, pack_wide(&[first_sum], k))];
        let received = self.session.round(sends, &[(ahead, wide_bytes(k)), (behind, DIGEST)])?;
        let (told, vouched) = (received.first().cloned().unwrap_or_default(), received.get(1));
        if vouched.map(Vec::as_slice) != Some(&digest(&told)[..]) {
            return Err(self.accuse(ahead, behind));
        }
        let told = unpack_wide(&told, k).first().copied().unwrap_or_default();
        match told.wrapping_add(second_sum) & wide_mask(k) {
            0 => Ok(()),
            _ => Err(self.accuse(behind, me)),
        }
    }
}

/// Lengths of what the verifiers tell each other.
fn lengths(dealt: &[(&Dealt, [bool; 2])]) -> [usize; 2] {
    [0, 1].map(|term| dealt.iter().filter(|(_, terms)| terms[term]).map(|(d, _)| wide::inner(&d.map)).sum())
}

/// This party's term: `x_a (y_a + y_b) + x_b y_a`.
fn term(dealt: &Dealt, k: u32) -> Vec<Wide> {
    let mut z = vec![0; dealt.map.outputs()];
    let Dealt { map, x, y, .. } = dealt;
    let wide = |y: &[u64]| y.iter().copied().map(Wide::from).collect::<Vec<_>>();
    if let Some(x_a) = &x[A] {
        let both = match (&y[A], &y[B]) {
            (Some(y_a), Some(y_b)) => Some(y_a.iter().zip(y_b).map(|(&a, &b)| Wide::from(a) + Wide::from(b)).collect()),
            (Some(y), None) | (None, Some(y)) => Some(wide(y)),
            (None, None) => None,
        };
        if let Some(both) = both {
            wide::add(map, k, x_a, &both, &mut z);
        }
    }
    if let (Some(x_b), Some(y_a)) = (&x[B], &y[A]) {
        wide::add(map, k, x_b, &wide(y_a), &mut z);
    }
    z
}

fn add_low<W: Word>(piece: &mut [W], by: &[Wide]) {
    piece.iter_mut().zip(by).for_each(|(piece, &by)| *piece = piece.add(W::from_u64(by as u64)));
}

/// Declared cost of dealing products: results of each party of `from`, by product.
pub(in crate::vouched) fn dealing_cost(k: u32, of: &[usize; 3]) -> Cost {
    Cost::round(of.iter().filter(|&&n| n > 0).map(|&n| (n * wide_bytes(k)) as u64))
}

/// Declared cost of [`Vouched::prove_words`], from what the verifiers of each prover tell each
/// other.
pub(super) fn cost(k: u32, told: [[usize; 2]; 3]) -> Cost {
    let word = wide_bytes(k);
    let told = told.iter().flatten().map(|n| (n * word + DIGEST) as u64);
    challenge_cost()
        + Cost::messages(3, word as u64)
        + challenge_cost()
        + Cost::round(told)
        + Cost::round([word as u64, DIGEST as u64].repeat(3))
}
