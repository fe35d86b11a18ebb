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
//! **What the receiver gets to see:** a party that deviates late, when the result is on its way, can
//! have the receiver open up to five results of the same input. Each is rounded at random anew, so
//! that they tell it more of the weights than one does. With `exact` all five are the same.
//!
//! **How certain:** the attempts among three have the 40 statistical bits of `rep3-malicious`,
//! not those of `rep4`.
//!
//! **What it costs:** up to five runs, each bounded by a limit: a party that is slow enough to reach it
//! is left out in its turn as well. A party that deviates each time makes every inference pay
//! for that, so its operator should be replaced.
//!
//! **Not given:** the deployment does not use this yet. Its parties keep shares of models for one
//! protocol, so that a model would have to be provisioned for `rep3-malicious` among each three as
//! well.

use crate::cluster::{Inference, LocalCluster, endpoint_names};
use crate::roles::{check_inputs, check_weights};
use crate::{Error, Options, ProtocolKind};
use std::sync::Arc;
use std::time::{Duration, Instant};
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
/// `limit` bounds what an attempt waits for its messages, from when it is connected. Honest parties
/// have to be done within it, by `rep4` and by the slower `rep3-malicious`; no more than five times that
/// passes waiting, however slow a party is. Beyond that come `connect` and what an honest
/// party computes between two messages, which nothing interrupts.
///
/// **Errors:** [`Error::Misuse`] at once if inputs or weights do not fit the program. Anything later
/// may be a party's doing, whatever it says: the attempt has failed, the next one starts. If all fail,
/// the error of the first one; then more than one party deviates, the limit is too short, or the
/// network is gone.
pub fn infer(
    mut connect: impl FnMut(Attempt) -> Vec<Session>,
    program: &Arc<Program>,
    weights: &WeightSet,
    options: &Options,
    inputs: &[Vec<i64>],
    batch: usize,
    limit: Duration,
) -> Result<(Inference, Attempt), Error> {
    check_inputs(program, inputs, batch)?;
    check_weights(program, weights)?;
    let mut run = |attempt: Attempt| {
        let mut sessions = connect(attempt);
        // None is no limit: one that no clock can show is never reached.
        let end = Instant::now().checked_add(limit);
        sessions.iter_mut().for_each(|session| session.set_limit(end));
        let cluster = LocalCluster::over(sessions, attempt.kind(), program.clone(), weights, options);
        cluster.and_then(|mut cluster| cluster.infer(inputs, batch))
    };
    let first = match run(Attempt::All) {
        Ok(result) => return Ok((result, Attempt::All)),
        Err(error) => error,
    };
    for attempt in suspects(&first, options).into_iter().map(Attempt::Without) {
        if let Ok(result) = run(attempt) {
            return Ok((result, attempt));
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
        Error::Peer(_) | Error::Misuse(_) | Error::Entropy(_) | Error::Disk(_) | Error::Keys(_) => vec![],
    };
    let others = (0..ProtocolKind::Rep4.parties()).filter(|party| !named.contains(party)).collect::<Vec<_>>();
    named.extend(others);
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_an_error_names_are_left_out_first_and_everybody_in_turn() {
        let options = Options::default();
        let names = endpoint_names(ProtocolKind::Rep4, &options);
        let named = |party: usize, kind| Error::Peer(subrosa_net::Error::Peer { peer: names[party].clone(), kind });
        let contradicted = named(3, PeerFault::Contradicted { by: names[1].clone() });
        assert_eq!(suspects(&contradicted, &options), [3, 1, 0, 2]);
        assert_eq!(suspects(&named(2, PeerFault::Gone), &options), [2, 0, 1, 3]);
        // Of the roles, which follow the protocol, none can be left out.
        assert_eq!(suspects(&named(4, PeerFault::Gone), &options), [0, 1, 2, 3]);
        assert_eq!(suspects(&Error::Stopped { party: 1 }, &options), [1, 0, 2, 3]);
        // Of what a party says of itself, or of nobody, nobody in particular is suspected.
        let limit = subrosa_net::Error::SessionLimit { waiting_for: names[2].clone() };
        for error in [Error::Misuse(String::new()), Error::Disk(String::new()), Error::Peer(limit)] {
            assert_eq!(suspects(&error, &options), [0, 1, 2, 3]);
        }
    }
}
