//! The five files of the protocol: plan, secret key, evaluation keys, request, answer.
//!
//! Each begins with magic, kind and version and then names the plan (BLAKE3 of its bytes);
//! all but the plan also name the key bundle. A file of another plan, of another key or of
//! another kind is refused by name before anything is decoded, and its exact length is
//! known from the plan before anything is allocated.

mod keys;

use crate::Error;
use crate::client::{EncryptedInput, EncryptedOutput};
use crate::public::{MAX_BYTES, MAX_LOG_N, Mark, Packing, PublicPlan, Publish};
use crate::slots::SlotMap;
use subrosa_lattice::modulus::MAX_PRIME_BITS;
use subrosa_lattice::wire::{Reader, Writer};
use subrosa_lattice::{Attacker, Params, ParamsLiteral};

pub use keys::{bundle_file, bundle_from_bytes, client_from_bytes, key_files};

const MAGIC: &[u8; 8] = b"SBRSCKKS";
const VERSION: u32 = 2;
/// Most slots, primes, ciphertexts, rotations and letters that a plan may speak of.
const MAX_COUNT: usize = 1 << 20;

/// A BLAKE3 digest that names a plan or a key bundle.
pub type Digest = [u8; 32];

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// The public half of a plan.
    Plan = 1,
    /// The client's secret key, with the plan.
    SecretKey = 2,
    /// The server's evaluation keys, with the plan.
    EvaluationKeys = 3,
    /// An encrypted input.
    Request = 4,
    /// An encrypted output.
    Answer = 5,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Plan, Self::SecretKey, Self::EvaluationKeys, Self::Request, Self::Answer];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan file",
            Self::SecretKey => "secret key file",
            Self::EvaluationKeys => "evaluation key file",
            Self::Request => "request file",
            Self::Answer => "answer file",
        }
    }
}

fn header(kind: Kind) -> Writer {
    let mut w = Writer::new();
    w.bytes(MAGIC);
    w.u32(kind as u32);
    w.u32(VERSION);
    w
}

/// Magic, kind and version.
pub(crate) const HEADER_BYTES: usize = MAGIC.len() + 8;

/// Reads past magic, kind and version.
pub(crate) fn open(bytes: &[u8], kind: Kind) -> Result<Reader<'_>, Error> {
    let mut r = Reader::new(bytes, kind.name());
    if r.bytes(MAGIC.len()).ok() != Some(MAGIC) {
        return Ok(r.wrong("it does not begin as our files do")?);
    }
    let found = r.u32()?;
    if found != kind as u32 {
        let other = Kind::ALL.into_iter().find(|k| *k as u32 == found).map_or("file of unknown kind", Kind::name);
        return Ok(r.wrong(format!("it is a {other}"))?);
    }
    match r.u32()? {
        VERSION => Ok(r),
        version => Ok(r.wrong(format!("it is of version {version}; this program reads version {VERSION}"))?),
    }
}

/// Whether a file that begins so holds a secret key.
pub fn is_secret_key(head: &[u8]) -> bool {
    open(head, Kind::SecretKey).is_ok()
}

fn expect(r: &mut Reader<'_>, what: &str, digest: &Digest) -> Result<(), Error> {
    if r.array::<32>()? == *digest { Ok(()) } else { Ok(r.wrong(format!("it belongs to another {what}"))?) }
}

impl PublicPlan {
    /// Its file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = header(Kind::Plan);
        w.bytes(&self.body());
        w.into_bytes()
    }

    /// BLAKE3 of its contents: its name in every other file.
    pub fn digest(&self) -> Digest {
        *blake3::hash(&self.body()).as_bytes()
    }

    fn body(&self) -> Vec<u8> {
        let mut w = Writer::new();
        let literal = self.literal();
        w.u32(literal.log_n);
        w.u32(match literal.attacker {
            Attacker::Classical => 0,
            Attacker::Quantum => 1,
        });
        for primes in [&literal.q, &literal.special] {
            count(&mut w, primes.len());
            primes.iter().for_each(|&p| w.u64(p));
        }
        count(&mut w, self.model.len());
        w.bytes(self.model.as_bytes());
        count(&mut w, self.input_len);
        real(&mut w, self.input_range.0);
        real(&mut w, self.input_range.1);
        count(&mut w, self.output_len);
        for mark in [self.fresh, self.answer] {
            count(&mut w, mark.level);
            real(&mut w, mark.scale);
        }
        w.u32(self.answer_drop);
        w.u32(self.publish.map_or(0, |p| p.bits));
        real(&mut w, self.publish.map_or(0.0, |p| p.error));
        count(&mut w, self.relinearise.unwrap_or(0));
        count(&mut w, self.rotations.len());
        for &(rotation, level) in &self.rotations {
            count(&mut w, rotation);
            count(&mut w, level);
        }
        packing(&mut w, &self.packing);
        w.into_bytes()
    }

    /// Reads its file.
    ///
    /// **Errors:** [`Error::Wire`] for anything that is no sound plan;
    /// [`Error::Lattice`] for parameters that are insecure.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = open(bytes, Kind::Plan)?;
        let plan = read_plan(&mut r)?;
        r.finish()?;
        Ok(plan)
    }
}

fn count(w: &mut Writer, n: usize) {
    w.u32(u32::try_from(n).unwrap_or(u32::MAX));
}

fn real(w: &mut Writer, x: f64) {
    w.u64(x.to_bits());
}

fn packing(w: &mut Writer, packing: &Packing) {
    let Packing::Latency { inputs, outputs } = packing else { return count(w, 0) };
    count(w, 1);
    count(w, inputs.len());
    for element in inputs.iter().flat_map(SlotMap::iter) {
        count(w, element.map_or(0, |e| e + 1));
    }
    outputs.iter().for_each(|&slot| count(w, slot));
}

/// A count of at most `most`.
fn at_most(r: &mut Reader<'_>, most: usize, what: &str) -> Result<usize, Error> {
    match r.u32()? as usize {
        n if n <= most => Ok(n),
        n => Ok(r.wrong(format!("it speaks of {n} {what}, and at most {most} are possible"))?),
    }
}

fn finite(r: &mut Reader<'_>) -> Result<f64, Error> {
    let x = f64::from_bits(r.u64()?);
    if x.is_finite() { Ok(x) } else { Ok(r.wrong("a number in it is not finite")?) }
}

fn read_plan(r: &mut Reader<'_>) -> Result<PublicPlan, Error> {
    let params = read_params(r)?;
    let letters = at_most(r, 4096, "letters")?;
    let Ok(model) = String::from_utf8(r.bytes(letters)?.to_vec()) else {
        return Ok(r.wrong("the model's name is not text")?);
    };
    let input_len = at_most(r, MAX_COUNT, "inputs")?;
    let input_range = (finite(r)?, finite(r)?);
    let output_len = at_most(r, MAX_COUNT, "outputs")?;
    let (fresh, answer) = (read_mark(r, &params)?, read_mark(r, &params)?);
    // Only an answer at its last prime is sent with fewer bits.
    let spare = if answer.level == 1 { params.modulus(0).bits() - 1 } else { 0 };
    let answer_drop = at_most(r, spare as usize, "bits dropped")? as u32;
    let publish = read_publish(r)?;
    let relinearise = Some(at_most(r, params.levels(), "levels")?).filter(|&l| l > 0);
    let slots = params.n() / 2;
    let rotations = at_most(r, slots, "rotations")?;
    let rotation = |r: &mut Reader<'_>| Ok((at_most(r, slots - 1, "slots")?, at_most(r, params.levels(), "levels")?));
    let rotations = (0..rotations).map(|_| rotation(r)).collect::<Result<Vec<_>, Error>>()?;
    if input_len == 0 || output_len == 0 || rotations.iter().any(|&(_, level)| level == 0) {
        return Ok(r.wrong("a size in it is zero")?);
    }
    let packing = read_packing(r, slots, input_len, output_len)?;
    let sorted = rotations.windows(2).all(|w| w[0].0 < w[1].0);
    if !sorted {
        return Ok(r.wrong("its rotations are not in order")?);
    }
    let plan = PublicPlan {
        params,
        model,
        input_len,
        input_range,
        output_len,
        packing,
        fresh,
        answer,
        answer_drop,
        publish,
        relinearise,
        rotations,
    };
    for (what, bytes) in [("evaluation keys", plan.key_memory()), ("ciphertexts", plan.value_memory())] {
        if bytes > MAX_BYTES {
            return Ok(r.wrong(format!("its {what} would take {bytes} bytes of memory; {MAX_BYTES} are the limit"))?);
        }
    }
    Ok(plan)
}

fn read_publish(r: &mut Reader<'_>) -> Result<Option<Publish>, Error> {
    let (bits, error) = (at_most(r, 64, "bits of noise")? as u32, finite(r)?);
    match bits {
        0 if error.to_bits() == 0 => Ok(None),
        1.. if error > 0.0 => Ok(Some(Publish { bits, error })),
        _ => Ok(r.wrong("the error in it is senseless")?),
    }
}

fn read_params(r: &mut Reader<'_>) -> Result<Params, Error> {
    let log_n = r.u32()?;
    // Before any table is made.
    if log_n > MAX_LOG_N {
        return Ok(r.wrong(format!("it asks for ring degree 2^{log_n}; 2^{MAX_LOG_N} is the largest computed with"))?);
    }
    let attacker = match r.u32()? {
        0 => Attacker::Classical,
        1 => Attacker::Quantum,
        _ => return Ok(r.wrong("its attacker is unknown")?),
    };
    // More primes than these would be above the security table's largest row.
    let most = 1747 / (MAX_PRIME_BITS as usize / 3);
    let mut primes = || {
        let n = at_most(r, most, "primes")?;
        (0..n).map(|_| Ok(r.u64()?)).collect::<Result<Vec<u64>, Error>>()
    };
    let (q, special) = (primes()?, primes()?);
    Ok(Params::new(ParamsLiteral { log_n, q, special, attacker })?)
}

fn read_mark(r: &mut Reader<'_>, params: &Params) -> Result<Mark, Error> {
    let (level, scale) = (at_most(r, params.levels(), "levels")?, finite(r)?);
    if level == 0 || scale < 1.0 {
        return Ok(r.wrong("a level or scale in it is senseless")?);
    }
    Ok(Mark { level, scale })
}

fn read_packing(r: &mut Reader<'_>, slots: usize, input_len: usize, output_len: usize) -> Result<Packing, Error> {
    if at_most(r, 1, "packings")? == 0 {
        return Ok(Packing::Throughput);
    }
    let ciphertexts = at_most(r, 4096, "ciphertexts")?;
    if r.left() < 4 * (ciphertexts * slots + output_len) {
        return Ok(r.wrong("it is cut off")?);
    }
    let map = |r: &mut Reader<'_>| {
        let mut map = SlotMap::empty(slots);
        for slot in 0..slots {
            let element = at_most(r, input_len, "elements")?;
            if element > 0 {
                map.put(slot, element - 1);
            }
        }
        Ok(map)
    };
    let inputs = (0..ciphertexts).map(|_| map(r)).collect::<Result<_, Error>>()?;
    let outputs = (0..output_len).map(|_| at_most(r, slots - 1, "slots")).collect::<Result<_, Error>>()?;
    Ok(Packing::Latency { inputs, outputs })
}

fn sealed(kind: Kind, plan: &PublicPlan, bundle: &Digest, samples: usize) -> Writer {
    let mut w = header(kind);
    w.bytes(&plan.digest());
    w.bytes(bundle);
    count(&mut w, samples);
    w
}

fn unseal<'a>(bytes: &'a [u8], kind: Kind, plan: &PublicPlan, bundle: &Digest) -> Result<(Reader<'a>, usize), Error> {
    let mut r = open(bytes, kind)?;
    expect(&mut r, "plan", &plan.digest())?;
    expect(&mut r, "key", bundle)?;
    let samples = at_most(&mut r, plan.batch(), "samples")?;
    if samples == 0 { Ok(r.wrong("it holds no sample")?) } else { Ok((r, samples)) }
}

/// The file of an encrypted input.
pub fn request_to_bytes(plan: &PublicPlan, bundle: &Digest, input: &EncryptedInput) -> Vec<u8> {
    let mut w = sealed(Kind::Request, plan, bundle, input.samples);
    input.ciphertexts.iter().for_each(|c| plan.params.write_seeded(&mut w, c));
    w.into_bytes()
}

/// Reads the file of an encrypted input.
///
/// **Errors:** [`Error::Wire`] for what is damaged, or of another plan or key.
pub fn request_from_bytes(plan: &PublicPlan, bundle: &Digest, bytes: &[u8]) -> Result<EncryptedInput, Error> {
    let (mut r, samples) = unseal(bytes, Kind::Request, plan, bundle)?;
    let one = |_| Ok(plan.params.read_seeded(&mut r, plan.fresh.level)?);
    let ciphertexts = (0..plan.input_ciphertexts()).map(one).collect::<Result<_, Error>>()?;
    r.finish()?;
    Ok(EncryptedInput { ciphertexts, samples })
}

/// The file of an encrypted output.
pub fn answer_to_bytes(plan: &PublicPlan, bundle: &Digest, answer: &EncryptedOutput) -> Vec<u8> {
    let mut w = sealed(Kind::Answer, plan, bundle, answer.samples);
    for c in &answer.ciphertexts {
        match plan.answer_drop {
            0 => plan.params.write_ciphertext(&mut w, c),
            drop => plan.params.write_rounded(&mut w, c, drop),
        }
    }
    w.into_bytes()
}

/// Reads the file of an encrypted output.
///
/// **Errors:** [`Error::Wire`] for what is damaged, or of another plan or key.
pub fn answer_from_bytes(plan: &PublicPlan, bundle: &Digest, bytes: &[u8]) -> Result<EncryptedOutput, Error> {
    let (mut r, samples) = unseal(bytes, Kind::Answer, plan, bundle)?;
    let one = |_| match plan.answer_drop {
        0 => Ok(plan.params.read_ciphertext(&mut r, plan.answer.level)?),
        drop => Ok(plan.params.read_rounded(&mut r, drop)?),
    };
    let ciphertexts = (0..plan.output_ciphertexts()).map(one).collect::<Result<_, Error>>()?;
    r.finish()?;
    Ok(EncryptedOutput { ciphertexts, samples })
}
