//! `rep3-malicious`: replicated secret sharing over Z_2^k between three parties, one of whom may
//! deviate in any way; the others then stop before anything is opened.
//!
//! The engine of [`vouched`](crate::vouched) without a helper: online every message is known to
//! two of the three, and vouched for; in the preprocessing, where terms of products of masks are
//! known to one party alone, the three prove them to each other before any input is there. So
//! no check is left for the end, and none depends on a secret.
//!
//! Shares and products: Araki, Furukawa, Lindell, Nof, Ohara, <https://eprint.iacr.org/2016/768>. That
//! masks are drawn beforehand and values opened masked follows ASTRA and SWIFT, Koti, Pancholi, Patra,
//! Suresh, <https://eprint.iacr.org/2020/592>, from which the vouched messages between three
//! parties are as well. The proofs: SPDZ2k, <https://eprint.iacr.org/2018/482>, and Boyle, Gilboa, Ishai,
//! Nof, <https://eprint.iacr.org/2019/1390>; see `vouched::proof` for what differs.
//!
//! `docs/rep3-malicious.md` has the argument in full.

use crate::vouched::{Crew, Vouched};
use subrosa_core::{Adversary, Claim};

/// One party of `rep3-malicious`.
pub type Rep3Malicious<R> = Vouched<R, ThreeServers>;

/// Three servers and nobody else.
pub struct ThreeServers;

impl Crew for ThreeServers {
    const NAME: &'static str = "rep3-malicious";
    const HELPED: bool = false;
    const CLAIM: Claim = CLAIM;
    const SOURCE: &'static str = "Araki et al., https://eprint.iacr.org/2016/768; SPDZ2k, https://eprint.iacr.org/2018/482; Boyle et al., https://eprint.iacr.org/2019/1390";
}

const CLAIM: Claim = Claim {
    adversary: Adversary::MaliciousAbort,
    parties: 3,
    threshold: 1,
    // Statistical: of the proofs, however many a session has.
    security_bits: 40,
    summary: "three servers compute on shares and prove to each other that they do; safe while no two collude, even if one deviates",
    learns: &[
        "each server: the architecture, the layers' fraction bits and magnitudes (powers of two) and the number of inputs; nothing of inputs or results, nor of weights unless these were declared public",
        "a server that deviates: no more, and it cannot change a result but with probability 2^-40: the session ends before anything is opened, and a contradiction names two servers, one of whom deviated; a server named alone as late or stopped may be honest",
        "model owner: nothing",
        "data owner and result receiver, in a deployment: the public plan, as the servers do",
        "result receiver: the output to its last fraction bit; and, as hidden values are rounded at random, from many equal or similar inputs more than the outputs of a fixed function tell, in the end weights: open labels only (--reveal label) to a receiver who must not learn the model; no server should also be the receiver",
        "two colluding servers: everything",
    ],
};
