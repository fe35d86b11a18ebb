//! Robust mode: a result although one of four parties deviates.
//!
//! First `rep4` among all four. If somebody deviates, that ends without a result, and with the names
//! of one party or two. Then the computation starts anew among three of the four, under
//! `rep3-malicious`: without the first suspect, then without the second, then without each other
//! one. At most one party deviates, so the attempt that leaves it out is among honest parties,
//! and ends with the result. Every attempt withstands a party that deviates: none ends with a
//! wrong result, and none tells anybody anything; inputs and model are shared anew in each.
//!
//! This is the idea of Fantastic Four's robust mode (Dalskov, Escudero, Keller,
//! <https://eprint.iacr.org/2020/1330>), which goes on among three parties as well. It differs in
//! that the whole computation starts anew instead of continuing with the shares at hand.
//!
//! **Who learns what:** as in the protocols. In particular the two parties that nobody accuses are
//! *not* given the data, although they are known to be honest.
//!
//! **What it costs:** up to five runs. A party that deviates each time makes every inference pay for
//! that, so its operator should be replaced.
//!
//! **Not given:** the deployment does not use this yet. Its parties keep shares of models for one
//! protocol, so that a model would have to be provisioned for `rep3-malicious` among each three as
//! well.

use crate::cluster::{Inference, LocalCluster, endpoint_names};
use crate::{Error, Options, ProtocolKind};
use std::sync::Arc;
use subrosa_graph::{Program, WeightSet};
use subrosa_net::{PeerFault, Session};

/// One try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// `rep4` among all four.
    All,
    /// `rep3-malicious` among the others, in their order.
    Without(usize),
}

impl Attempt {
    /// The protocol.
    pub fn kind(self) -> ProtocolKind {
        match self {
            Self::All => ProtocolKind::Rep4,
            Self::Without(_) => ProtocolKind::Rep3Malicious,
        }
    }

    /// Which of the four parties take part, in the order of their seats.
    pub fn parties(self) -> Vec<usize> {
        (0..ProtocolKind::Rep4.parties()).filter(|&party| self != Self::Without(party)).collect()
    }

    /// The names of the session's endpoints: the parties under the names that they have among all
    /// four, then the roles.
    pub fn endpoints(self, options: &Options) -> Vec<String> {
        let all = endpoint_names(ProtocolKind::Rep4, options);
        let roles = all.iter().skip(ProtocolKind::Rep4.parties());
        self.parties().iter().filter_map(|&party| all.get(party)).chain(roles).cloned().collect()
    }
}

/// Runs the program on `batch` samples of each input, in sessions that `connect` makes between an
/// attempt's endpoints. Returns the result and the attempt that gave it.
///
/// **Errors:** [`Error::Misuse`], [`Error::Entropy`] and [`Error::Disk`] at once; else that of the first attempt, if
/// all fail: then more than one party deviates, or the network is gone.
pub fn infer(
    mut connect: impl FnMut(Attempt) -> Vec<Session>,
    program: &Arc<Program>,
    weights: &WeightSet,
    options: &Options,
    inputs: &[Vec<i64>],
    batch: usize,
) -> Result<(Inference, Attempt), Error> {
    let mut run = |attempt: Attempt| {
        let cluster = LocalCluster::over(connect(attempt), attempt.kind(), program.clone(), weights, options);
        cluster.and_then(|mut cluster| cluster.infer(inputs, batch))
    };
    let first = match run(Attempt::All) {
        Ok(result) => return Ok((result, Attempt::All)),
        Err(error @ (Error::Misuse(_) | Error::Entropy(_) | Error::Disk(_))) => return Err(error),
        Err(error @ (Error::Peer(_) | Error::Stopped { .. })) => error,
    };
    for party in suspects(&first, options) {
        match run(Attempt::Without(party)) {
            Ok(result) => return Ok((result, Attempt::Without(party))),
            Err(error @ (Error::Misuse(_) | Error::Entropy(_) | Error::Disk(_))) => return Err(error),
            Err(Error::Peer(_) | Error::Stopped { .. }) => {}
        }
    }
    Err(first)
}

/// All four parties, those that an error names first.
fn suspects(error: &Error, options: &Options) -> Vec<usize> {
    let names = endpoint_names(ProtocolKind::Rep4, options);
    let place = |name: &str| names.iter().take(ProtocolKind::Rep4.parties()).position(|n| n == name);
    let mut named: Vec<usize> = match error {
        Error::Peer(subrosa_net::Error::Peer { peer, kind: PeerFault::Contradicted { by } }) => {
            [peer, by].into_iter().filter_map(|name| place(name)).collect()
        }
        Error::Peer(subrosa_net::Error::Peer { peer, .. }) => place(peer).into_iter().collect(),
        Error::Stopped { party } => vec![*party],
        Error::Peer(_) | Error::Misuse(_) | Error::Entropy(_) | Error::Disk(_) => vec![],
    };
    let others = (0..ProtocolKind::Rep4.parties()).filter(|party| !named.contains(party)).collect::<Vec<_>>();
    named.extend(others);
    named
}
