//! Bits: all ANDs of a prover at once, in messages of logarithmic length.
//!
//! A proof of an inner product between what two verifiers know, folded again and again, after
//! Boneh, Boyle, Corrigan-Gibbs, Gilboa, Ishai, <https://eprint.iacr.org/2019/188>, as it is applied
//! to three parties by Boyle, Gilboa, Ishai, Nof, <https://eprint.iacr.org/2019/1390>. A word of 64
//! bits is an element of the field of 2^64 elements ([`subrosa_ring::gf64`]); the equations of word
//! `w` are weighed with a random `alpha_w`, bit `l` with `X^l`, so that any error in it shows in
//! the sum but with probability 2^-64. The sum is
//!
//! ```text
//! sum_w alpha_w (z_w + r_w + x_a y_a)  =  <u, v>,   u = alpha_w X^l (x_a, y_a),  v = (y_b, x_b)
//! ```
//!
//! of which the second verifier has the part of `z` and all of `v`, the first one the rest and all
//! of `u`. **Folding:** `u` is cut into slices `u_s` and `v` into `v_s`, as many. The polynomial `g(X) =
//! <sum_s X^s u_s, sum_s X^(m-1-s) v_s>` has `<u, v>` as its coefficient number `m - 1`; the prover
//! splits the others between the verifiers, a challenge `t` is drawn, and what is left to show
//! is that `g(t)` is the product of the two sums at `t`, which are shorter by a factor of `m`. A
//! wrong `<u, v>` stays wrong but with probability `(2m - 2) / 2^64`.
//!
//! **The end:** with a mask of the first verifier and the prover, the latter splits `<mask, v>`; a
//! last challenge `t` is drawn; the first tells the second `mask + t u` and its part of `<mask + t u,
//! v>`, and the prover vouches for both.
//!
//! All in all a wrong AND passes with probability below 2^-56 (at most ten foldings).

use super::{Crew, Layer, Vouched, challenge_cost};
use crate::Error;
use crate::vouched::share::{next, previous};
use crate::vouched::vouch::{DIGEST, digest};
use subrosa_core::{Cost, Seed};
use subrosa_ring::bits::{and_assign, and_xor_assign, xor_assign};
use subrosa_ring::{Ring, gf64};
use zeroize::Zeroize;

/// Slices of the first folding, of bits.
const FIRST: usize = 32;
/// Slices of the others.
const EACH: usize = 8;
/// What is left at the end has at most so many elements.
const LAST: usize = 128;
/// Words that all slices are gone through at once, so that they stay in the cache.
const BLOCK: usize = 128;
/// Bytes of an element.
const ELEMENT: usize = 8;
/// Of three claims: this party's parts of a polynomial, and the prover.
type Parts = [(Vec<u64>, usize); 3];

/// The place of the piece that is `b` in a party's own terms, and of that which is `a`.
const B: usize = 0;
const A: usize = 1;

/// One factor of each side, all layers one after another, cut into slices of equal length.
struct Planes {
    words: [Vec<u64>; 2],
    slice: usize,
}

impl Planes {
    /// Of the piece at `place`: `(x, y)` where it is the prover's `a`, else `(y, x)`.
    fn new(layers: &[Layer], slice: usize, place: usize, as_a: bool) -> Self {
        let words = [0, 1].map(|factor| {
            let mut all = Vec::with_capacity(FIRST * slice);
            for layer in layers {
                let (x, y) = (layer.x[place].as_slice(), layer.y[place].as_slice());
                // Of a majority the first factor counts on one side, the second one on the other.
                let factors = match (layer.majority, as_a) {
                    (false, true) => [Some(x), Some(y)],
                    (false, false) => [Some(y), Some(x)],
                    (true, _) => [Some(x), None],
                };
                match factors[factor] {
                    Some(words) => all.extend_from_slice(words),
                    None => all.resize(all.len() + layer.x[0].len(), 0),
                }
            }
            all.resize(FIRST * slice, 0);
            all
        });
        Self { words, slice }
    }

    fn slice(&self, factor: usize, s: usize) -> &[u64] {
        self.words[factor].get(s * self.slice..(s + 1) * self.slice).unwrap_or(&[])
    }

    /// The slices bit by bit, each word of a slice times its own element, added up: two elements a
    /// bit, one a factor.
    fn folded(&self, by: &[u64]) -> Vec<u64> {
        let factor = |words: &Vec<u64>| gf64::sums_where_set(self.slice, by, words);
        self.words.iter().flat_map(factor).collect()
    }
}

impl Drop for Planes {
    fn drop(&mut self) {
        self.words.zeroize();
    }
}

/// What one of the three has of one prover's claim: the vectors it knows and its part of the sum.
#[derive(Default)]
struct Claim {
    u: Vec<u64>,
    v: Vec<u64>,
    part: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.u.zeroize();
        self.v.zeroize();
        self.part.zeroize();
    }
}

impl Claim {
    /// The coefficients of `g`.
    fn coefficients(&self) -> Vec<u64> {
        let slice = self.u.len().div_ceil(EACH).max(1);
        let mut g = vec![0; 2 * EACH - 1];
        let part = |x: &'_ [u64], i: usize, start: usize| -> std::ops::Range<usize> {
            let end = (i * slice + (start + BLOCK).min(slice)).min(x.len());
            (i * slice + start).min(end)..end
        };
        for start in (0..slice).step_by(BLOCK) {
            for (s, t) in (0..EACH).flat_map(|s| (0..EACH).map(move |t| (s, t))) {
                let (u, v) = (part(&self.u, s, start), part(&self.v, t, start));
                g[s + EACH - 1 - t] ^= gf64::dot(&self.u[u], &self.v[v]);
            }
        }
        g
    }

    /// Goes on with the sums at `t`.
    fn fold(&mut self, t: u64) {
        let powers = powers(t, EACH);
        let backwards: Vec<u64> = powers.iter().rev().copied().collect();
        let fold = |x: &mut Vec<u64>, by: &[u64]| {
            let slice = x.len().div_ceil(EACH).max(1);
            let mut sums = vec![0; if x.is_empty() { 0 } else { slice }];
            x.chunks(slice).zip(by).for_each(|(x, &by)| gf64::add_scaled(&mut sums, by, x));
            x.zeroize();
            *x = sums;
        };
        fold(&mut self.u, &powers);
        fold(&mut self.v, &backwards);
    }

    /// The part of `g(t)`, from those of the coefficients but the middle one.
    fn evaluate(&mut self, others: &[u64], t: u64) {
        let middle = others.len() / 2;
        let mut all = others.to_vec();
        all.insert(middle, self.part);
        self.part = gf64::dot(&all, &powers(t, all.len()));
    }
}

/// The polynomial's coefficients without the middle one, which is the sum itself.
fn without_middle(mut g: Vec<u64>) -> Vec<u64> {
    g.remove(g.len() / 2);
    g
}

/// `1, t, t^2, ...`
fn powers(t: u64, n: usize) -> Vec<u64> {
    std::iter::successors(Some(1), |&power| Some(gf64::mul(power, t))).take(n).collect()
}

fn element(seed: &Seed) -> u64 {
    seed.stream("element").u64s(1).first().copied().unwrap_or_default()
}

fn bytes(elements: &[u64]) -> Vec<u8> {
    elements.iter().flat_map(|e| e.to_le_bytes()).collect()
}

fn elements(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|&e| u64::from_le_bytes(e)).collect()
}

impl<R: Ring, C: Crew> Vouched<R, C> {
    /// Proves the ANDs of these layers to each other.
    pub(super) fn prove_bits(&mut self, layers: Vec<Layer>) -> Result<(), Error> {
        let (me, ahead, behind) = (self.me, next(self.me), previous(self.me));
        let slice = layers.iter().map(|layer| layer.x[0].len()).sum::<usize>().div_ceil(FIRST);
        let (own_u, own_v) = (Planes::new(&layers, slice, A, true), Planes::new(&layers, slice, B, false));
        let (first_u, second_v) = (Planes::new(&layers, slice, B, true), Planes::new(&layers, slice, A, false));
        let seeds = self.challenges()?;
        let alphas = [me, ahead, behind].map(|prover| seeds[prover].stream("factors of words").u64s(FIRST * slice));
        let mut claims = [Claim::default(), Claim::default(), Claim::default()];
        // This party's own as its first verifier sees it, whom it has to vouch for.
        claims[0].part = first_part(&layers, A, &alphas[0]);
        claims[1].part = first_part(&layers, B, &alphas[1]);
        claims[2].part = second_part(&layers, &alphas[2]);

        let g = first_coefficients(&own_u, &own_v, &alphas[0]);
        let (others, t) = self.split(without_middle(g))?;
        for (claim, others) in claims.iter_mut().zip(&others) {
            claim.evaluate(&others.0, t[others.1]);
        }
        let u = |planes: &Planes, alpha: &[u64], t: u64| {
            let by = powers(t, FIRST).into_iter().zip(alpha.chunks(slice.max(1)));
            let by: Vec<u64> = by.flat_map(|(power, alpha)| scaled(alpha, power)).collect();
            let mut u = planes.folded(&by);
            let places: Vec<u64> = (0..64).map(|l| 1 << l).collect();
            u.chunks_mut(64).for_each(|lanes| gf64::products(lanes, &places));
            u
        };
        let v = |planes: &Planes, t: u64| {
            let by = powers(t, FIRST).into_iter().rev().flat_map(|power| vec![power; slice]);
            planes.folded(&by.collect::<Vec<_>>())
        };
        claims[0].u = u(&own_u, &alphas[0], t[me]);
        claims[0].v = v(&own_v, t[me]);
        claims[1].u = u(&first_u, &alphas[1], t[ahead]);
        claims[2].v = v(&second_v, t[behind]);
        drop((own_u, own_v, first_u, second_v));
        drop(layers);
        while claims[0].u.len() > LAST {
            let (others, t) = self.split(without_middle(claims[0].coefficients()))?;
            for (claim, others) in claims.iter_mut().zip(&others) {
                claim.evaluate(&others.0, t[others.1]);
                claim.fold(t[others.1]);
            }
        }
        self.last(claims)
    }

    /// Splits the coefficients between the two verifiers, and draws challenges. Returns this party's
    /// parts, for its own claim (as its first verifier has them), that of the party ahead, that of
    /// the party behind, each with the prover; and the challenges by prover. Two rounds.
    fn split(&mut self, mut g: Vec<u64>) -> Result<(Parts, [u64; 3]), Error> {
        let (me, ahead, behind) = (self.me, next(self.me), previous(self.me));
        let n = g.len();
        let (own, first) = (self.proof_elements(A, n), self.proof_elements(B, n));
        xor_assign(&mut g, &own);
        let second = elements(&self.pass_on(bytes(&g), ELEMENT * n)?);
        let t = self.challenges()?.map(|seed| element(&seed));
        Ok(([(own, me), (first, ahead), (second, behind)], t))
    }

    /// Shows what is left.
    fn last(&mut self, claims: [Claim; 3]) -> Result<(), Error> {
        let (me, ahead, behind) = (self.me, next(self.me), previous(self.me));
        let [own, first, second] = &claims;
        let n = own.u.len();
        let (mut own_mask, own_part) = (self.proof_elements(A, n), self.proof_elements(A, 1));
        let (mut first_mask, first_part) = (self.proof_elements(B, n), self.proof_elements(B, 1));
        let mut product = [gf64::dot(&own_mask, &own.v)];
        xor_assign(&mut product, &own_part);
        let second_part = elements(&self.pass_on(bytes(&product), ELEMENT)?);
        let t = self.challenges()?.map(|seed| element(&seed));
        let told = |mask: &mut Vec<u64>, claim: &Claim, part: &[u64], t: u64| -> Vec<u8> {
            gf64::add_scaled(mask, t, &claim.u);
            mask.push(part.first().copied().unwrap_or_default() ^ gf64::mul(t, claim.part));
            bytes(mask)
        };
        let vouched = digest(&told(&mut own_mask, own, &own_part, t[me])).to_vec();
        let sends = vec![(ahead, vouched), (behind, told(&mut first_mask, first, &first_part, t[ahead]))];
        let received = self.session.round(sends, &[(ahead, ELEMENT * (n + 1)), (behind, DIGEST)])?;
        let (told, vouched) = (received.first().cloned().unwrap_or_default(), received.get(1));
        if vouched.map(Vec::as_slice) != Some(&digest(&told)[..]) {
            return Err(self.accuse(ahead, behind));
        }
        let told = elements(&told);
        let (u, part) = told.split_at_checked(n).unwrap_or_default();
        let parts = part.iter().chain(&second_part).fold(0, |sum, part| sum ^ part);
        match gf64::dot(u, &second.v) == parts ^ gf64::mul(t[behind], second.part) {
            true => Ok(()),
            false => Err(self.accuse(behind, me)),
        }
    }

    /// The next `n` elements that hide a proof, of the piece at `place`.
    fn proof_elements(&mut self, place: usize, n: usize) -> Vec<u64> {
        self.streams.get_mut(place).map_or_else(Vec::new, |streams| streams.proof[0].u64s(n))
    }
}

/// The coefficients of the first folding.
fn first_coefficients(u: &Planes, v: &Planes, alpha: &[u64]) -> Vec<u64> {
    let mut g = vec![0; 2 * FIRST - 1];
    let mut products = [0; BLOCK];
    for start in (0..u.slice).step_by(BLOCK) {
        let block = start..(start + BLOCK).min(u.slice);
        for (s, alpha) in alpha.chunks(u.slice.max(1)).enumerate() {
            for t in 0..FIRST {
                products.fill(0);
                for factor in 0..2 {
                    and_xor_assign(
                        &mut products,
                        &u.slice(factor, s)[block.clone()],
                        &v.slice(factor, t)[block.clone()],
                    );
                }
                g[s + FIRST - 1 - t] ^= gf64::dot(&alpha[block.clone()], &products);
            }
        }
    }
    products.zeroize();
    g
}

/// The first verifier's part of the sum: of what was drawn, and of `x_a y_a`. The piece `a` is
/// at `place`.
fn first_part(layers: &[Layer], place: usize, alpha: &[u64]) -> u64 {
    weighed(layers, alpha, |layer| {
        let mut known = layer.drawn[place].clone();
        if !layer.majority {
            let mut product = layer.x[place].clone();
            and_assign(&mut product, &layer.y[place]);
            xor_assign(&mut known, &product);
        }
        known
    })
}

/// The second verifier's part of the sum: of corrections.
fn second_part(layers: &[Layer], alpha: &[u64]) -> u64 {
    weighed(layers, alpha, |layer| layer.received.clone())
}

fn weighed(layers: &[Layer], mut alpha: &[u64], of: impl Fn(&Layer) -> Vec<u64>) -> u64 {
    let mut sum = 0;
    for layer in layers {
        let mut words = of(layer);
        let (now, later) = alpha.split_at_checked(layer.x[0].len()).unwrap_or((alpha, &[]));
        alpha = later;
        sum ^= gf64::dot(now, &words);
        words.zeroize();
    }
    sum
}

/// Declared cost of [`Vouched::prove_bits`] on so many words.
pub(super) fn cost(words: usize) -> Cost {
    let split = |slices: usize| Cost::messages(3, (ELEMENT * (2 * slices - 2)) as u64) + challenge_cost();
    let mut left = 2 * 64 * words.div_ceil(FIRST);
    let mut cost = challenge_cost() + split(FIRST);
    while left > LAST {
        left = left.div_ceil(EACH);
        cost += split(EACH);
    }
    cost + Cost::messages(3, ELEMENT as u64)
        + challenge_cost()
        + Cost::round([(ELEMENT * (left + 1)) as u64, DIGEST as u64].repeat(3))
}

fn scaled(x: &[u64], by: u64) -> Vec<u64> {
    let mut sums = vec![0; x.len()];
    gf64::add_scaled(&mut sums, by, x);
    sums
}
