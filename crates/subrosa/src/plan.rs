//! How a model will be computed, decided and proven before any input is seen.

use crate::backends::Via;
use crate::ckks::Ckks;
use crate::model::{Model, Port, hex};
use crate::options::{InputSpec, PlanOptions};
use crate::output::opened_ports;
use crate::session::Session;
use crate::sheet::PlanSheet;
use crate::{Error, Result};
use std::fmt;
use std::sync::Arc;
use subrosa_graph::{Comparing, InputRange, LowerOptions, Lowered};
use subrosa_mpc::{Options, Predicted, ProtocolKind};

/// The most samples in one inference.
pub const MAX_BATCH: usize = 1 << 16;

/// The most threads a party may have.
pub const MAX_THREADS: usize = 256;

/// A decided computation: printable, with a digest. The second state.
#[derive(Clone)]
pub struct Plan {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) model: Model,
    pub(crate) options: PlanOptions,
    pub(crate) fixed: Option<Fixed>,
    pub(crate) ckks: Option<Ckks>,
    pub(crate) opened: Vec<Port>,
    sheet: PlanSheet,
}

/// What protected execution needs beyond the model.
pub(crate) struct Fixed {
    pub(crate) protocol: ProtocolKind,
    pub(crate) options: Options,
    pub(crate) lowered: Lowered,
    pub(crate) predicted: Predicted,
}

impl Plan {
    pub(crate) fn new(model: &Model, options: &PlanOptions) -> Result<Self> {
        check(options)?;
        let fixed = options.via.protocol().map(|protocol| Fixed::new(model, protocol, options)).transpose()?;
        let ckks = (options.via == Via::Ckks).then(|| Ckks::new(model, options)).transpose()?;
        let mut opened = opened_ports(model.outputs(), options.reveal);
        if let Some(fixed) = &fixed {
            for (port, &id) in opened.iter_mut().zip(&fixed.lowered.program.outputs) {
                port.shape = fixed.lowered.program.insts[id].shape.dims().to_vec();
            }
        }
        let digest = digest(model, options, fixed.as_ref(), ckks.as_ref());
        let sheet = PlanSheet::new(model, options, fixed.as_ref(), ckks.as_ref(), &opened, digest);
        let inner = Inner { model: model.clone(), options: options.clone(), fixed, ckks, opened, sheet };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What was decided and predicted, for reading and for JSON.
    pub fn sheet(&self) -> &PlanSheet {
        &self.inner.sheet
    }

    /// Starts the parties and shares the model: the third state.
    ///
    /// **Errors:** [`Error::Peer`] if a party cannot be started.
    pub fn open(&self) -> Result<Session> {
        Session::open(self)
    }

    /// A session that runs the same integers in the clear, without parties: what the
    /// protocol must come to, within the plan's last-place bound. No protection.
    ///
    /// **Errors:** [`Error::Misuse`] for a plan via `plain`, which has no integers.
    pub fn simulate(&self) -> Result<Session> {
        Session::simulate(self)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.sheet.fmt(f)
    }
}

impl Fixed {
    fn new(model: &Model, protocol: ProtocolKind, options: &PlanOptions) -> Result<Self> {
        if options.batch > 1 {
            // A model that mixes the samples of a batch would get another answer than in
            // the clear: here every sample is computed by itself.
            model.graph().check_batching()?;
        }
        let lowered = lower(model, options, protocol.comparing())?;
        let mpc = Options {
            public_weights: options.public_weights,
            threads: options.threads,
            exact: options.exact,
            insecure_self_dealer: options.insecure_self_dealer,
        };
        let predicted = subrosa_mpc::predict(protocol, &lowered.program, options.batch, &mpc)?;
        Ok(Self { protocol, options: mpc, lowered, predicted })
    }

    /// Bytes of each server's file of keys for a batch; none without a dealer of its own.
    #[cfg(unix)]
    pub(crate) fn key_bytes(&self) -> Vec<u64> {
        let ahead = self.predicted.dealt_ahead.iter().filter(|_| !self.options.insecure_self_dealer);
        ahead.map(|&bytes| crate::deploy::key_file_bytes(bytes)).collect()
    }

    /// Files of keys are for deployments.
    #[cfg(not(unix))]
    pub(crate) fn key_bytes(&self) -> Vec<u64> {
        Vec::new()
    }
}

/// The first candidate range that can be proven; the narrowest one's error otherwise.
fn lower(model: &Model, options: &PlanOptions, comparing: Comparing) -> Result<Lowered> {
    let mut refused = Error::misuse("the model has no input", "");
    for inputs in options.input.candidates(model.inputs().len())? {
        match lower_on(model, options, inputs, comparing) {
            Ok(lowered) => return Ok(lowered),
            Err(error @ Error::Plan { .. }) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(with_way_out(refused, &options.input))
}

fn lower_on(model: &Model, options: &PlanOptions, inputs: Vec<InputRange>, comparing: Comparing) -> Result<Lowered> {
    let lower = LowerOptions { ring: options.ring, inputs, reveal: options.reveal, comparing };
    Ok(subrosa_graph::lower(model.graph().graph(), &lower)?)
}

/// A plan refused on assumed ranges may succeed on the true, narrower one.
fn with_way_out(mut error: Error, spec: &InputSpec) -> Error {
    if let (Error::Plan { hint: hint @ None, .. }, InputSpec::Auto) = (&mut error, spec) {
        *hint = Some("state the inputs' true range (--calibrate FILE or --input-range LO,HI)".to_owned());
    }
    error
}

fn check(options: &PlanOptions) -> Result<()> {
    if options.batch == 0 || options.batch > MAX_BATCH {
        let message = format!("a batch of {} samples is not possible", options.batch);
        return Err(Error::misuse(message, &format!("choose 1 to {MAX_BATCH}")));
    }
    check_threads(options.threads)?;
    let dealt = options.via.protocol().and_then(ProtocolKind::dealer).is_some();
    if options.insecure_self_dealer && !dealt {
        let message = format!("a party that deals for itself was asked for, but '{}' has no dealer", options.via);
        return Err(Error::misuse(
            message,
            "leave --insecure-self-dealer out, or choose a backend that has one (--via beaver, --via fss)",
        ));
    }
    if options.exact && options.via.protocol().is_none() {
        let message = format!("exact truncation was asked for, but '{}' truncates nothing", options.via);
        return Err(Error::misuse(message, "leave --exact out, or choose another backend (--via rep3)"));
    }
    if options.publish > 0 && options.via != Via::Ckks {
        let message =
            format!("room to publish was asked for, but what '{}' decrypts has no error to hide", options.via);
        return Err(Error::misuse(message, "leave --publish out, or add --via ckks"));
    }
    let fixed_only = options.ring.is_some() || options.public_weights;
    if matches!(options.via, Via::Plain | Via::Tee) && fixed_only {
        let message = format!("a ring or public weights were asked for, but '{}' has neither", options.via);
        return Err(Error::misuse(message, "choose another backend (--via rep3)"));
    }
    Ok(())
}

/// **Errors:** [`Error::Misuse`] for none, or for more than any machine has.
pub(crate) fn check_threads(threads: usize) -> Result<()> {
    match threads {
        1..=MAX_THREADS => Ok(()),
        _ => Err(Error::misuse(
            format!("{threads} threads were asked for"),
            &format!("choose 1 to {MAX_THREADS}; more than there are cores help nobody"),
        )),
    }
}

/// BLAKE3 of everything the parties must agree on.
fn digest(model: &Model, options: &PlanOptions, fixed: Option<&Fixed>, ckks: Option<&Ckks>) -> String {
    let mut hash = blake3::Hasher::new_derive_key("subrosa 2026-11 plan digest v1");
    let choices = format!("{} {} {:?} {}", options.via, options.batch, options.reveal, options.public_weights);
    hash.update(choices.as_bytes());
    if options.exact {
        hash.update(b" exact");
    }
    if options.insecure_self_dealer {
        hash.update(b" insecure self dealer");
    }
    match (fixed, ckks) {
        (Some(fixed), _) => hash.update(&fixed.lowered.program.digest()),
        (None, Some(ckks)) => hash.update(&ckks.plan.public.digest()),
        (None, None) => hash.update(&model.graph().digest()),
    };
    hex(hash.finalize().as_bytes())
}
