//! Keys of comparisons: dealt, kept until their turn, evaluated, gone.
//!
//! A key is a root, drawn from what a party shares with the dealer, and correction words, which
//! the dealer sends to both parties in messages of at most [`MESSAGE`] bytes. A batch may
//! need gigabytes of them, so beyond [`IN_MEMORY`] bytes they wait in a nameless file in the
//! system's directory for such files. That is no place for secrets, and they are none: roots
//! never leave the memory, and without a root correction words are pseudo-random
//! ([`crate::fss`]).

use super::Masked;
use super::cast::Cast;
use super::deal::round;
use super::streams::roots;
use crate::Error;
use crate::fss::{FIELDS, Form, Hash, Secrets, Trees};
use crate::protocol::{self, Primitive};
use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use subrosa_core::Cost;
use subrosa_net::{EndpointId, Later, Session};
use subrosa_ring::Ring;
use subrosa_ring::isa::isa;
use zeroize::{Zeroize, Zeroizing};

/// The longest message of correction words, bytes.
const MESSAGE: usize = 4 << 20;

/// Correction words of a batch that are kept in memory, bytes.
const IN_MEMORY: u64 = 64 << 20;

// Words cross, and wait in files, as they lie in memory.
#[cfg(target_endian = "big")]
compile_error!("keys of comparisons are exchanged as little-endian words");

/// Trees are dealt and evaluated so many at a time.
const SMALLEST_RUN: usize = crate::fss::LANES;

/// A comparison that consumes keys.
#[derive(Clone, Copy)]
pub(super) struct Gate {
    /// Comparisons.
    pub(super) n: usize,
    /// The trees.
    pub(super) form: Form,
    /// What it is applied to.
    pub(super) source: protocol::Form,
    /// Words that are dealt beside.
    pub(super) words: usize,
}

impl Gate {
    /// What a primitive compares, if anything, over a ring of `k` bits.
    pub(super) fn of(call: &Primitive, k: u32) -> Option<Self> {
        let gate = match *call {
            Primitive::Ltz { n, width } => {
                Self { n, form: Form::bit(width.saturating_sub(1), k), source: protocol::Form::Share, words: 1 }
            }
            Primitive::Relu { n, width } => {
                Self { n, form: Form::triple(width.saturating_sub(1), k), source: protocol::Form::Share, words: 3 }
            }
            Primitive::TruncRelu { n, width, form, .. } => {
                Self { n, form: Form::triple(width.saturating_sub(1), k), source: form, words: 3 }
            }
            Primitive::Input { .. }
            | Primitive::OpenTo { .. }
            | Primitive::Mul { .. }
            | Primitive::MatMul { .. }
            | Primitive::Conv { .. }
            | Primitive::Reshare { .. }
            | Primitive::Trunc { .. } => return None,
        };
        (gate.n > 0).then_some(gate)
    }

    /// Bytes of its correction words.
    fn bytes(&self) -> usize {
        self.n * self.form.words() * 8
    }

    /// Trees in one message.
    fn run(&self) -> usize {
        (MESSAGE / (self.form.words() * 8) / SMALLEST_RUN * SMALLEST_RUN).max(SMALLEST_RUN)
    }

    /// How many trees each message is for.
    fn runs(&self) -> impl Iterator<Item = usize> {
        let (n, run) = (self.n, self.run());
        (0..n).step_by(run).map(move |at| run.min(n - at))
    }
}

/// Declared cost of dealing keys for `call`.
pub(super) fn cost(call: &Primitive, k: u32) -> Cost {
    let Some(gate) = Gate::of(call, k) else { return Cost::FREE };
    gate.runs().map(|trees| Cost::messages(2, (trees * gate.form.words() * 8) as u64)).sum()
}

/// Bytes of correction words for `call`, at each party.
pub(super) fn word_bytes(call: &Primitive, k: u32) -> u64 {
    Gate::of(call, k).map_or(0, |gate| gate.bytes() as u64)
}

/// Bytes of memory for the keys of all of `demand`: the roots, correction words as far as
/// they are kept in memory, and one message.
pub(super) fn memory(demand: &[Primitive], k: u32) -> u64 {
    let gates = || demand.iter().filter_map(|call| Gate::of(call, k));
    let roots: u64 = gates().map(|gate| gate.n as u64 * 16).sum();
    let words: u64 = gates().map(|gate| gate.bytes() as u64).sum();
    roots + words.min(IN_MEMORY + 2 * MESSAGE as u64)
}

/// What was dealt of a batch so far.
#[derive(Default)]
pub(super) struct Dealt {
    /// Trees: the next one's number.
    trees: u64,
    /// Bytes of correction words in memory.
    in_memory: u64,
    /// Where the others are.
    file: Option<Arc<File>>,
    /// Bytes in the file.
    in_file: u64,
}

/// What one party holds for one call.
pub(super) struct Keys {
    form: Form,
    /// The number of its first tree.
    first: u64,
    roots: Vec<[u64; 2]>,
    /// Trees and their correction words, message by message.
    runs: Vec<(usize, Kept)>,
}

enum Kept {
    Memory(Vec<u8>),
    File {
        file: Arc<File>,
        at: u64,
        len: usize,
    },
    /// In a file of the dealer's, who is not there.
    Later(Later),
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.roots.as_flattened_mut().zeroize();
    }
}

impl Kept {
    fn read(self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Memory(words) => Ok(words),
            Self::File { file, at, len } => {
                let mut words = vec![0; len];
                let mut file = file.as_ref();
                file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut words)).map_err(Error::disk)?;
                Ok(words)
            }
            Self::Later(later) => later().map_err(|e| Error::Keys(e.to_string())),
        }
    }
}

impl Dealt {
    /// The next `len` bytes of correction words: left where they are if they are in a file.
    fn receive(&mut self, session: &mut Session, dealer: EndpointId, len: usize) -> Result<Kept, Error> {
        if self.in_memory + len as u64 > IN_MEMORY
            && let Some(later) = session.defer(dealer, len)?
        {
            return Ok(Kept::Later(later));
        }
        let received = round(session, vec![], &[(dealer, len)])?;
        self.keep(received.into_iter().next().unwrap_or_default())
    }

    fn keep(&mut self, words: Vec<u8>) -> Result<Kept, Error> {
        let len = words.len();
        if self.in_memory + len as u64 <= IN_MEMORY {
            self.in_memory += len as u64;
            return Ok(Kept::Memory(words));
        }
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => Arc::clone(self.file.insert(Arc::new(tempfile::tempfile().map_err(Error::disk)?))),
        };
        file.as_ref().write_all(&words).map_err(Error::disk)?;
        let at = self.in_file;
        self.in_file += len as u64;
        Ok(Kept::File { file, at, len })
    }
}

impl Keys {
    /// Party `party`'s additive parts of the trees' payloads at `x`. Consumes the keys.
    pub(super) fn eval(mut self, hash: &Hash, party: usize, x: &[u64]) -> Result<[Vec<u64>; FIELDS], Error> {
        let mut out = [(); FIELDS].map(|()| vec![0; x.len()]);
        let mut at = 0;
        for (trees, kept) in std::mem::take(&mut self.runs) {
            let bytes = kept.read()?;
            // Memory for bytes is nearly always aligned for words as well.
            let words: Cow<'_, [u64]> = match bytemuck::try_cast_slice(&bytes) {
                Ok(words) => Cow::Borrowed(words),
                Err(_) => Cow::Owned(bytes.as_chunks().0.iter().map(|&word| u64::from_ne_bytes(word)).collect()),
            };
            let here = at..at + trees;
            let (Some(roots), Some(x)) = (self.roots.get(here.clone()), x.get(here.clone())) else {
                return Err(Error::Misuse("a gate has fewer keys than comparisons".into()));
            };
            let keys = crate::fss::Keys { party, roots, words: &words };
            let out = out.each_mut().map(|out| out.get_mut(here.clone()).unwrap_or_default());
            Trees { hash, form: self.form, first: self.first + at as u64 }.eval(isa(), keys, x, out);
            at += trees;
        }
        match at == x.len() {
            true => Ok(out),
            false => Err(Error::Misuse("a gate has fewer keys than comparisons".into())),
        }
    }
}

/// What the dealer knows of a gate's comparisons: thresholds and payloads.
pub(super) struct Thresholds {
    pub(super) alpha: Vec<u64>,
    pub(super) beta: [Vec<u64>; FIELDS],
}

impl Drop for Thresholds {
    fn drop(&mut self) {
        self.alpha.zeroize();
        self.beta.zeroize();
    }
}

impl<R: Ring, C: Cast> Masked<R, C> {
    /// Deals the keys of a gate: the dealer makes and sends them, the others get theirs.
    pub(super) fn deal_keys(&mut self, gate: &Gate, secrets: Option<Thresholds>) -> Result<Option<Keys>, Error> {
        let first = self.keys.trees;
        self.keys.trees += gate.n as u64;
        let Self { streams, session, keys: dealt, .. } = self;
        let mut roots = streams.iter_mut().map(|streams| roots(&mut streams.roots, gate.n));
        let ours = roots.next().unwrap_or_default();
        let Some(thresholds) = secrets else {
            let mut runs = Vec::new();
            for trees in gate.runs() {
                runs.push((trees, dealt.receive(session, C::COMPUTING, trees * gate.form.words() * 8)?));
            }
            return Ok(Some(Keys { form: gate.form, first, roots: ours, runs }));
        };
        let (ours, theirs) = (Zeroizing::new(ours), Zeroizing::new(roots.next().unwrap_or_default()));
        let hash = self.cast.as_ref().and_then(Cast::hash).ok_or_else(|| no_hash::<C>())?;
        let (deadline, mut at) = (session.deadline(), 0);
        for trees in gate.runs() {
            let here = at..at + trees;
            at += trees;
            let mut words = vec![0u64; trees * gate.form.words()];
            let secrets = Secrets {
                roots: [&ours[here.clone()], &theirs[here.clone()]],
                alpha: &thresholds.alpha[here.clone()],
                beta: thresholds.beta.each_ref().map(|beta| &beta[here.clone()]),
            };
            Trees { hash, form: gate.form, first: first + here.start as u64 }.deal(isa(), secrets, &mut words);
            let bytes: Vec<u8> = bytemuck::cast_slice(&words).to_vec();
            // What a slow party has not taken does not pile up here.
            session.flush(deadline)?;
            round(session, vec![(0, bytes.clone()), (1, bytes)], &[])?;
        }
        Ok(None)
    }
}

pub(super) fn no_hash<C: Cast>() -> Error {
    Error::Misuse(format!("{} has no hash for its keys", C::NAME))
}
