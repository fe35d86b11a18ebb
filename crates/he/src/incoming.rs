//! What a server can tell of a client's files before it decodes them: how long they are, whose
//! plan and keys they name.

use crate::Error;
use crate::files::{self, Digest, Kind};
use crate::public::PublicPlan;

/// What a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// The plan.
    pub plan: Digest,
    /// The evaluation keys.
    pub keys: Digest,
}

/// Reads the names in front of a request.
///
/// **Errors:** [`Error::Wire`] for what is no request.
pub fn names(request: &[u8]) -> Result<Names, Error> {
    let mut r = files::open(request, Kind::Request)?;
    Ok(Names { plan: r.array()?, keys: r.array()? })
}

/// Whether a file of evaluation keys carries exactly the plan of this file.
pub fn carries(keys: &[u8], plan_file: &[u8]) -> bool {
    files::open(keys, Kind::EvaluationKeys).is_ok_and(|r| r.left() >= plan_file.len())
        && keys.get(files::HEADER_BYTES..).is_some_and(|rest| rest.starts_with(plan_file))
}

impl PublicPlan {
    /// Bytes of a file of evaluation keys for this plan.
    pub fn key_file_bytes(&self) -> usize {
        let seeds = SEED_BYTES * (self.rotations.len() + usize::from(self.relinearise.is_some()));
        files::HEADER_BYTES + self.to_bytes().len() + self.key_bytes() + seeds
    }
}

/// The seed of a switching key's uniform halves.
const SEED_BYTES: usize = 32;
