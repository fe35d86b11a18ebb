//! The client's role: keys, encryption, decryption. It needs the public plan alone.

use crate::Error;
use crate::encoder::{Encoder, centred_coefficients};
use crate::files;
use crate::public::{LEAST_PUBLISH_BITS, Mark, Packing, PublicPlan};
use subrosa_core::{Prg, Secret, Seed};
use subrosa_lattice::{Ciphertext, EvaluationKeys, Poly, SecretKey, SeededCiphertext};
use zeroize::Zeroize;

/// Whoever owns the data: the only holder of the secret key.
pub struct Client {
    plan: PublicPlan,
    secret: SecretKey,
    encoder: Encoder,
}

/// One evaluation's input, encrypted.
#[derive(Clone)]
pub struct EncryptedInput {
    /// As many as the plan says.
    pub ciphertexts: Vec<SeededCiphertext>,
    /// Samples in them.
    pub samples: usize,
}

/// One evaluation's answer.
#[derive(Clone)]
pub struct EncryptedOutput {
    /// As many as the plan says.
    pub ciphertexts: Vec<Ciphertext>,
    /// Samples in them.
    pub samples: usize,
}

/// Decrypted values that may be shown to others.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Samples row-major.
    pub values: Vec<f32>,
    /// Deviation of the noise in each.
    pub deviation: f64,
    /// Values are multiples of this.
    pub step: f64,
}

impl Client {
    /// A client with a fresh key.
    ///
    /// **Errors:** [`Error::Lattice`] without randomness.
    pub fn new(plan: PublicPlan) -> Result<Self, Error> {
        let secret = SecretKey::generate(&plan.params)?;
        Ok(Self::with_key(plan, secret))
    }

    /// A client whose key was made earlier.
    pub fn with_key(plan: PublicPlan, secret: SecretKey) -> Self {
        let encoder = Encoder::new(plan.params.n());
        Self { plan, secret, encoder }
    }

    /// The plan.
    pub fn plan(&self) -> &PublicPlan {
        &self.plan
    }

    pub(crate) fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The secret key, to be kept in a file of the client.
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The keys that the server needs for this plan, and no others.
    ///
    /// **Errors:** [`Error::Lattice`] without randomness.
    pub fn evaluation_keys(&self) -> Result<EvaluationKeys, Error> {
        let mut keys = EvaluationKeys::new();
        if let Some(level) = self.plan.relinearise {
            keys.set_relinearisation(self.secret.relinearisation_key(level)?);
        }
        for &(rotation, level) in &self.plan.rotations {
            let g = self.encoder.rotation(rotation);
            keys.insert(g, self.secret.galois_key(g, level)?);
        }
        Ok(keys)
    }

    /// Encrypts samples, row-major.
    ///
    /// **Errors:** [`Error::Input`] for wrong lengths and for values outside the plan's
    /// range.
    pub fn encrypt(&self, samples: &[f32]) -> Result<EncryptedInput, Error> {
        let len = self.plan.input_len;
        let count = samples.len() / len.max(1);
        if count == 0 || !samples.len().is_multiple_of(len) || count > self.plan.batch() {
            let most = self.plan.batch();
            return Err(Error::Input(format!("{} values are not 1 to {most} samples of {len}", samples.len())));
        }
        let (lo, hi) = self.plan.input_range;
        if samples.iter().any(|&v| !(f64::from(v) >= lo && f64::from(v) <= hi)) {
            return Err(Error::Input(format!("a value is outside the range [{lo}, {hi}] of the plan")));
        }
        let ciphertexts = match &self.plan.packing {
            Packing::Latency { inputs, .. } => {
                let x = Secret::new(samples.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
                inputs.iter().map(|map| self.encrypt_slots(map.fill(x.expose()))).collect::<Result<_, _>>()?
            }
            Packing::Throughput => {
                let column = |i: usize| samples.iter().skip(i).step_by(len).map(|&v| f64::from(v)).collect();
                (0..len).map(|i| self.encrypt_slots(column(i))).collect::<Result<_, _>>()?
            }
        };
        Ok(EncryptedInput { ciphertexts, samples: count })
    }

    fn encrypt_slots(&self, values: Vec<f64>) -> Result<SeededCiphertext, Error> {
        let values = Secret::new(values);
        let Mark { level, scale } = self.plan.fresh;
        let mut message = self.encoder.encode(&self.plan.params, values.expose(), scale, level, false)?;
        let ciphertext = self.secret.encrypt(&message);
        message.zeroize();
        Ok(ciphertext?)
    }

    /// Decrypts an answer: samples row-major. For the key's owner alone: the values carry
    /// the ciphertexts' errors (Li and Micciancio, 2020/1533).
    ///
    /// **Errors:** [`Error::Input`] for an answer of another plan's form.
    pub fn decrypt(&self, answer: &EncryptedOutput) -> Result<Vec<f32>, Error> {
        let values = self.decrypt_values(answer)?;
        Ok(values.into_iter().map(|v| v as f32).collect())
    }

    /// Decrypts an answer to be shown to others: Gaussian noise of `2^bits` times the error's
    /// bound hides the error, and what is below the noise is rounded away.
    ///
    /// The noise is derived from key, answer and `bits`: the same request always gives the same
    /// values, so that nothing is learnt by averaging. Another `bits` is another publication.
    ///
    /// **Errors:** [`Error::Input`] for a plan without that room, and as [`Client::decrypt`].
    ///
    /// **Source:** B. Li, D. Micciancio, M. Schultz, J. Sorrell, "Securing approximate
    /// homomorphic encryption using differential privacy", 2022,
    /// <https://eprint.iacr.org/2022/816>, section 4: with deviation `sqrt(12 t) 2^(k/2)` times
    /// the error's norm, `t` published answers let nobody gain an advantage above `2^-k`
    /// ([`crate::Publish::statistical_bits`]).
    ///
    /// **Differs:** noise is added to the outputs rather than to every coefficient: nothing
    /// else is published. Their bound on the error is proven, ours measured.
    pub fn decrypt_to_publish(&self, answer: &EncryptedOutput, bits: u32) -> Result<Published, Error> {
        let room = self.plan.publish.filter(|p| (LEAST_PUBLISH_BITS..=p.bits).contains(&bits)).ok_or_else(|| {
            let most = self.plan.publish.map_or(0, |p| p.bits);
            Error::Input(format!(
                "this plan has room for {most} bits of noise, and {bits} were asked for; plan with --publish BITS, {LEAST_PUBLISH_BITS} or more"
            ))
        })?;
        // As it travels: what is decrypted is what the noise is derived from.
        let bytes = files::answer_to_bytes(&self.plan, &[0; 32], answer);
        let answer = files::answer_from_bytes(&self.plan, &[0; 32], &bytes)?;
        let values = Secret::new(self.decrypt_values(&answer)?);
        let deviation = room.deviation(bits, values.expose().len());
        let step = deviation.log2().floor().exp2();
        let mut noise = self.noise_of(&bytes, bits);
        let flooded = values.expose().iter().map(|v| v + deviation * normal(&mut noise));
        Ok(Published { values: flooded.map(|v| ((v / step).round() * step) as f32).collect(), deviation, step })
    }

    /// A stream that nobody can tell without the key, one an answer and amount of noise.
    fn noise_of(&self, answer: &[u8], bits: u32) -> Prg {
        let mut hash = blake3::Hasher::new_derive_key("subrosa 2026-11 ckks noise of published answers v2");
        hash.update(self.secret.write().expose());
        hash.update(&bits.to_le_bytes());
        hash.update(answer);
        let mut digest = hash.finalize();
        let seed = Seed::from_bytes(*digest.as_bytes());
        digest.zeroize();
        hash.zeroize();
        seed.stream("published noise")
    }

    pub(crate) fn decrypt_values(&self, answer: &EncryptedOutput) -> Result<Vec<f64>, Error> {
        let plan = &self.plan;
        let fits = answer.ciphertexts.iter().all(|c| c.level() == plan.answer.level)
            && answer.ciphertexts.len() == plan.output_ciphertexts()
            && (1..=plan.batch()).contains(&answer.samples);
        if !fits {
            return Err(Error::Input("the answer is not of this plan's form".to_owned()));
        }
        let slots: Vec<Secret<Vec<f64>>> =
            answer.ciphertexts.iter().map(|c| Secret::new(self.slots_of(self.secret.decrypt(c)))).collect();
        Ok(match &plan.packing {
            Packing::Latency { outputs, .. } => outputs.iter().map(|&s| slots[0].expose()[s]).collect(),
            Packing::Throughput => (0..answer.samples).flat_map(|i| slots.iter().map(move |s| s.expose()[i])).collect(),
        })
    }

    fn slots_of(&self, mut message: Poly) -> Vec<f64> {
        let mut coefficients = centred_coefficients(&self.plan.params, &mut message);
        let slots = self.encoder.slots_of(&coefficients, self.plan.answer.scale);
        coefficients.zeroize();
        message.zeroize();
        slots
    }
}

/// A standard normal number (G. Box, M. Muller, 1958): uniform bits, no rejection.
fn normal(stream: &mut Prg) -> f64 {
    let words = stream.u64s(2);
    let unit = |w: u64| ((w >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    (-2.0 * unit(words[0]).ln()).sqrt() * (std::f64::consts::TAU * unit(words[1])).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_their_moments() {
        let mut stream = Seed::from_bytes([5; 32]).stream("normal test");
        let drawn: Vec<f64> = (0..20_000).map(|_| normal(&mut stream)).collect();
        let moment = |k: i32| drawn.iter().map(|v| v.powi(k)).sum::<f64>() / 20_000.0;
        // Five standard deviations of each mean.
        assert!(moment(1).abs() < 5.0 / 141.0 && (moment(2) - 1.0).abs() < 5.0 * 1.41 / 141.0);
        assert!((moment(4) - 3.0).abs() < 5.0 * 9.8 / 141.0);
    }
}
