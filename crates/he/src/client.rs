//! The client's role: keys, encryption, decryption. It needs the public plan alone.

use crate::Error;
use crate::encoder::{Encoder, centred_coefficients};
use crate::public::{Mark, Packing, PublicPlan};
use subrosa_core::Secret;
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

    fn decrypt_values(&self, answer: &EncryptedOutput) -> Result<Vec<f64>, Error> {
        let plan = &self.plan;
        let fits = answer.ciphertexts.iter().all(|c| c.level() == plan.answer.level)
            && answer.ciphertexts.len() == plan.output_ciphertexts()
            && (1..=plan.batch()).contains(&answer.samples);
        if !fits {
            return Err(Error::Input("the answer is not of this plan's form".to_owned()));
        }
        let slots: Vec<Vec<f64>> = answer.ciphertexts.iter().map(|c| self.slots_of(self.secret.decrypt(c))).collect();
        Ok(match &plan.packing {
            Packing::Latency { outputs, .. } => outputs.iter().map(|&s| slots[0][s]).collect(),
            Packing::Throughput => (0..answer.samples).flat_map(|i| slots.iter().map(move |s| s[i])).collect(),
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
