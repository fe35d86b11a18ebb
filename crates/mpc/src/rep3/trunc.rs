//! Online half of truncation: open under the dealt mask, then unlock the right version.
//!
//! With `c = x + 2^(k-2) + r mod 2^k` known to parties 0 and 1 and `mu = msb(c)`, the
//! result is `y_0 + y_1 + y_2` with `y_1 = (c >> f) + T(mu)` (see [`super::prep`]):
//! `c = x' + r - w 2^k` for `x' = x + 2^(k-2) < 2^(k-1)`, and the sum wrapped (`w = 1`)
//! exactly when `msb(r) = 1` and `mu = 0`. So `(c >> f) - (r >> f) + w 2^(k-f)` is
//! `floor(x' / 2^f)` plus the carry out of the dropped bits, 0 or 1; no larger error
//! exists. Requires `|x| < 2^(k-2)`.

use super::compare::{self, Known};
use super::dabits::DaBits;
use super::prep::{CompareMaterial, Material, Reader, TruncMaterial, low_bits, round};
use super::share::{Share, zip};
use super::{Rep3, mask};
use crate::Error;
use crate::protocol::{Form, Source};
use subrosa_core::Cost;
use subrosa_ring::{BitPlanes, Ring, Word, pack, packed_len};

/// `trunc` for at least one element: two rounds.
pub(super) fn trunc<R: Ring>(
    party: &mut Rep3<R>,
    mut material: Material<R::Word>,
    x: Source<'_, Rep3<R>>,
    shift: u32,
) -> Result<Share<R::Word>, Error> {
    let unlock = Unlock::start(party, x, shift, material.trunc.take(), &material.mask)?;
    let (peer, message) = unlock.message(party.me, shift);
    let Some(peer) = peer else {
        round(&mut party.session, vec![], &[])?;
        return Ok(unlock.finish(party.me, &[], shift));
    };
    let received = round(&mut party.session, vec![(peer, message)], &[(peer, packed_len(unlock.n, shift))])?;
    Ok(unlock.finish(party.me, received.first().map_or(&[], Vec::as_slice), shift))
}

/// Whether each value is negative (1 or 0), and the values.
pub(super) type SignAndValue<W> = (Share<W>, Share<W>);

/// The truncated value and whether it is negative; the wrap correction travels with the
/// comparison's first message.
pub(super) fn trunc_ltz<R: Ring>(
    party: &mut Rep3<R>,
    mut material: Material<R::Word>,
    x: Source<'_, Rep3<R>>,
    shift: u32,
    width: u32,
) -> Result<SignAndValue<R::Word>, Error> {
    let k = R::WIDTH.bits();
    let unlock = Unlock::start(party, x, shift, material.trunc.take(), &material.mask)?;
    // The compared value is (c >> f) - 2^(k-2-f) - (r >> f): the same integer that becomes
    // the share, before the wrap correction, which is a multiple of 2^(k-f) >= 2^width.
    let u: Vec<R::Word> =
        unlock.c.iter().map(|c| R::Word::from_u64((c.to_u64() >> shift).wrapping_sub(1 << (k - 2 - shift)))).collect();
    let known = known(material.compare.take(), &u, width);
    let (peer, extra) = unlock.message(party.me, shift);
    let extra_len = peer.map_or(0, |_| extra.len());
    let (negative, extra) =
        compare::sign(party, unlock.n, width, known, expect_dabits(material.dabits.take())?, &extra, extra_len)?;
    Ok((negative, unlock.finish(party.me, &extra, shift)))
}

/// What parties 0 and 1 know when a comparison starts; nothing at party 2.
pub(super) fn known<W: Word>(material: Option<CompareMaterial>, u: &[W], width: u32) -> Option<Known> {
    material.map(|material| Known { u: BitPlanes::from_words(u, 0, width as usize), material })
}

/// The daBits of a comparison's material.
pub(super) fn expect_dabits<W: Word>(dabits: Option<DaBits<W>>) -> Result<DaBits<W>, Error> {
    dabits.ok_or_else(|| Error::Misuse("rep3: a comparison found a truncation's preprocessing".into()))
}

/// Opens `x + offset + r` modulo 2^bits to parties 0 and 1; empty at party 2. `r` is known
/// to party 2 only, uniform modulo 2^bits. One round.
pub(super) fn open_masked<R: Ring>(
    party: &mut Rep3<R>,
    x: Source<'_, Rep3<R>>,
    r: &[R::Word],
    bits: u32,
    offset: u64,
) -> Result<Vec<R::Word>, Error> {
    let len = packed_len(x.len(), bits);
    if party.me == 2 && r.len() != x.len() {
        return Err(Error::Misuse(format!("rep3: {} masks for {} values", r.len(), x.len())));
    }
    let offset = R::Word::from_u64(offset);
    let mask_2 = |part: &[R::Word]| pack(&zip(part, r, |p, r| p.add(r).add(offset)), bits);
    let (ours, sends, receives) = match (x, party.me) {
        // A party lacks one slot: party 2, who holds all that 0 and 1 lack, sends it masked.
        (Source::Share(x), 2) => (vec![], vec![(0, mask_2(&x.a)), (1, mask_2(&x.b))], vec![]),
        (Source::Share(x), _) => (zip(&x.a, &x.b, Word::add), vec![], vec![(2, len)]),
        (Source::Product(x), 2) => {
            let part = mask_2(&party.masked(x));
            (vec![], vec![(0, part.clone()), (1, part)], vec![])
        }
        (Source::Product(x), me) => {
            let part = party.masked(x);
            let peer = 1 - me;
            (part.clone(), vec![(peer, pack(&part, bits))], vec![(peer, len), (2, len)])
        }
    };
    let n = ours.len();
    let received = round(&mut party.session, sends, &receives)?;
    let add = |sum: Vec<R::Word>, m: &Vec<u8>| zip(&sum, &Reader(m).words(n, bits), Word::add);
    Ok(received.iter().fold(ours, add).into_iter().map(|c| mask(c, bits)).collect())
}

/// Declared cost of [`open_masked`].
pub(super) fn opening_cost(n: usize, bits: u32, form: Form) -> Cost {
    let messages = match form {
        Form::Share => 2,
        Form::Product => 4,
    };
    Cost::messages(messages, packed_len(n, bits) as u64)
}

/// A truncation after its opening.
struct Unlock<W: Word> {
    n: usize,
    k: u32,
    /// The opened values, `k` bits; empty at party 2.
    c: Vec<W>,
    material: TruncMaterial<W>,
}

impl<W: Word> Unlock<W> {
    fn start<R: Ring<Word = W>>(
        party: &mut Rep3<R>,
        x: Source<'_, Rep3<R>>,
        shift: u32,
        material: Option<TruncMaterial<W>>,
        r: &[W],
    ) -> Result<Self, Error> {
        let k = R::WIDTH.bits();
        let missing =
            || Error::Misuse(format!("rep3: truncation by {shift} bits found another primitive's preprocessing"));
        let material = material.ok_or_else(missing)?;
        let n = x.len();
        let c = open_masked(party, x, r, k, 1 << (k - 2))?;
        Ok(Self { n, k, c, material })
    }

    /// To whom and what: the keys of the versions that `mu` selects at the other evaluator.
    fn message(&self, me: usize, shift: u32) -> (Option<usize>, Vec<u8>) {
        match &self.material {
            TruncMaterial::Evaluator { keys, .. } => (Some(1 - me), pack(&self.select(keys), shift)),
            TruncMaterial::Dealer { .. } => (None, Vec::new()),
        }
    }

    /// `options[mu]`, elementwise and without a branch; `c` has exactly `k` bits.
    fn select(&self, options: &[Vec<W>; 2]) -> Vec<W> {
        let [zero, one] = options;
        let choose = |(c, (z, o)): (&W, (&W, &W))| {
            let mu = self.top(c).wrapping_neg();
            W::from_u64(z.to_u64() & !mu | o.to_u64() & mu)
        };
        self.c.iter().zip(zero.iter().zip(one)).map(choose).collect()
    }

    /// The most significant bit of an opened value.
    fn top(&self, c: &W) -> u64 {
        c.to_u64() >> (self.k - 1)
    }

    /// This party's part of the result, given the key the other evaluator sent, packed.
    fn finish(self, me: usize, key: &[u8], shift: u32) -> Share<W> {
        let high_at = self.k - shift;
        match &self.material {
            TruncMaterial::Dealer { y_2, y_0 } => Share { a: y_2.clone(), b: y_0.clone() },
            TruncMaterial::Evaluator { y, low, locked, .. } => {
                let key: Vec<W> = Reader(key).words(self.n, shift);
                let high = zip(&self.select(locked), &key, |l, key| (l.to_u64() ^ key.to_u64()) & low_bits(shift));
                let t = zip(low, &high, |low, high| low.to_u64() | high << high_at);
                let y_1 = zip(&self.c, &t, |c, t| W::from_u64((c.to_u64() >> shift).wrapping_add(t)));
                match me {
                    0 => Share { a: y.clone(), b: y_1 },
                    _ => Share { a: y_1, b: y.clone() },
                }
            }
        }
    }
}
