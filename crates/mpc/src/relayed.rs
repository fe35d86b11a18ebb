//! An owner's shares, and a receiver's result, through a relay that reads neither.
//!
//! The owner is no endpoint of the session: a relay, say a server that browsers talk to, has its seat. So
//! each message to a party is sealed to that party's key, and each answer to the owner
//! ([`subrosa_net::sealed`]); the relay passes on boxes of known lengths.
//!
//! **What binds them:** the boxes of one request open together only. Each is sealed for an [`Outline`] (the
//! model, the dealing of its weights, how numbers are encoded), a number of samples, a party, and the
//! encapsulated keys of *all* boxes, of which no two requests share one. Before they compute, the parties
//! compare what they opened ([`Opened::agreement`]), and each remembers the boxes it opened and acts on
//! none twice ([`Opened::name`]). So whatever a relay mixes, repeats, or adds of its own: either all
//! parties work once on the shares of one request, or none begins. Requests of as many samples each can be
//! computed at once, as parts of one batch: the parties compare what they opened of each. Two parties that are dealt
//! something in common compare that, too ([`Outline::common`]): an owner who deals inconsistently has its own
//! request refused and no other.
//!
//! | request | bytes |
//! |---|---|
//! | `"SROGREQ1"` | 8 |
//! | samples | 4, little-endian |
//! | each party's encapsulated key | 32 |
//! | each party's box: its messages for all inputs, one after another | their lengths, and 16 |
//!
//! The answer is `"SROGANS1"` and each party's box: its messages for all outputs, and 48 bytes. What the relay
//! passes to a party, its parcel, is the encapsulated keys and the party's box.

use crate::sharing::Sharing;
use serde::{Deserialize, Serialize};
use subrosa_core::{RingWidth, fixed};
use subrosa_net::sealed::{
    ANSWER_OVERHEAD, Awaited, ENCAPSULATED, KEY, MESSAGE_OVERHEAD, Owed, SealError, SealingKey, Sending,
};
use zeroize::Zeroizing;

/// What an owner, a relay and a receiver may know of a model. Each party makes it from what it keeps; whose
/// outline differs in one bit does not open what was sealed for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outline {
    /// The model's name.
    pub model: String,
    /// Which dealing of its weights.
    pub dealing: [u8; 32],
    /// BLAKE3 of its card, the program and all else that is public of it.
    pub card: [u8; 32],
    /// How inputs are shared.
    pub sharing: Sharing,
    /// The ring.
    pub ring: RingWidth,
    /// Whether the parties know the weights.
    pub public_weights: bool,
    /// Whether only labels are opened.
    pub labels_only: bool,
    /// Inputs, in ONNX order.
    pub inputs: Vec<Input>,
    /// What is opened.
    pub outputs: Vec<Port>,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its shape for one sample.
    pub shape: Vec<u32>,
    /// Whether the first axis counts samples.
    pub batched: bool,
    /// Fraction bits of its integers.
    pub frac: u32,
}

/// An input, and the values that it may have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Name, shape, fraction bits.
    pub port: Port,
    /// The least value.
    pub lo: f64,
    /// The largest.
    pub hi: f64,
}

/// What can go wrong on the way, by who is at fault.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// An outline that is none.
    #[error("the description of the model cannot be used: {0}; fetch it again, with a program of the same version")]
    Outline(&'static str),
    /// Inputs that do not fit the outline.
    #[error("{0}")]
    Inputs(String),
    /// The system gave no randomness, or a party's key is none.
    #[error(transparent)]
    Seal(SealError),
    /// A request that was not made for this outline.
    #[error("the request is not one for this model: {0}; fetch the model's description and make it anew")]
    Request(&'static str),
    /// An answer that the parties did not make for this request.
    #[error("the answer of party {0} was changed on its way, or is to another request; ask again")]
    Answer(usize),
    /// The answer has not the form of one.
    #[error("the answer is not one to this request: it has {got} bytes, and {expected} belong there; ask again")]
    Length {
        /// Bytes that belong there.
        expected: usize,
        /// Bytes that came.
        got: usize,
    },
    /// Two parties contradict each other.
    #[error("party {sender} sent something else than party {by} vouches for, so one of the two deviates")]
    Contradicted {
        /// Who sent it.
        sender: usize,
        /// Who vouches for something else.
        by: usize,
    },
}

/// Why a party opens no box, or does not act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It was not sealed to this party's key, or not for this model, count and request; or it was changed.
    #[error(
        "a box of the request does not open: it was made for another key, model or number of samples, or was changed; \
         fetch keys and description, and make the request anew"
    )]
    Closed,
    /// It was opened before.
    #[error("a box of the request was opened before; make the request anew")]
    Replayed,
    /// The parties were given boxes of different requests.
    #[error("the parties were given boxes of different requests; make the request anew")]
    Mixed,
    /// Its owner dealt two parties different things where they get the same.
    #[error("the shares in the request contradict each other; make the request anew")]
    Contradictory,
    /// Another party refuses.
    #[error("another party refuses its box of the request")]
    Elsewhere,
    /// The system gave no randomness, or the like.
    #[error("a party failed on the request; its own log says how")]
    Failed,
}

impl Refused {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Closed, Self::Replayed, Self::Mixed, Self::Elsewhere, Self::Failed, Self::Contradictory];

    /// Its number on the wire, where 0 stands for no refusal.
    pub fn number(self) -> u8 {
        match self {
            Self::Closed => 1,
            Self::Replayed => 2,
            Self::Mixed => 3,
            Self::Elsewhere => 4,
            Self::Failed => 5,
            Self::Contradictory => 6,
        }
    }

    /// The reason of this number, if it is one.
    pub fn numbered(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.number() == number)
    }
}

impl Port {
    /// Elements of one sample; none if the shape is none that can be shared.
    fn checked_len(&self) -> Option<usize> {
        let len = self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d as usize))?;
        let named = self.name.len() <= MOST_NAME && self.shape.len() <= MOST_AXES;
        (named && (1..=MOST_ELEMENTS).contains(&len) && self.frac <= MOST_FRAC).then_some(len)
    }

    /// Elements of one sample.
    pub fn sample_len(&self) -> usize {
        self.shape.iter().map(|&d| d as usize).product()
    }
}

impl Outline {
    /// The outline as bytes.
    ///
    /// **Errors:** [`Fault::Outline`] for one that [`Outline::decode`] would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, Fault> {
        self.check()?;
        let bytes = postcard::to_extend(self, MAGIC_OUTLINE.to_vec());
        bytes.ok().filter(|b| b.len() <= MOST_OUTLINE).ok_or(Fault::Outline("it is too long"))
    }

    /// Reads an outline from a relay: whatever is in it, what follows neither panics nor allocates beyond
    /// what the caller's own inputs take.
    ///
    /// **Errors:** [`Fault::Outline`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let body = bytes.strip_prefix(MAGIC_OUTLINE).ok_or(Fault::Outline("it is of another version"))?;
        if body.len() > MOST_OUTLINE {
            return Err(Fault::Outline("it is too long"));
        }
        let read: Self = postcard::from_bytes(body).map_err(|_| Fault::Outline("it is damaged"))?;
        read.check()?;
        // One spelling: what is hashed here is what the parties hash.
        match read.encode()? == bytes {
            true => Ok(read),
            false => Err(Fault::Outline("it is damaged")),
        }
    }

    fn check(&self) -> Result<(), Fault> {
        let counted = |n: usize| (1..=MOST_PORTS).contains(&n);
        if !counted(self.inputs.len()) || !counted(self.outputs.len()) || self.model.len() > MOST_NAME {
            return Err(Fault::Outline("it has no inputs or outputs, or too many"));
        }
        let ports = self.inputs.iter().map(|i| &i.port).chain(&self.outputs);
        if ports.into_iter().any(|p| p.checked_len().is_none()) {
            return Err(Fault::Outline("it has a shape that no tensor has"));
        }
        let ranged = |i: &Input| i.lo.is_finite() && i.hi.is_finite() && i.lo < i.hi;
        match self.inputs.iter().all(ranged) {
            true => Ok(()),
            false => Err(Fault::Outline("it has a range that is none")),
        }
    }

    /// How many parties there are.
    pub fn parties(&self) -> usize {
        self.sharing.parties()
    }

    /// Lengths of the messages of all inputs to a party.
    fn input_bytes(&self, party: usize, samples: usize) -> Vec<usize> {
        let each = |i: &Input| self.sharing.input_bytes(self.ring, i.port.sample_len() * samples).get(party).copied();
        self.inputs.iter().filter_map(each).collect()
    }

    /// Lengths of the messages of all outputs from a party; none from one that sends none.
    pub fn opening_bytes(&self, party: usize, samples: usize) -> Vec<usize> {
        let each = |p: &Port| self.sharing.opening_bytes(self.ring, p.sample_len() * samples).get(party).copied();
        self.outputs.iter().filter_map(each).collect()
    }

    fn box_bytes(&self, party: usize, samples: usize) -> usize {
        self.input_bytes(party, samples).iter().sum::<usize>() + MESSAGE_OVERHEAD
    }

    /// Length of a party's parcel, bytes.
    pub fn parcel_bytes(&self, party: usize, samples: usize) -> usize {
        self.parties() * ENCAPSULATED + self.box_bytes(party, samples)
    }

    /// Length of a party's box of the answer, bytes.
    pub fn answer_bytes(&self, party: usize, samples: usize) -> usize {
        self.opening_bytes(party, samples).iter().sum::<usize>() + ANSWER_OVERHEAD
    }

    /// Length of a request, bytes.
    pub fn request_bytes(&self, samples: usize) -> usize {
        let boxes: usize = (0..self.parties()).map(|p| ENCAPSULATED + self.box_bytes(p, samples)).sum();
        MAGIC_REQUEST.len() + 4 + boxes
    }

    /// Shares one request's inputs (each flat, of as many samples as the others) and seals each party's
    /// part to its key, in the parties' order. What is returned with it opens the answer.
    ///
    /// **Cost:** two X25519 operations a party; the request is about as long as the inputs' integers, twice
    /// that where pieces are shared.
    ///
    /// **Errors:** [`Fault::Inputs`] naming the position of a value outside its range; [`Fault::Seal`].
    pub fn ask(&self, keys: &[[u8; KEY]], inputs: &[Vec<f32>]) -> Result<(Vec<u8>, Asked), Fault> {
        let samples = self.samples(inputs)?;
        let messages = self.deal(inputs)?;
        self.seal(keys, samples, messages)
    }

    /// Shares one request's inputs: each party's messages for all of them, one after another.
    ///
    /// **Errors:** [`Fault::Inputs`], [`Fault::Seal`].
    pub fn deal(&self, inputs: &[Vec<f32>]) -> Result<Vec<Zeroizing<Vec<u8>>>, Fault> {
        self.samples(inputs)?;
        let mut messages: Vec<Zeroizing<Vec<u8>>> = (0..self.parties()).map(|_| Zeroizing::default()).collect();
        for (i, (values, input)) in inputs.iter().zip(&self.inputs).enumerate() {
            let secret = Zeroizing::new(encode(i, values, input)?);
            let dealt =
                Zeroizing::new(self.sharing.deal(self.ring, &secret).map_err(|_| Fault::Seal(SealError::Random))?);
            messages.iter_mut().zip(dealt.iter()).for_each(|(message, part)| message.extend_from_slice(part));
        }
        Ok(messages)
    }

    /// Seals what was dealt of inputs of so many samples. What is returned with it opens the answer.
    ///
    /// **Errors:** [`Fault::Inputs`] for other numbers of keys or messages; [`Fault::Seal`].
    pub fn seal(
        &self,
        keys: &[[u8; KEY]],
        samples: usize,
        messages: Vec<Zeroizing<Vec<u8>>>,
    ) -> Result<(Vec<u8>, Asked), Fault> {
        if keys.len() != self.parties() || messages.len() != keys.len() {
            return Err(Fault::Inputs(format!("{} parties need as many keys, not {}", self.parties(), keys.len())));
        }
        let begun = keys.iter().map(|key| Sending::begin(key, INFO)).collect::<Result<Vec<_>, _>>();
        let begun = begun.map_err(Fault::Seal)?;
        let encapsulated: Vec<[u8; ENCAPSULATED]> = begun.iter().map(Sending::encapsulated).collect();
        let count = u32::try_from(samples).map_err(|_| Fault::Inputs("too many samples".to_owned()))?;
        let mut request = [MAGIC_REQUEST.as_slice(), &count.to_le_bytes(), encapsulated.as_flattened()].concat();
        let mut awaited = Vec::with_capacity(begun.len());
        for (party, (sending, message)) in begun.into_iter().zip(&messages).enumerate() {
            let bound = self.bound(samples, party as u64, encapsulated.as_flattened())?;
            let (sealed, answer) = sending.seal(&bound, message).map_err(Fault::Seal)?;
            request.extend(sealed);
            awaited.push(answer);
        }
        Ok((request, Asked { samples, awaited, messages }))
    }

    /// How many samples a request says it is of.
    ///
    /// **Errors:** [`Fault::Request`] for one that is too short to say so.
    pub fn counted(request: &[u8]) -> Result<usize, Fault> {
        let body = request.strip_prefix(MAGIC_REQUEST).ok_or(Fault::Request("it is of another version"))?;
        let samples = body.first_chunk::<4>().ok_or(Fault::Request("it is cut off"))?;
        Ok(usize::try_from(u32::from_le_bytes(*samples)).unwrap_or(usize::MAX))
    }

    /// Every party's parcel from a request, and its number of samples, at most `most`.
    ///
    /// **Errors:** [`Fault::Request`].
    pub fn parcels(&self, request: &[u8], most: usize) -> Result<(usize, Vec<Vec<u8>>), Fault> {
        let samples = Self::counted(request)?;
        let rest = request.get(MAGIC_REQUEST.len() + 4..).unwrap_or_default();
        // Before lengths are computed from it.
        if samples > most || !self.holds(samples) {
            return Err(Fault::Request("it has no samples, or too many"));
        }
        if request.len() != self.request_bytes(samples) {
            return Err(Fault::Request("it has another length"));
        }
        let (encapsulated, mut rest) =
            rest.split_at_checked(self.parties() * ENCAPSULATED).ok_or(Fault::Request("it is cut off"))?;
        let mut parcels = Vec::with_capacity(self.parties());
        for party in 0..self.parties() {
            let (sealed, later) =
                rest.split_at_checked(self.box_bytes(party, samples)).ok_or(Fault::Request("it is cut off"))?;
            parcels.push([encapsulated, sealed].concat());
            rest = later;
        }
        Ok((samples, parcels))
    }

    /// Opens a party's parcel, of [`Outline::parcel_bytes`], that was sealed to `key`. The same one opens
    /// again: who must not act on it twice remembers [`Opened::name`].
    ///
    /// **Errors:** [`Refused::Closed`]; [`Refused::Failed`].
    pub fn open(&self, party: usize, samples: usize, parcel: &[u8], key: &SealingKey) -> Result<Opened, Refused> {
        let (all, sealed) = parcel.split_at_checked(self.parties() * ENCAPSULATED).ok_or(Refused::Closed)?;
        let mine = all.as_chunks::<ENCAPSULATED>().0.get(party).ok_or(Refused::Closed)?;
        let bound = self.bound(samples, party as u64, all).map_err(|_| Refused::Failed)?;
        let (plain, owed) = key.open(mine, INFO, &bound, sealed).map_err(|_| Refused::Closed)?;
        let (lens, mut rest) = (self.input_bytes(party, samples), plain.as_slice());
        if lens.iter().sum::<usize>() != rest.len() {
            return Err(Refused::Closed);
        }
        let mut messages = Vec::with_capacity(lens.len());
        for len in lens {
            let (now, later) = rest.split_at_checked(len).ok_or(Refused::Closed)?;
            messages.push(now.to_vec());
            rest = later;
        }
        let name = owed.name().map_err(|_| Refused::Failed)?;
        Ok(Opened { messages, agreement: self.agreement(samples, all)?, name, owed })
    }

    /// A digest of what this party and another were dealt in common, for that party alone: a third one could
    /// find the input from it by trying.
    pub fn common(&self, party: usize, other: usize, samples: usize, opened: &Opened) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("subrosa 2026-11 relayed pieces");
        hasher.update(&opened.agreement);
        for (input, message) in self.inputs.iter().zip(&opened.messages) {
            let n = input.port.sample_len() * samples;
            hasher.update(self.sharing.common(self.ring, party, other, n, message));
        }
        *hasher.finalize().as_bytes()
    }

    /// What the parties compare: all that each box is bound to, but the party.
    fn agreement(&self, samples: usize, encapsulated: &[u8]) -> Result<[u8; 32], Refused> {
        let bound = self.bound(samples, NO_PARTY, encapsulated).map_err(|_| Refused::Failed)?;
        Ok(blake3::derive_key("subrosa 2026-11 relayed request", &bound))
    }

    /// What the box of a party is bound to.
    fn bound(&self, samples: usize, party: u64, encapsulated: &[u8]) -> Result<Vec<u8>, Fault> {
        let outline = blake3::derive_key("subrosa 2026-11 outline", &self.encode()?);
        let numbers = [samples as u64, party].map(u64::to_le_bytes);
        Ok([outline.as_slice(), numbers.as_flattened(), encapsulated].concat())
    }

    /// **Errors:** [`Fault::Inputs`] for inputs of no or of different numbers of samples.
    fn samples(&self, inputs: &[Vec<f32>]) -> Result<usize, Fault> {
        let wrong = || {
            let lens: Vec<usize> = self.inputs.iter().map(|i| i.port.sample_len()).collect();
            Fault::Inputs(format!("the model takes inputs of {lens:?} values a sample"))
        };
        if inputs.len() != self.inputs.len() {
            return Err(wrong());
        }
        let counts: Vec<usize> = inputs.iter().zip(&self.inputs).map(|(v, i)| v.len() / i.port.sample_len()).collect();
        let samples = counts.first().copied().unwrap_or(0);
        let whole = inputs.iter().zip(&self.inputs).all(|(v, i)| v.len() == samples * i.port.sample_len());
        match whole && self.holds(samples) {
            true => Ok(samples),
            false => Err(wrong()),
        }
    }

    /// Whether a request can be of so many samples: then all lengths fit, also in 32 bits.
    pub fn holds(&self, samples: usize) -> bool {
        let ports = self.inputs.iter().map(|i| &i.port).chain(&self.outputs);
        let each: u64 = ports.map(|p| p.sample_len() as u64).sum();
        samples > 0 && each.checked_mul(samples as u64).is_some_and(|n| n <= MOST_VALUES)
    }
}

/// A request whose answer is not here yet. No `Debug`: it holds shares.
pub struct Asked {
    samples: usize,
    awaited: Vec<Awaited>,
    messages: Vec<Zeroizing<Vec<u8>>>,
}

impl Asked {
    /// How many samples it is of.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// What a party is told of the first input: its words' high bytes, a byte an element. Empty for a party
    /// that is told nothing. For showing what shares look like.
    pub fn told(&self, outline: &Outline, party: usize) -> Vec<u8> {
        let n = outline.inputs.first().map_or(0, |i| i.port.sample_len() * self.samples);
        let length = outline.input_bytes(party, self.samples).first().copied().unwrap_or(0);
        let message = self.messages.get(party).and_then(|m| m.get(..length)).unwrap_or_default();
        let words = outline.sharing.stands_for(outline.ring, party, n, message);
        words.into_iter().map(|w| (w >> (outline.ring.bits() - 8)) as u8).collect()
    }

    /// Opens the answer: one flat tensor an output.
    ///
    /// **Errors:** [`Fault::Length`], [`Fault::Answer`], [`Fault::Contradicted`].
    pub fn read(self, outline: &Outline, answer: &[u8]) -> Result<Vec<Vec<f32>>, Fault> {
        let lens: Vec<usize> = (0..outline.parties()).map(|p| outline.answer_bytes(p, self.samples)).collect();
        let expected = MAGIC_ANSWER.len() + lens.iter().sum::<usize>();
        let mut rest = match answer.strip_prefix(MAGIC_ANSWER).filter(|_| answer.len() == expected) {
            Some(boxes) => boxes,
            None => return Err(Fault::Length { expected, got: answer.len() }),
        };
        let mut opened = Vec::with_capacity(lens.len());
        for (party, (awaited, len)) in self.awaited.into_iter().zip(lens).enumerate() {
            let (sealed, later) = rest.split_at_checked(len).ok_or(Fault::Answer(party))?;
            opened.push(awaited.open(sealed).map_err(|_| Fault::Answer(party))?);
            rest = later;
        }
        let mut taken = vec![0; opened.len()];
        let mut outputs = Vec::with_capacity(outline.outputs.len());
        for port in &outline.outputs {
            let n = port.sample_len() * self.samples;
            let mut messages = Vec::new();
            for (party, len) in outline.sharing.opening_bytes(outline.ring, n).into_iter().enumerate() {
                let at = taken.get_mut(party).ok_or(Fault::Answer(party))?;
                let message = opened.get(party).and_then(|m| m.get(*at..*at + len)).ok_or(Fault::Answer(party))?;
                messages.push(message.to_vec());
                *at += len;
            }
            let values = outline.sharing.open(outline.ring, n, &messages);
            let values = values.map_err(|c| Fault::Contradicted { sender: c.sender, by: c.by })?;
            outputs.push(values.into_iter().map(|v| fixed::decode(v, port.frac) as f32).collect());
        }
        Ok(outputs)
    }
}

/// A parcel that a party opened. No `Debug`: it holds shares.
pub struct Opened {
    /// The owner's messages, in the inputs' order: none to a party that gets none.
    pub messages: Vec<Vec<u8>>,
    /// Equal at all parties that were given boxes of one request.
    pub agreement: [u8; 32],
    /// The box's name, by which one that comes again is known.
    pub name: [u8; 32],
    /// Seals the answer.
    pub owed: Owed,
}

/// A relay's answer, of the parties' boxes in their order.
pub fn answer(boxes: &[Vec<u8>]) -> Vec<u8> {
    [MAGIC_ANSWER.as_slice(), &boxes.concat()].concat()
}

fn encode(number: usize, values: &[f32], input: &Input) -> Result<Vec<i64>, Fault> {
    let len = input.port.sample_len();
    let one = |(i, &v): (usize, &f32)| {
        fixed::encode_within(v, input.lo, input.hi, input.port.frac).ok_or_else(|| {
            let (sample, position, lo, hi) = (i / len, i % len, input.lo, input.hi);
            Fault::Inputs(format!(
                "input {number}, sample {sample}, position {position}: the value is outside the range {lo}..{hi} that \
                 the model was planned for"
            ))
        })
    };
    values.iter().enumerate().map(one).collect()
}

const MAGIC_OUTLINE: &[u8; 8] = b"SROGOUT1";
const MAGIC_REQUEST: &[u8; 8] = b"SROGREQ1";
const MAGIC_ANSWER: &[u8; 8] = b"SROGANS1";
const INFO: &[u8] = b"subrosa-mpc/relayed/1";
/// Stands where a party's number would, in what all of them compare; on 32 bits, too.
const NO_PARTY: u64 = u64::MAX;

/// Bounds on an outline, so that lengths computed from it fit.
const MOST_OUTLINE: usize = 64 << 10;
const MOST_PORTS: usize = 64;
const MOST_NAME: usize = 256;
const MOST_AXES: usize = 16;
const MOST_ELEMENTS: usize = 1 << 24;
const MOST_FRAC: u32 = 62;
/// Of one request, inputs and outputs together.
const MOST_VALUES: u64 = 1 << 25;

#[cfg(test)]
mod tests;
