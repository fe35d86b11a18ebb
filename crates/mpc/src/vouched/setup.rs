//! The pieces' seeds: each is made of a part from every holder of the piece.

use super::share::{HELD, HELPER};
use super::{Crew, SEED_BYTES};
use crate::Error;
use crate::protocol::Contradiction;
use subrosa_core::{Cost, Seed};
use subrosa_net::Session;
use zeroize::Zeroize;

/// Bytes of a part's digest. A cheater chooses its own parts, so that nothing short of
/// resistance against collisions at 128 bits will do.
const PART_DIGEST: usize = 32;

fn digest(part: &[u8]) -> [u8; PART_DIGEST] {
    blake3::derive_key("subrosa 2026-11 part of a seed", part)
}

/// The holders of a piece.
fn holders(parties: usize, piece: usize) -> impl Iterator<Item = usize> {
    (0..parties).filter(move |&party| HELD[party].contains(&piece))
}

/// The pieces that two parties hold, in order.
fn shared(p: usize, q: usize) -> impl Iterator<Item = usize> {
    (0..HELPER).filter(move |piece| HELD[p].contains(piece) && HELD[q].contains(piece))
}

/// Agrees on the seeds of the pieces that party `session.id()` holds, in their order. In the
/// first round every holder of a piece sends the others a part; in the second each tells the
/// others what it has seen, so that whoever sent two parties different parts is found out
/// before the seed is used.
///
/// **Errors:** [`Contradiction`] as an error; [`Error::Entropy`].
pub(super) fn seeds<C: Crew>(session: &mut Session) -> Result<Vec<Seed>, Error> {
    let (me, parties) = (session.id(), parties::<C>());
    let others: Vec<usize> = (0..parties).filter(|&p| p != me).collect();
    let own = (0..HELPER).map(|_| Seed::random()).collect::<Result<Vec<_>, _>>()?;
    let part_of = |piece: usize| own.get(piece).map_or(&[] as &[u8], |seed| seed.expose().as_slice());
    let parts = |peer: usize| shared(me, peer).flat_map(part_of).copied().collect::<Vec<u8>>();
    let lens: Vec<_> = others.iter().map(|&p| (p, SEED_BYTES * shared(me, p).count())).collect();
    let mut received = session.round(others.iter().map(|&p| (p, parts(p))).collect(), &lens)?;
    let part = |piece: usize, holder: usize| -> &[u8] {
        if holder == me {
            return part_of(piece);
        }
        let message = others.iter().position(|&p| p == holder).and_then(|at| received.get(at));
        let at = shared(me, holder).take_while(|&p| p != piece).count() * SEED_BYTES;
        message.and_then(|message| message.get(at..at + SEED_BYTES)).unwrap_or(&[])
    };
    let seen = |peer: usize| {
        let each = shared(me, peer).flat_map(|piece| holders(parties, piece).map(move |holder| (piece, holder)));
        each.map(|(piece, holder)| (holder, digest(part(piece, holder)))).collect::<Vec<_>>()
    };
    let sends = others.iter().map(|&p| (p, seen(p).iter().flat_map(|(_, digest)| *digest).collect())).collect();
    let lens: Vec<_> = others.iter().map(|&p| (p, PART_DIGEST * seen(p).len())).collect();
    let told = session.round(sends, &lens)?;
    for (&peer, told) in others.iter().zip(&told) {
        let mut both = seen(peer).into_iter().zip(told.chunks(PART_DIGEST));
        if let Some(((holder, _), _)) = both.find(|((_, ours), theirs)| ours != theirs) {
            // Of its own part and of ours it says something else than was sent.
            let by_itself = holder == peer || holder == me;
            let (sender, by) = if by_itself { (peer, me) } else { (holder, peer) };
            received.zeroize();
            return Err(Contradiction { sender, by }.accuse(session));
        }
    }
    let joint = |&piece: &usize| {
        let mut parts: Vec<u8> = holders(parties, piece).flat_map(|holder| part(piece, holder)).copied().collect();
        let seed = Seed::from_bytes([0; SEED_BYTES]).derive(&parts);
        parts.zeroize();
        seed
    };
    let seeds = HELD[me].iter().map(joint).collect();
    received.zeroize();
    Ok(seeds)
}

/// Declared cost of [`seeds`].
pub(super) fn cost<C: Crew>() -> Cost {
    let parties = parties::<C>();
    let pairs = || (0..parties).flat_map(|p| (0..parties).map(move |q| (p, q))).filter(|(p, q)| p != q);
    let round = |bytes: usize| Cost::round(pairs().map(|(p, q)| (bytes * shared(p, q).count()) as u64));
    // A digest a piece and holder.
    round(SEED_BYTES) + round((parties - 1) * PART_DIGEST)
}

fn parties<C: Crew>() -> usize {
    if C::HELPED { HELD.len() } else { HELPER }
}
