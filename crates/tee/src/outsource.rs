//! Linear layers computed by a worker that is not trusted, checked and, if wished, blinded.
//!
//! Values are fixed-point integers in GF(p), p = 2^61 - 1. For Y = W X the checker keeps a
//! secret row r and the row r W, and compares r Y with (r W) X: a wrong Y passes with
//! probability 1/p, over all checks with one r at most their number over p (Freivalds). A
//! mask U, uniform in the field and used for one batch, hides X: the worker sees X + U, and
//! W U is subtracted from what it sends. Checking costs one row times X in place of W times
//! X. It works without trusted hardware too, as a checker of plain outsourced inference.
//!
//! What is secret decides on no branch and no index; whether values are refused as too large is told.
//!
//! The worker knows W, and the shape and the number of batches; with a mask nothing else.
//!
//! **Source:** Tramèr and Boneh, "Slalom", §3, <https://arxiv.org/abs/1806.03287>. **Differs:**
//! the prime is larger, so one check is enough.

use crate::error::Error;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The prime 2^61 - 1.
pub const PRIME: u64 = (1 << 61) - 1;

/// The weights of a linear layer, known to both sides: `[rows, columns]`, row after row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    rows: usize,
    columns: usize,
    weights: Vec<u64>,
    /// The largest sum of absolute weights of a row.
    gain: u64,
    name: Name,
}

/// SHA-256 of shape and weights: what was made for one layer serves no other.
type Name = [u8; 32];

impl Layer {
    /// From integers.
    ///
    /// **Errors:** [`Error::Outsourced`] if they are not `rows` times `columns`, or a row's
    /// absolute values sum to p / 2 or more.
    pub fn new(rows: usize, columns: usize, weights: &[i64]) -> Result<Self, Error> {
        let shape = Error::Outsourced("the weights are not rows times columns, of at least one each");
        if rows == 0 || columns == 0 || rows.checked_mul(columns) != Some(weights.len()) {
            return Err(shape);
        }
        let sum = |row: &[i64]| row.iter().try_fold(0u64, |sum, w| sum.checked_add(w.unsigned_abs()));
        let gain = weights.chunks_exact(columns).map(sum).try_fold(0, |most, sum| Some(sum?.max(most)));
        let gain = gain.filter(|gain| *gain < PRIME / 2);
        let gain = gain.ok_or(Error::Outsourced("the weights are too large for the field"))?;
        let weights: Vec<u64> = weights.iter().map(|w| embed(*w)).collect();
        let mut name = Sha256::new().chain_update((rows as u64).to_le_bytes());
        weights.iter().for_each(|w| name.update(w.to_le_bytes()));
        Ok(Self { rows, columns, gain, name: name.finalize().into(), weights })
    }

    /// What the worker computes: W X of `[columns, batch]`, giving `[rows, batch]`.
    ///
    /// **Errors:** [`Error::Outsourced`] if X is not `columns` rows of numbers below p, or the result does not fit
    /// this machine's memory.
    pub fn apply(&self, x: &[u64]) -> Result<Vec<u64>, Error> {
        let batch = self.batch(x, self.columns)?;
        let mut y = room(self.rows.checked_mul(batch))?;
        self.weights.chunks_exact(self.columns).for_each(|row| y.extend(combine(row, x, batch)));
        Ok(y)
    }

    /// A checker of this layer's products, with a secret of its own.
    ///
    /// **Errors:** [`Error::Random`].
    pub fn checker(&self) -> Result<Checker, Error> {
        let row = random(self.rows)?;
        let product = Zeroizing::new(combine(&row, &self.weights, self.columns));
        Ok(Checker { row, product, layer: self.name })
    }

    /// A mask for one batch. It costs as much as the layer itself, before the input is there.
    ///
    /// **Errors:** [`Error::Random`]; [`Error::Outsourced`] for a batch of nothing, or one that does not fit this
    /// machine's memory.
    pub fn mask(&self, batch: usize) -> Result<Mask, Error> {
        if batch == 0 {
            return Err(Error::Outsourced("a batch has at least one sample"));
        }
        let u = random(self.columns.checked_mul(batch).ok_or(TOO_LARGE)?)?;
        let wu = Zeroizing::new(self.apply(&u)?);
        Ok(Mask { u, wu, layer: self.name })
    }

    /// Integers as the field has them, if no product of this layer can leave the field: for a worker who may see
    /// them. [`Mask::blind`] does this by itself.
    ///
    /// **Errors:** [`Error::Outsourced`].
    pub fn encode(&self, x: &[i64]) -> Result<Vec<u64>, Error> {
        // Below 2^60, and a size is at most 2^63: the difference's highest bit is set just where the size is larger.
        let most = (PRIME / 2 - 1) / self.gain.max(1);
        let beyond = x.iter().fold(0, |beyond, v| beyond | most.wrapping_sub(v.unsigned_abs()));
        match beyond >> 63 {
            0 => Ok(x.iter().map(|v| embed(*v)).collect()),
            _ => Err(Error::Outsourced("the inputs are too large for the field")),
        }
    }

    fn owns(&self, name: &Name) -> Result<(), Error> {
        if *name == self.name { Ok(()) } else { Err(Error::Outsourced("it was made for another layer")) }
    }

    fn batch(&self, values: &[u64], rows: usize) -> Result<usize, Error> {
        let whole = !values.is_empty() && values.len().is_multiple_of(rows);
        match whole && values.iter().all(|v| *v < PRIME) {
            true => Ok(values.len() / rows),
            false => Err(Error::Outsourced("the values are not numbers of the field in the layer's shape")),
        }
    }
}

/// Checks products of one layer. No `Debug`: who knows its secret can cheat.
pub struct Checker {
    row: Zeroizing<Vec<u64>>,
    product: Zeroizing<Vec<u64>>,
    layer: Name,
}

impl Checker {
    /// Whether `y` is W X, but for one chance in p.
    ///
    /// **Errors:** [`Error::Outsourced`] if it is not, is of another shape, or `layer` is not the
    /// one that the checker was made for.
    pub fn check(&self, layer: &Layer, x: &[u64], y: &[u64]) -> Result<(), Error> {
        layer.owns(&self.layer)?;
        let batch = layer.batch(x, layer.columns)?;
        let shaped = layer.batch(y, layer.rows)? == batch && self.row.len() == layer.rows;
        let equal = shaped && combine(&self.row, y, batch) == combine(&self.product, x, batch);
        if equal { Ok(()) } else { Err(Error::Outsourced("the worker's product is wrong")) }
    }
}

/// Hides one batch. It is used up by it: two batches under one mask would show their
/// difference. No `Debug` and no `Clone`.
pub struct Mask {
    u: Zeroizing<Vec<u64>>,
    wu: Zeroizing<Vec<u64>>,
    layer: Name,
}

impl Mask {
    /// What the worker may see, and what opens its answer: of `[columns, batch]` integers, row after row. They
    /// are encoded here, so that none was for a layer of less gain.
    ///
    /// **Errors:** [`Error::Outsourced`] if `layer` is not the one that the mask was made for, or `x` is of another
    /// shape than the mask, or too large for the field.
    pub fn blind(self, layer: &Layer, x: &[i64]) -> Result<Blinded, Error> {
        layer.owns(&self.layer)?;
        if x.len() != self.u.len() {
            return Err(Error::Outsourced("the batch is not of the mask's shape"));
        }
        let x = Zeroizing::new(layer.encode(x)?);
        let sent = x.iter().zip(self.u.iter()).map(|(x, u)| add(*x, *u)).collect();
        Ok(Blinded { sent, wu: self.wu, layer: self.layer })
    }
}

/// A batch at the worker.
pub struct Blinded {
    sent: Vec<u64>,
    wu: Zeroizing<Vec<u64>>,
    layer: Name,
}

impl Blinded {
    /// What to send.
    pub fn sent(&self) -> &[u64] {
        &self.sent
    }

    /// The product of the batch that was blinded, if the worker's answer is right.
    ///
    /// **Errors:** [`Error::Outsourced`] if it is not, or `layer` is not the one that mask and
    /// checker were made for.
    pub fn open(self, layer: &Layer, checker: &Checker, answer: &[u64]) -> Result<Vec<i64>, Error> {
        layer.owns(&self.layer)?;
        checker.check(layer, &self.sent, answer)?;
        Ok(answer.iter().zip(self.wu.iter()).map(|(y, wu)| lift(add(*y, PRIME - wu))).collect())
    }
}

/// The row times the matrix `[row.len(), batch]`.
fn combine(row: &[u64], matrix: &[u64], batch: usize) -> Vec<u64> {
    let mut sums = vec![0; batch];
    for (factor, line) in row.iter().zip(matrix.chunks_exact(batch)) {
        for (sum, value) in sums.iter_mut().zip(line) {
            *sum = add(*sum, multiply(*factor, *value));
        }
    }
    sums
}

/// Sum of numbers of at most p, reduced below p.
fn add(a: u64, b: u64) -> u64 {
    reduce(a + b)
}

fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    // 2^61 is 1: the upper half is added to the lower.
    add((product >> 61) as u64, (product as u64) & PRIME)
}

/// Any number of 64 bits, below p.
fn reduce(v: u64) -> u64 {
    // 2^61 is 1. At most p + 7 is left, so p is taken off once, and put back if that was too much.
    let off = ((v & PRIME) + (v >> 61)).wrapping_sub(PRIME);
    off.wrapping_add(PRIME & ones(off >> 63))
}

/// All bits set for 1, none for 0.
fn ones(bit: u64) -> u64 {
    bit.wrapping_neg()
}

fn embed(v: i64) -> u64 {
    let (size, negative) = (reduce(v.unsigned_abs()), ones(v.cast_unsigned() >> 63));
    reduce((size & !negative) | ((PRIME - size) & negative))
}

fn lift(v: u64) -> i64 {
    let upper = ones((PRIME / 2).wrapping_sub(v) >> 63);
    v.wrapping_sub(PRIME & upper).cast_signed()
}

const TOO_LARGE: Error = Error::Outsourced("the batch is too large for this machine");

/// Room for so many numbers, if there is.
fn room(n: Option<usize>) -> Result<Vec<u64>, Error> {
    let mut room = Vec::new();
    room.try_reserve_exact(n.ok_or(TOO_LARGE)?).map_err(|_| TOO_LARGE)?;
    Ok(room)
}

/// Uniform numbers below p: 61 random bits, drawn again for the one value too many.
fn random(n: usize) -> Result<Zeroizing<Vec<u64>>, Error> {
    let mut out = Zeroizing::new(room(Some(n))?);
    let mut drawn = Zeroizing::new([0u8; 4096]);
    while out.len() < n {
        getrandom::fill(&mut *drawn).map_err(|_| Error::Random)?;
        let values = drawn.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word) & PRIME);
        let left = n - out.len();
        out.extend(values.filter(|value| *value < PRIME).take(left));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(rows: usize, columns: usize, w: &[i64], x: &[i64]) -> Vec<i64> {
        let batch = x.len() / columns;
        let cell = |i: usize, b: usize| (0..columns).map(|j| w[i * columns + j] * x[j * batch + b]).sum();
        (0..rows).flat_map(|i| (0..batch).map(move |b| cell(i, b))).collect()
    }

    #[test]
    fn field_arithmetic_at_its_edges() {
        let edges = [0, 1, 2, PRIME / 2, PRIME - 2, PRIME - 1];
        for a in edges {
            for b in edges {
                let expected = u128::from(a) * u128::from(b) % u128::from(PRIME);
                assert_eq!(u128::from(multiply(a, b)), expected, "{a} {b}");
                assert_eq!(add(a, b), ((u128::from(a) + u128::from(b)) % u128::from(PRIME)) as u64);
            }
        }
        for v in [0, 1, -1, (PRIME / 2) as i64, -((PRIME / 2) as i64)] {
            assert_eq!(lift(embed(v)), v);
        }
        let p = PRIME as i64;
        for v in [0, p - 1, p, p + 1, 2 * p, 2 * p + 1, i64::MAX] {
            assert_eq!((embed(v), embed(-v)), ((v % p) as u64, (-v).rem_euclid(p) as u64), "{v}");
        }
        assert_eq!(embed(i64::MIN), i64::MIN.rem_euclid(p) as u64);
        for v in [0, PRIME - 1, PRIME, 2 * PRIME - 1, 2 * PRIME, u64::MAX - 7, u64::MAX] {
            assert_eq!(reduce(v), v % PRIME, "{v}");
        }
    }

    #[test]
    fn shapes_and_ranges_are_refused_by_name() {
        assert!(Layer::new(2, 2, &[1; 3]).is_err() && Layer::new(0, 2, &[]).is_err());
        assert!(Layer::new(1, 2, &[i64::MAX, i64::MAX]).is_err());
        assert!(Layer::new(1, 1, &[i64::MIN]).is_err());
        let layer = Layer::new(2, 3, &[1, -2, 3, 4, 5, -6]).unwrap();
        assert!(layer.encode(&[1 << 57]).is_err() && layer.encode(&[i64::MIN]).is_err());
        assert!(layer.apply(&[]).is_err() && layer.apply(&[1; 4]).is_err() && layer.apply(&[PRIME; 3]).is_err());
        assert!(layer.mask(0).is_err() && layer.mask(usize::MAX).is_err());
        let one = Layer::new(1, 1, &[1]).unwrap();
        for beyond in [usize::MAX, usize::MAX / 8, isize::MAX as usize / 8 + 1] {
            assert!(one.mask(beyond).is_err() && layer.mask(beyond).is_err(), "{beyond}");
        }
        assert!(layer.mask(2).unwrap().blind(&layer, &[1; 3]).is_err());
        let checker = layer.checker().unwrap();
        assert!(checker.check(&layer, &[1; 3], &[1; 4]).is_err() && checker.check(&layer, &[1; 3], &[]).is_err());
    }

    #[test]
    fn what_was_made_for_one_layer_serves_no_other() {
        let (one, other) = (Layer::new(1, 2, &[1, 2]).unwrap(), Layer::new(1, 2, &[1, 3]).unwrap());
        let x = one.encode(&[4, 5]).unwrap();
        let y = one.apply(&x).unwrap();
        let (checker, another) = (one.checker().unwrap(), other.checker().unwrap());
        assert!(checker.check(&one, &x, &y).is_ok() && checker.check(&other, &x, &y).is_err());
        assert!(another.check(&one, &x, &y).is_err());
        let blinded = || one.mask(1).unwrap().blind(&one, &[4, 5]).unwrap();
        let answer = |blinded: &Blinded, by: &Layer| by.apply(blinded.sent()).unwrap();
        let (right, wrong) = (blinded(), blinded());
        let (y, z) = (answer(&right, &one), answer(&wrong, &other));
        assert_eq!(right.open(&one, &checker, &y).unwrap(), [14]);
        assert!(wrong.open(&other, &another, &z).is_err(), "a mask of another layer");
        assert!(one.mask(1).unwrap().blind(&other, &[4, 5]).is_err(), "a mask of another layer");
    }

    /// 2^50 is no number for a layer that multiplies by 2^20: the product would be taken modulo p.
    #[test]
    fn what_is_blinded_is_within_the_range_of_its_layer() {
        let (small, large) = (Layer::new(1, 1, &[1]).unwrap(), Layer::new(1, 1, &[1 << 20]).unwrap());
        assert!(small.mask(1).unwrap().blind(&small, &[1 << 50]).is_ok());
        assert!(large.mask(1).unwrap().blind(&large, &[1 << 50]).is_err());
        let most = (PRIME / 2 - 1) as i64 >> 20;
        for sign in [1, -1] {
            let blinded = large.mask(1).unwrap().blind(&large, &[sign * most]).unwrap();
            let answer = large.apply(blinded.sent()).unwrap();
            assert_eq!(blinded.open(&large, &large.checker().unwrap(), &answer).unwrap(), [sign * (most << 20)]);
            assert!(large.mask(1).unwrap().blind(&large, &[sign * (most + 1)]).is_err());
        }
        for extreme in [i64::MIN, i64::MAX] {
            assert!(small.encode(&[0, extreme]).is_err() && large.encode(&[extreme, 0]).is_err());
        }
    }

    #[test]
    fn masks_are_fresh_and_hide_the_batch() {
        let layer = Layer::new(1, 4, &[1, 2, 3, 4]).unwrap();
        let blinded = || layer.mask(1).unwrap().blind(&layer, &[0; 4]).unwrap();
        let (one, two) = (blinded(), blinded());
        assert_ne!(one.sent(), two.sent());
        assert!(one.sent().iter().all(|v| *v != 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn products_equal_plain_integers_and_tampering_is_caught(
            (rows, columns, batch) in (1..6usize, 1..9usize, 1..5usize),
            seed in any::<u64>(),
            delta in 1..PRIME,
        ) {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as i64 % 100_000 - 50_000
            };
            let w: Vec<i64> = (0..rows * columns).map(|_| next()).collect();
            let x: Vec<i64> = (0..columns * batch).map(|_| next()).collect();
            let layer = Layer::new(rows, columns, &w).unwrap();
            let checker = layer.checker().unwrap();
            let blinded = || layer.mask(batch).unwrap().blind(&layer, &x).unwrap();
            let sent = blinded();
            let answer = layer.apply(sent.sent()).unwrap();
            prop_assert_eq!(sent.open(&layer, &checker, &answer).unwrap(), plain(rows, columns, &w, &x));
            for at in 0..rows * batch {
                let sent = blinded();
                let mut wrong = layer.apply(sent.sent()).unwrap();
                wrong[at] = add(wrong[at], delta);
                prop_assert!(sent.open(&layer, &checker, &wrong).is_err());
            }
            // An answer to another batch is wrong too.
            prop_assert!(blinded().open(&layer, &checker, &answer).is_err());
        }
    }
}
