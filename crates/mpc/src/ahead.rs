//! Dealing ahead of time: the dealer speaks to nobody, and is played back later.
//!
//! A dealer never listens, so what it says to a party depends on the program, the batch size,
//! the sharing of the model and its own randomness alone. [`deal`] runs its seat for one batch
//! over links that write down what is said; in a session, [`Party::prepare_from`](crate::Party::prepare_from)
//! takes a link that reads it. Everything in one recording is of that batch: the seeds that
//! a party shares with the dealer, and where there are keys of comparisons the hash's key, are
//! drawn anew for each.
//!
//! **Once.** Masks of two batches from one recording are equal, so their difference shows. That
//! none is used twice is the caller's to see to, durably; it is not known here what a file is.

use crate::party::{Job, ModelShare, Seats, Working};
use crate::predict::demand;
use crate::protocol::{Evaluator, Protocol};
use crate::{Error, Options, ProtocolKind};
use std::sync::Arc;
use subrosa_graph::Program;
use subrosa_net::{Link, Session};
use subrosa_ring::Threads;

/// What is dealt for, beside the size of a batch: recordings for another one do not fit.
#[derive(Clone)]
pub struct Purpose {
    /// The protocol.
    pub kind: ProtocolKind,
    /// What will be executed.
    pub program: Arc<Program>,
    /// How.
    pub options: Options,
    /// Which sharing of the model.
    pub sharing: [u8; 32],
}

impl Purpose {
    /// Names it, and the version of this program, as another one might say other things.
    pub fn digest(&self) -> [u8; 32] {
        let Options { public_weights, threads: _, exact, insecure_self_dealer } = self.options;
        let mut hasher = blake3::Hasher::new_derive_key("subrosa 2026-11 purpose of what is dealt ahead v1");
        for part in [env!("CARGO_PKG_VERSION"), self.kind.name()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&[public_weights, exact, insecure_self_dealer].map(u8::from));
        hasher.update(&self.sharing).update(&self.program.digest());
        *hasher.finalize().as_bytes()
    }

    /// Bytes that the dealer says to each party that is online, for a batch of `batch` samples;
    /// exact. Empty for a protocol without a dealer that can deal ahead.
    ///
    /// **Errors:** [`Error::Misuse`] for a program that lowering would not produce.
    pub fn bytes(&self, batch: usize) -> Result<Vec<u64>, Error> {
        with_protocol!(self.kind, self.program.ring, P => {
            let (demand, _) = demand::<<P as Evaluator>::Ring>(&self.program, batch.into(), &self.options)?;
            Ok(P::dealt_ahead(&demand))
        })
    }
}

/// Deals one batch of `batch` samples with fresh randomness: says everything that the dealer of
/// a session would, to the party behind each of `links`. `model` is the dealer's share of the
/// model, `names` are the parties', for errors.
///
/// **Errors:** [`Error::Misuse`] for a protocol without a dealer, another number of links, or a
/// share of another model; [`Error::Entropy`]; those of the links.
pub fn deal(
    purpose: &Purpose,
    batch: usize,
    model: &[u8],
    names: &[String],
    links: Vec<Box<dyn Link>>,
) -> Result<(), Error> {
    let kind = purpose.kind;
    let Some(dealer) = kind.dealer().filter(|&dealer| dealer == links.len() && dealer == names.len()) else {
        let message = format!("{} has no dealer between {} parties and none else", kind.name(), links.len());
        return Err(Error::Misuse(message));
    };
    let names = names.iter().cloned().chain(["the dealer".to_owned()]).collect();
    let session = Session::new(dealer, names, links.into_iter().enumerate().collect());
    // The dealer speaks to neither; there is no context either, as there is no session.
    let seats = Seats { data_owner: dealer + 1, receiver: dealer + 1 };
    let Purpose { program, options, sharing, .. } = purpose.clone();
    let threads = Threads::new(options.threads.max(1)).map_err(|e| Error::Misuse(e.to_string()))?;
    let job = Job { program, options, sharing, context: [0; 32], seats, dealt_ahead: false };
    threads.enter(|| {
        with_protocol!(kind, job.program.ring, P => {
            Working::<P>::alone(session, job, ModelShare::Kept(model))?.make(batch.into())
        })
    })
}
