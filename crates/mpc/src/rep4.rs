//! `rep4`: replicated secret sharing over Z_2^k between four parties, one of whom may deviate
//! in any way; the others then stop before anything is opened.
//!
//! The engine of [`vouched`](crate::vouched) with a helper, party 3, who knows all masks and no
//! masked value, and is needed in the preprocessing only. Sources and differences are stated there.
//!
//! `docs/rep4.md` has the argument in full.

use crate::vouched::{Crew, Vouched};
use subrosa_core::{Adversary, Claim};

/// One party of `rep4`.
pub type Rep4<R> = Vouched<R, FourServers>;

/// Three servers and a helper.
pub struct FourServers;

impl Crew for FourServers {
    const NAME: &'static str = "rep4";
    const HELPED: bool = true;
    const CLAIM: Claim = CLAIM;
    const SOURCE: &'static str =
        "Fantastic Four, https://eprint.iacr.org/2020/1330; Tetrad, https://eprint.iacr.org/2021/755";
}

const CLAIM: Claim = Claim {
    adversary: Adversary::MaliciousAbort,
    parties: 4,
    threshold: 1,
    security_bits: 128,
    summary: "four servers compute on shares and check each other; safe while no two collude, even if one deviates",
    learns: &[
        "each server: the architecture, the layers' fraction bits and magnitudes (powers of two) and the number of inputs; nothing of inputs or results, nor of weights unless these were declared public",
        "a server that deviates: no more, and it cannot change a result: the session ends before anything is opened, and a contradiction names two servers, one of whom deviated; a server named alone as late or stopped may be honest",
        "model owner: nothing",
        "data owner and result receiver, in a deployment: the public plan, as the servers do",
        "result receiver: the output to its last fraction bit; and, as hidden values are rounded at random, from many equal or similar inputs more than the outputs of a fixed function tell, in the end weights: open labels only (--reveal label) to a receiver who must not learn the model; no server should also be the receiver",
        "two colluding servers: everything",
    ],
};
