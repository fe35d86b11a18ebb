//! What model owner, data owner and result receiver do: deal and reconstruct, never
//! compute. Each function speaks for one endpoint of a session.

use crate::predict::weight_elements;
use crate::protocol::{Evaluator, Protocol, WordOf};
use crate::{Error, Options, ProtocolKind};
use subrosa_core::Phase;
use subrosa_graph::{Program, WeightSet};
use subrosa_net::Session;
use subrosa_ring::{Ring, Word, pack, packed_len, sign_extend};
use zeroize::Zeroizing;

/// The model owner's message to each compute party, in their order: its share of all
/// weights, or the weights themselves where the options make them public. Empty for a
/// program without weights.
///
/// **Errors:** [`Error::Misuse`] if the weights are not the program's; [`Error::Entropy`].
pub fn deal_model(
    kind: ProtocolKind,
    program: &Program,
    weights: &WeightSet,
    options: &Options,
) -> Result<Vec<Vec<u8>>, Error> {
    with_protocol!(kind, program.ring, P => deal::<P>(program, weights, options))
}

/// Length in bytes of [`deal_model`]'s message to `party`.
pub fn model_share_bytes(kind: ProtocolKind, program: &Program, options: &Options, party: usize) -> usize {
    let n = weight_elements(program);
    with_protocol!(kind, program.ring, P => match (n, options.public_weights) {
        (0, _) => 0,
        (_, true) => packed_len(n, <P as Evaluator>::Ring::WIDTH.bits()),
        (_, false) => P::dealt_bytes(party, n),
    })
}

/// Deals the model to the compute parties in a session. One round, as priced in
/// [`Predicted::setup`](crate::Predicted::setup); none without weights.
///
/// **Errors:** as [`deal_model`], and those of the session.
pub fn give_model(
    kind: ProtocolKind,
    session: &mut Session,
    program: &Program,
    weights: &WeightSet,
    options: &Options,
) -> Result<(), Error> {
    let messages = deal_model(kind, program, weights, options)?;
    if !messages.is_empty() {
        session.round(messages.into_iter().enumerate().collect(), &[])?;
    }
    Ok(())
}

/// What the parties told a data owner before its inputs are there. No `Debug`: these are keys.
#[derive(Default)]
pub struct Told(Vec<Zeroizing<Vec<Vec<u8>>>>);

/// Hears what the parties tell the data owner in the preprocessing of a batch; to be called
/// between that and [`give_inputs`]. Nothing with most protocols.
///
/// **Errors:** those of the session.
pub fn hear_told(kind: ProtocolKind, session: &mut Session, program: &Program) -> Result<Told, Error> {
    let (online, bytes) = with_protocol!(kind, program.ring, P => (P::ONLINE, P::TOLD_BYTES));
    if bytes == 0 {
        return Ok(Told::default());
    }
    let phase = session.phase();
    session.set_phase(Phase::Offline);
    let expected: Vec<_> = (0..online).map(|party| (party, bytes)).collect();
    let mut told = Vec::new();
    for _ in &program.inputs {
        told.push(Zeroizing::new(session.round(vec![], &expected)?));
    }
    session.set_phase(phase);
    Ok(Told(told))
}

/// Deals `batch` samples of each input, encoded as integers. One round an input.
///
/// **Errors:** [`Error::Misuse`] for inputs of another length; [`Error::Entropy`]; those of
/// the session.
pub fn give_inputs(
    kind: ProtocolKind,
    session: &mut Session,
    program: &Program,
    inputs: &[Vec<i64>],
    batch: usize,
    told: Told,
) -> Result<(), Error> {
    check_inputs(program, inputs, batch)?;
    let mut told = told.0.into_iter();
    with_protocol!(kind, program.ring, P => {
        for input in inputs {
            let words: Vec<WordOf<P>> = input.iter().map(|&v| Word::from_i64(v)).collect();
            let told = told.next().unwrap_or_default();
            session.round(P::deal_told(&words, &told)?.into_iter().enumerate().collect(), &[])?;
        }
    });
    Ok(())
}

/// Opens the outputs for `batch` samples: one flat tensor each, as signed integers. One
/// round an output.
///
/// **Errors:** those of the session.
pub fn take_outputs(
    kind: ProtocolKind,
    session: &mut Session,
    program: &Program,
    batch: usize,
) -> Result<Vec<Vec<i64>>, Error> {
    with_protocol!(kind, program.ring, P => reconstruct::<P>(session, program, batch))
}

fn deal<P: Protocol>(program: &Program, weights: &WeightSet, options: &Options) -> Result<Vec<Vec<u8>>, Error> {
    check_weights(program, weights)?;
    if weight_elements(program) == 0 {
        return Ok(vec![]);
    }
    let words: Vec<WordOf<P>> = weights.tensors.iter().flatten().map(|&v| Word::from_i64(v)).collect();
    match options.public_weights {
        true => Ok(vec![pack(&words, P::Ring::WIDTH.bits()); P::PARTIES]),
        false => P::deal_kept(&words),
    }
}

fn reconstruct<P: Protocol>(session: &mut Session, program: &Program, batch: usize) -> Result<Vec<Vec<i64>>, Error> {
    let mut outputs = Vec::new();
    for &id in &program.outputs {
        let n = program.insts.get(id).map_or(0, |i| i.shape.len()) * batch;
        let expected: Vec<_> = (0..P::ONLINE).map(|p| (p, P::opening_bytes(n))).collect();
        let messages = match n {
            0 => Vec::new(),
            _ => session.round(vec![], &expected)?,
        };
        let words = P::reconstruct(n, &messages).map_err(|fault| fault.accuse(session))?;
        outputs.push(words.into_iter().map(|w| sign_extend(w, P::Ring::WIDTH.bits())).collect());
    }
    Ok(outputs)
}

pub(crate) fn check_weights(program: &Program, weights: &WeightSet) -> Result<(), Error> {
    let fits = |(w, t): (&subrosa_graph::program::WeightShape, &Vec<i64>)| w.shape.len() == t.len();
    let expected = &program.weights;
    match weights.tensors.len() == expected.len() && expected.iter().zip(&weights.tensors).all(fits) {
        true => Ok(()),
        false => Err(Error::Misuse("the weights are not those of the program".into())),
    }
}

pub(crate) fn check_inputs(program: &Program, inputs: &[Vec<i64>], batch: usize) -> Result<(), Error> {
    let expected: Vec<usize> =
        program.inputs.iter().map(|&id| program.insts.get(id).map_or(0, |i| i.shape.len()) * batch).collect();
    if batch == 0 || expected != inputs.iter().map(Vec::len).collect::<Vec<_>>() {
        let got: Vec<usize> = inputs.iter().map(Vec::len).collect();
        return Err(Error::Misuse(format!("a batch of {batch} needs inputs of {expected:?} elements, got {got:?}")));
    }
    Ok(())
}
