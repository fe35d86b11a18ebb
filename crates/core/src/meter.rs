//! What a computation costs on the network: declared as [`Cost`], measured by [`Meter`].

use serde::{Deserialize, Serialize};
use std::ops::{Add, AddAssign};

/// Bytes in front of every message on a link: session-wide round number, length, kind.
/// Costs count them, TLS records and TCP/IP headers they do not.
pub const FRAME_HEADER_BYTES: u64 = 16;

/// A part of a session that is accounted for on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Once per session: keys agreed, the model shared.
    Setup,
    /// Once per batch, before the input is known: correlated randomness.
    Offline,
    /// Once per batch, with the input.
    Online,
}

impl Phase {
    /// Every phase, in the order in which a session runs them.
    pub const ALL: [Self; 3] = [Self::Setup, Self::Offline, Self::Online];

    fn index(self) -> usize {
        match self {
            Self::Setup => 0,
            Self::Offline => 1,
            Self::Online => 2,
        }
    }
}

/// Network cost: `rounds` are message layers that wait for one another, `bytes` is the
/// total sent by all endpoints together, headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Message layers, one after another.
    pub rounds: u64,
    /// Bytes sent by all endpoints together, [`FRAME_HEADER_BYTES`] a message included.
    pub bytes: u64,
}

impl Cost {
    /// Nothing is sent.
    pub const FREE: Self = Self { rounds: 0, bytes: 0 };

    /// One round in which messages of these payload sizes (bytes) are sent.
    pub fn round(messages: impl IntoIterator<Item = u64>) -> Self {
        let bytes = messages.into_iter().map(|m| m + FRAME_HEADER_BYTES).sum();
        Self { rounds: 1, bytes }
    }

    /// `count` messages of `payload` bytes each in one round.
    pub fn messages(count: u64, payload: u64) -> Self {
        Self { rounds: 1, bytes: count * (payload + FRAME_HEADER_BYTES) }
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { rounds: self.rounds + other.rounds, bytes: self.bytes + other.bytes }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::FREE, Add::add)
    }
}

/// One endpoint's measured traffic, by phase.
///
/// Every endpoint counts each round it takes part in and the bytes *it* sends; summing
/// [`Cost::bytes`] over the endpoints and taking the largest [`Cost::rounds`] gives the
/// declared cost (see [`Meter::combine`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    by_phase: [Cost; 3],
}

impl Meter {
    /// A meter that has counted these costs, in the order of [`Phase::ALL`].
    pub fn from_costs(by_phase: [Cost; 3]) -> Self {
        Self { by_phase }
    }

    /// Counts one round of `phase` in which this endpoint sent messages of these payload
    /// sizes in bytes.
    pub fn record(&mut self, phase: Phase, sent: impl IntoIterator<Item = usize>) {
        self.by_phase[phase.index()] += Cost::round(sent.into_iter().map(|n| n as u64));
    }

    /// What was measured in `phase`.
    pub fn cost(&self, phase: Phase) -> Cost {
        self.by_phase[phase.index()]
    }

    /// The cost of `phase` for a whole session from its endpoints' meters.
    pub fn combine<'a>(phase: Phase, meters: impl IntoIterator<Item = &'a Self>) -> Cost {
        meters.into_iter().fold(Cost::FREE, |sum, m| {
            let c = m.cost(phase);
            Cost { rounds: sum.rounds.max(c.rounds), bytes: sum.bytes.saturating_add(c.bytes) }
        })
    }
}
