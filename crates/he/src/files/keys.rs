//! The files of keys: the client's secret one, and the server's.

use super::{Digest, Kind, MAGIC, VERSION, header, open, read_plan};
use crate::Error;
use crate::client::Client;
use crate::encoder::Encoder;
use crate::public::PublicPlan;
use subrosa_core::Secret;
use subrosa_lattice::EvaluationKeys;
use subrosa_lattice::wire::Reader;

/// A client's two files: the secret key for itself, the evaluation keys for the server.
///
/// **Errors:** [`Error::Lattice`] without randomness.
pub fn key_files(client: &Client) -> Result<(Secret<Vec<u8>>, Vec<u8>), Error> {
    let plan = client.plan();
    let (bundle, digest) = bundle_file(client, |_, _| {})?;
    let mut w = header(Kind::SecretKey);
    w.bytes(&plan.to_bytes());
    w.bytes(&digest);
    w.bytes(client.secret().write().expose());
    Ok((Secret::new(w.into_bytes()), bundle))
}

/// Fresh evaluation keys of a client as the server's file, and its digest. Each key is made,
/// written and dropped before the next; after each, `made` is told how many of how many there are.
///
/// **Errors:** [`Error::Lattice`] without randomness.
pub fn bundle_file(client: &Client, mut made: impl FnMut(usize, usize)) -> Result<(Vec<u8>, Digest), Error> {
    let (plan, secret) = (client.plan(), client.secret());
    let keys = plan.rotations.len() + usize::from(plan.relinearise.is_some());
    let mut w = header(Kind::EvaluationKeys);
    w.bytes(&plan.to_bytes());
    let mut count = 0;
    let mut one_more = || {
        count += 1;
        made(count, keys);
    };
    if let Some(level) = plan.relinearise {
        plan.params.write_switch_key(&mut w, &secret.relinearisation_key(level)?);
        one_more();
    }
    for &(rotation, level) in &plan.rotations {
        let key = secret.galois_key(client.encoder().rotation(rotation), level)?;
        plan.params.write_galois_key(&mut w, &key);
        one_more();
    }
    let bundle = w.into_bytes();
    let digest = digest_of(&bundle);
    Ok((bundle, digest))
}

fn digest_of(bundle: &[u8]) -> Digest {
    *blake3::hash(bundle).as_bytes()
}

/// The plan that a key file carries in front.
fn embedded_plan(r: &mut Reader<'_>) -> Result<PublicPlan, Error> {
    if r.bytes(MAGIC.len())? != MAGIC || r.u32()? != Kind::Plan as u32 || r.u32()? != VERSION {
        return Ok(r.wrong("the plan in it is not readable")?);
    }
    read_plan(r)
}

/// Reads a secret key file: the client, and the digest of the bundle made with it.
///
/// **Errors:** [`Error::Wire`], [`Error::Lattice`].
pub fn client_from_bytes(bytes: &[u8]) -> Result<(Client, Digest), Error> {
    let mut r = open(bytes, Kind::SecretKey)?;
    let plan = embedded_plan(&mut r)?;
    let digest = r.array()?;
    let secret = plan.params.read_secret_key(&mut r)?;
    r.finish()?;
    Ok((Client::with_key(plan, secret), digest))
}

/// Reads a file of evaluation keys: the plan, the keys, and the bundle's digest.
///
/// **Errors:** [`Error::Wire`], [`Error::Lattice`].
pub fn bundle_from_bytes(bytes: &[u8]) -> Result<(PublicPlan, EvaluationKeys, Digest), Error> {
    let mut r = open(bytes, Kind::EvaluationKeys)?;
    let plan = embedded_plan(&mut r)?;
    let mut keys = EvaluationKeys::new();
    if let Some(level) = plan.relinearise {
        keys.set_relinearisation(plan.params.read_switch_key(&mut r, level)?);
    }
    let encoder = Encoder::new(plan.params.n());
    for &(rotation, level) in &plan.rotations {
        let g = encoder.rotation(rotation);
        keys.insert(g, plan.params.read_galois_key(&mut r, g, level)?);
    }
    r.finish()?;
    Ok((plan, keys, digest_of(bytes)))
}
