//! What client and server agree on: everything but the weights.

use crate::slots::SlotMap;
use subrosa_lattice::{Params, ParamsLiteral};

/// The public half of a plan. It tells the structure of the computation (parameters,
/// layouts, rotations), not the weights. Both roles work from it; its digest names it.
#[derive(Clone, Debug)]
pub struct PublicPlan {
    /// Checked parameters.
    pub params: Params,
    /// Name of the model.
    pub model: String,
    /// Elements of one sample of the input.
    pub input_len: usize,
    /// The values an input may take.
    pub input_range: (f64, f64),
    /// Elements of one sample of the output.
    pub output_len: usize,
    /// How samples stand in ciphertexts.
    pub packing: Packing,
    /// Scale and level of the client's ciphertexts.
    pub fresh: Mark,
    /// Scale and level of the answer.
    pub answer: Mark,
    /// Lowest bits of each coefficient that the answer is sent without.
    pub answer_drop: u32,
    /// What is known for publishing decrypted values, if the plan has room for that.
    pub publish: Option<Publish>,
    /// Level of the relinearisation key, if products occur.
    pub relinearise: Option<usize>,
    /// Rotations to the left with the highest level each is used at.
    pub rotations: Vec<(usize, usize)>,
}

/// Room for noise that hides the error of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Publish {
    /// Bits by which the noise may exceed the error.
    pub bits: u32,
    /// What the error of an output stays below.
    pub error: f64,
}

impl Publish {
    /// Deviation of the noise in each of so many outputs.
    pub fn deviation(&self, bits: u32, outputs: usize) -> f64 {
        f64::from(bits).exp2() * self.error * (outputs as f64).sqrt()
    }

    /// From one answer published under so much noise, nobody tells the error from another with an
    /// advantage above two to the minus this; `t` answers cost `log2 t` of it. With deviation
    /// `sqrt(12 t) 2^(k/2)` times the error it is `k`.
    pub fn statistical_bits(bits: u32) -> f64 {
        2.0 * f64::from(bits) - 12f64.log2()
    }
}

/// The least noise worth the name: 20 statistical bits for one answer.
pub const LEAST_PUBLISH_BITS: u32 = 12;

/// log2 of the largest ring degree that is planned, or computed with for others.
pub const MAX_LOG_N: u32 = 15;

/// Most memory (bytes) that the evaluation keys, or the values of a request or an answer, of
/// somebody else's plan may take.
pub const MAX_BYTES: u64 = 8_000_000_000;

/// How samples stand in ciphertexts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packing {
    /// One sample, spread over the slots.
    Latency {
        /// One map a ciphertext of the input.
        inputs: Vec<SlotMap>,
        /// For each output element, the slot that holds it.
        outputs: Vec<usize>,
    },
    /// One ciphertext an element, one slot a sample.
    Throughput,
}

/// Scale and level of a ciphertext.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// Primes.
    pub level: usize,
    /// What slots are multiplied by.
    pub scale: f64,
}

impl PublicPlan {
    /// Samples in one evaluation.
    pub fn batch(&self) -> usize {
        match self.packing {
            Packing::Latency { .. } => 1,
            Packing::Throughput => self.params.n() / 2,
        }
    }

    /// Ciphertexts that the client sends.
    pub fn input_ciphertexts(&self) -> usize {
        match &self.packing {
            Packing::Latency { inputs, .. } => inputs.len(),
            Packing::Throughput => self.input_len,
        }
    }

    /// Ciphertexts of the answer.
    pub fn output_ciphertexts(&self) -> usize {
        match self.packing {
            Packing::Latency { .. } => 1,
            Packing::Throughput => self.output_len,
        }
    }

    /// Bytes of residues of one polynomial at a level, packed.
    pub fn poly_bytes(&self, level: usize) -> usize {
        let bits: usize = (0..level).map(|i| self.params.modulus(i).bits() as usize).sum();
        bits * self.params.n() / 8
    }

    /// Bytes that the client sends for one evaluation, headers not counted.
    pub fn upload_bytes(&self) -> usize {
        self.input_ciphertexts() * (self.poly_bytes(self.fresh.level) + 32)
    }

    /// Bytes of the answer.
    pub fn answer_bytes(&self) -> usize {
        let dropped = self.answer_drop as usize * self.params.n() / 8;
        self.output_ciphertexts() * 2 * (self.poly_bytes(self.answer.level) - dropped)
    }

    /// Memory of the evaluation keys.
    pub fn key_memory(&self) -> u64 {
        let key = |level: usize| (2 * self.params.digits(level) * self.params.packed_bytes(level, true)) as u64;
        let turns = size_of::<u32>() * self.params.n() * self.rotations.len();
        let rotations = self.rotations.iter().map(|r| key(r.1)).fold(turns as u64, u64::saturating_add);
        rotations.saturating_add(self.relinearise.map_or(0, key))
    }

    /// Memory of a request's ciphertexts or an answer's, whichever is more.
    pub fn value_memory(&self) -> u64 {
        let words = |ciphertexts: usize, level: usize| {
            (2 * ciphertexts as u64).saturating_mul((level * self.params.n() * size_of::<u64>()) as u64)
        };
        let answer = words(self.output_ciphertexts(), self.answer.level);
        answer.max(words(self.input_ciphertexts(), self.fresh.level))
    }

    /// Bytes of the evaluation keys, uniform halves as seeds.
    pub fn key_bytes(&self) -> usize {
        let special: usize =
            (0..self.params.special()).map(|k| self.params.modulus(self.params.levels() + k).bits() as usize).sum();
        let digit = |level: usize| self.poly_bytes(level) + special * self.params.n() / 8;
        let key = |level: usize| self.params.digits(level) * digit(level);
        self.rotations.iter().map(|&(_, level)| key(level)).sum::<usize>() + self.relinearise.map_or(0, key)
    }

    /// What the parameters were made from.
    pub fn literal(&self) -> &ParamsLiteral {
        self.params.literal()
    }
}
