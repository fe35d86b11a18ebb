//! The server's role: the model and evaluation keys. Nothing here can name a secret key.

mod latency;
mod throughput;

use crate::Error;
use crate::client::{EncryptedInput, EncryptedOutput};
use crate::encoder::Encoder;
use crate::plan::{Plan, Throughput, Work};
use crate::public::PublicPlan;
use latency::Encoded;
use subrosa_lattice::{Ciphertext, EvaluationKeys, parallel};

/// Whoever owns the model.
pub struct Server {
    plan: PublicPlan,
    work: Prepared,
    /// The threads that compute, if there are several.
    pool: Option<rayon::ThreadPool>,
}

/// The model, ready to be computed.
enum Prepared {
    Latency(Vec<Encoded>),
    Throughput(Throughput),
}

impl Server {
    /// Encodes the weights.
    ///
    /// **Errors:** [`Error::Input`] for a weight that does not fit its scale.
    pub fn new(plan: &Plan) -> Result<Self, Error> {
        let work = match &plan.work {
            Work::Latency(stages) => {
                let encoder = Encoder::new(plan.public.params.n());
                let encode = |stage| Encoded::new(&encoder, &plan.public.params, stage);
                Prepared::Latency(stages.iter().map(encode).collect::<Result<_, _>>()?)
            }
            Work::Throughput(work) => Prepared::Throughput(work.clone()),
        };
        Ok(Self { plan: plan.public.clone(), work, pool: None })
    }

    /// Computes with `threads >= 1` threads from now on; one at first. The answer is the
    /// same.
    ///
    /// **Errors:** [`Error::Threads`] if the system refuses them.
    pub fn set_threads(&mut self, threads: usize) -> Result<(), Error> {
        let build = || rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("he-{i}")).build();
        let pool = (threads > 1).then(build).transpose();
        self.pool = pool.map_err(|e| Error::Threads(format!("{threads} threads: {e}")))?;
        Ok(())
    }

    /// The public half of the plan.
    pub fn plan(&self) -> &PublicPlan {
        &self.plan
    }

    /// Bytes of the encoded weights.
    pub fn weight_bytes(&self) -> usize {
        match &self.work {
            Prepared::Latency(stages) => stages.iter().map(Encoded::bytes).sum(),
            Prepared::Throughput(_) => 0,
        }
    }

    /// Computes the model on one request.
    ///
    /// **Errors:** [`Error::Input`] for a request of another form than the plan's,
    /// [`Error::Lattice`] for keys that are missing.
    pub fn evaluate(&self, keys: &EvaluationKeys, input: EncryptedInput) -> Result<EncryptedOutput, Error> {
        match &self.pool {
            Some(pool) => pool.install(|| self.compute(keys, input)),
            None => self.compute(keys, input),
        }
    }

    fn compute(&self, keys: &EvaluationKeys, input: EncryptedInput) -> Result<EncryptedOutput, Error> {
        let plan = &self.plan;
        let fits = input.ciphertexts.len() == plan.input_ciphertexts()
            && input.ciphertexts.iter().all(|c| c.level() == plan.fresh.level)
            && (1..=plan.batch()).contains(&input.samples);
        if !fits {
            return Err(Error::Input("the request is not of this plan's form".to_owned()));
        }
        let samples = input.samples;
        let values: Vec<Ciphertext> = parallel::map(input.ciphertexts, |c| c.into_expanded(&plan.params));
        let mut ciphertexts = match &self.work {
            Prepared::Latency(stages) => latency::evaluate(&plan.params, stages, values, keys)?,
            Prepared::Throughput(work) => throughput::evaluate(&plan.params, work, values, keys)?,
        };
        if plan.answer_drop > 0 {
            ciphertexts.iter_mut().for_each(|c| plan.params.round_coefficients(c, plan.answer_drop));
        }
        Ok(EncryptedOutput { ciphertexts, samples })
    }
}
