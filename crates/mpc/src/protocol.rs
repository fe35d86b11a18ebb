//! The [`Protocol`] trait: one party's view of a secure computation.
//!
//! An [`Evaluator`] implements about a dozen integer primitives on vectors of shares; the
//! kernels in [`crate::execute`] run any [`Program`](subrosa_graph::Program) on them.
//! Interactive primitives take whole vectors, so one layer of a whole batch is one round.
//!
//! **Cost is declared, not measured:** planning runs the same kernels on [`crate::dry`],
//! which records each [`Primitive`]; [`Protocol::online_cost`] and
//! [`Protocol::offline_cost`] price them, and the conformance suite holds the prices
//! against the meter.
//!
//! **Preprocessing is half of a protocol:** [`Protocol::prepare`] gets the recorded
//! primitives of a run before its input is known, and may rehearse the run; it makes what
//! the primitives will consume, and each then consumes its own part once, in order.

use crate::Error;
pub use crate::sharing::Contradiction;
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_core::{Claim, Cost};
use subrosa_graph::Comparing;
use subrosa_net::{EndpointId, Session};
use subrosa_ring::Ring;

/// The word type of a protocol's ring.
pub type WordOf<P> = <<P as Evaluator>::Ring as Ring>::Word;

/// A vector on which linear maps act without communication.
pub trait Linear<W>: Clone {
    /// Number of elements.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Applies `f`, which must be linear (no constant term) and return `out_len` words.
    fn map(&self, out_len: usize, f: impl Fn(&[W]) -> Vec<W>) -> Self;
    /// Elementwise sum of equal lengths.
    fn add(&self, other: &Self) -> Self;
    /// Elementwise difference of equal lengths.
    fn sub(&self, other: &Self) -> Self;
}

/// What a batch consists of: parts of as many samples each. Every part is shared by itself and opened by
/// itself, so that different people's can be computed at once; a plain number of samples is one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load {
    /// Parts.
    pub parts: usize,
    /// Samples of each.
    pub samples: usize,
}

impl Load {
    /// Samples of all parts.
    pub fn batch(self) -> usize {
        self.parts.saturating_mul(self.samples)
    }
}

impl From<usize> for Load {
    fn from(samples: usize) -> Self {
        Self { parts: 1, samples }
    }
}

/// What a party can compute on its parts of secret vectors over Z_2^k. Implemented by
/// every protocol and by [`Dry`](crate::dry::Dry). Required methods have no default body.
pub trait Evaluator: Sized {
    /// The ring.
    type Ring: Ring;
    /// This party's part of a secret vector, `[x]^A`.
    type Share: Linear<WordOf<Self>>;
    /// This party's part of a product, before it may leave the party: nothing but
    /// [`Evaluator::reshare`], [`Evaluator::trunc`], [`Evaluator::trunc_relu`] and
    /// [`Evaluator::open_to`] takes it, and those re-randomise it.
    type Product: Linear<WordOf<Self>>;

    /// Receives `parts` vectors of `n` elements, one after another in one: each was dealt by itself, and the
    /// message of endpoint `owner` is what it has of each, one after another.
    fn input(&mut self, owner: EndpointId, parts: usize, n: usize) -> Result<Self::Share, Error>;
    /// Sends what this party has of `x` to endpoint `receiver`, re-randomised: with what the others send it reveals
    /// `x` and nothing else. The message is made of `parts` messages of equal parts of `x`, each of which reveals
    /// its part alone.
    fn open_to(&mut self, receiver: EndpointId, parts: usize, x: &Self::Product) -> Result<(), Error>;
    /// As [`Evaluator::open_to`], which was prepared, but of the first `n` elements alone: of the others, which
    /// only fill a batch up, nothing is said, and what was prepared for them is used for nothing.
    ///
    /// **Errors:** [`Error::Misuse`] with a protocol whose batches need not be filled up.
    fn open_first(&mut self, receiver: EndpointId, x: &Self::Product, n: usize) -> Result<(), Error> {
        let _ = (receiver, x, n);
        Err(Error::Misuse(
            "a batch is opened in part where keys were dealt ahead for a full one, and nowhere else".into(),
        ))
    }

    /// A share of a vector everyone knows. Local.
    fn public(&self, values: &[WordOf<Self>]) -> Self::Share;
    /// A share seen as a product, to be added to one. Local.
    fn to_product(&self, x: &Self::Share) -> Self::Product;
    /// Elementwise product of equal lengths.
    fn mul(&mut self, x: &Self::Share, y: &Self::Share) -> Result<Self::Product, Error>;
    /// `batch * dims.groups` matrix products `[m, k] x [k, n]`. `y` holds as many
    /// matrices, or `dims.groups`, or one, and is repeated accordingly.
    fn matmul(&mut self, batch: usize, dims: MatDims, x: &Self::Share, y: &Self::Share)
    -> Result<Self::Product, Error>;
    /// Convolutions of `batch` samples with one weight.
    fn conv(
        &mut self,
        batch: usize,
        geometry: &ConvGeometry,
        x: &Self::Share,
        w: &Self::Share,
    ) -> Result<Self::Product, Error>;
    /// A product as a share.
    fn reshare(&mut self, x: &Self::Product) -> Result<Self::Share, Error>;
    /// `floor(x / 2^shift)` or one more, never anything else, for `|x| < 2^(k-2)`.
    fn trunc(&mut self, x: Source<'_, Self>, shift: u32) -> Result<Self::Share, Error>;
    /// 1 where `x < 0`, else 0, exactly, for `-2^(width-1) <= x < 2^(width-1)`.
    fn ltz(&mut self, x: &Self::Share, width: u32) -> Result<Self::Share, Error>;
    /// `max(x, 0)`, exactly; the range as for [`Evaluator::ltz`].
    fn relu(&mut self, x: &Self::Share, width: u32) -> Result<Self::Share, Error>;
    /// `max(trunc(x, shift), 0)`; the truncated value has `width` signed bits.
    fn trunc_relu(&mut self, x: Source<'_, Self>, shift: u32, width: u32) -> Result<Self::Share, Error>;
}

/// A protocol: an [`Evaluator`] between parties, with its claim, its declared cost and
/// what owners and the receiver do.
pub trait Protocol: Evaluator {
    /// Name as `--via` spells it.
    const NAME: &'static str;
    /// Number of parties; they are endpoints `0..PARTIES` of the session.
    const PARTIES: usize;
    /// Parties `0..ONLINE` are there when the input comes: data owner and receiver talk to
    /// them alone. The others, a dealer say, are done after the preprocessing.
    const ONLINE: usize;
    /// What its comparisons cost, for whoever lowers a model to its programs.
    const COMPARING: Comparing = Comparing::Circuits;
    /// The security claim.
    const CLAIM: Claim;
    /// Paper, section and URL.
    const SOURCE: &'static str;

    /// Joins the session as party `session.id()` and agrees on keys.
    fn setup(session: Session) -> Result<Self, Error>;
    /// Declared cost of [`Protocol::setup`].
    fn setup_cost() -> Cost;
    /// Joins where the dealer is not there: what [`Protocol::setup`] agrees on with it comes with
    /// each batch, by [`Protocol::take_dealt`].
    ///
    /// **Errors:** [`Error::Misuse`] from a protocol without one.
    fn setup_without_dealer(session: Session) -> Result<Self, Error> {
        drop(session);
        Err(no_dealer(Self::NAME))
    }
    /// Agrees on keys with what the session has in the dealer's place, for the one batch that is
    /// prepared next.
    ///
    /// **Errors:** as [`Protocol::setup_without_dealer`], and those of the session.
    fn take_dealt(&mut self) -> Result<(), Error> {
        Err(no_dealer(Self::NAME))
    }
    /// Bytes that the dealer says to each party that is online for a batch, keys agreed on
    /// included: what it takes to deal it ahead of time. Empty without such a dealer.
    fn dealt_ahead(demand: &[Primitive]) -> Vec<u64> {
        let _ = demand;
        Vec::new()
    }
    /// The session, for phases and metering.
    fn session(&mut self) -> &mut Session;

    /// Makes the correlated randomness that these primitives, run in this order, consume.
    ///
    /// `rehearse` makes the very calls that the run will make, inputs and openings among
    /// them, on this party: a protocol may call it to follow how values depend on one
    /// another before they are there. Whatever it returns then is fit for nothing else.
    fn prepare(
        &mut self,
        demand: &[Primitive],
        rehearse: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error>;
    /// Declared cost of [`Protocol::prepare`].
    fn offline_cost(demand: &[Primitive]) -> Cost;
    /// Declared online cost of one primitive.
    fn online_cost(primitive: &Primitive) -> Cost;
    /// About how many bytes a party keeps of what [`Protocol::prepare`] made.
    fn offline_memory(demand: &[Primitive]) -> u64;

    /// A data owner's messages to the parties that are online, in their order, that share
    /// `secret` (words are taken modulo 2^k), for [`Evaluator::input`]. Runs at the owner, who
    /// is no party.
    fn deal(secret: &[WordOf<Self>]) -> Result<Vec<Vec<u8>>, Error>;
    /// Bytes that each party that is online tells the data owner in the preprocessing, for each
    /// input, so that the owner shares it in one message less.
    const TOLD_BYTES: usize = 0;
    /// As [`Protocol::deal`], knowing what the parties told, in their order.
    fn deal_told(secret: &[WordOf<Self>], told: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
        let _ = told;
        Self::deal(secret)
    }
    /// The same for what is there before any preprocessing (a model), to all parties, to be
    /// read with [`Protocol::dealt`].
    fn deal_kept(secret: &[WordOf<Self>]) -> Result<Vec<Vec<u8>>, Error>;
    /// Length in bytes of the message that [`Protocol::deal_kept`] makes for `party`, for `n`
    /// elements.
    fn dealt_bytes(party: usize, n: usize) -> usize;
    /// This party's share from such a message, of that length. Local: a party may keep a
    /// message and read it again in every session.
    fn dealt(&self, n: usize, message: &[u8]) -> Self::Share;
    /// Payload bytes the receiver expects from each party that is online for `n` elements.
    fn opening_bytes(n: usize) -> usize;
    /// The opened vector, at the receiver, from these messages in the parties' order.
    ///
    /// **Errors:** [`Contradiction`], of protocols that detect a party that deviates.
    fn reconstruct(n: usize, messages: &[Vec<u8>]) -> Result<Vec<WordOf<Self>>, Contradiction>;
}

fn no_dealer(name: &str) -> Error {
    Error::Misuse(format!("{name} has no dealer who could have dealt ahead of time"))
}

/// Either kind of vector, where a primitive takes both.
pub enum Source<'a, P: Evaluator> {
    /// A share.
    Share(&'a P::Share),
    /// A product that was not reshared.
    Product(&'a P::Product),
}

impl<P: Evaluator> Source<'_, P> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Share(x) => x.len(),
            Self::Product(x) => x.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which kind it is.
    pub fn form(&self) -> Form {
        match self {
            Self::Share(_) => Form::Share,
            Self::Product(_) => Form::Product,
        }
    }
}

/// Which kind of vector a primitive is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A share.
    Share,
    /// A product that was not reshared.
    Product,
}

impl Primitive {
    /// Whether its shift and width fit a ring of `k` bits.
    pub fn fits(&self, k: u32) -> bool {
        match *self {
            Self::Trunc { shift, .. } => shift > 0 && shift <= k - 2,
            Self::TruncRelu { shift, width, .. } => {
                shift > 0 && shift <= k - 2 && width > 0 && shift.saturating_add(width) <= k
            }
            Self::Ltz { width, .. } | Self::Relu { width, .. } => width > 0 && width <= k,
            Self::Input { .. }
            | Self::OpenTo { .. }
            | Self::Mul { .. }
            | Self::MatMul { .. }
            | Self::Conv { .. }
            | Self::Reshare { .. } => true,
        }
    }
}

/// One call of a method that may communicate or consume preprocessing, with its sizes:
/// `n` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primitive {
    /// [`Evaluator::input`].
    Input {
        /// Vectors, each dealt by itself.
        parts: usize,
        /// Elements of each.
        n: usize,
    },
    /// [`Evaluator::open_to`].
    OpenTo {
        /// Vectors, each opened by itself.
        parts: usize,
        /// Elements of each.
        n: usize,
    },
    /// [`Evaluator::mul`].
    Mul {
        /// Elements.
        n: usize,
    },
    /// [`Evaluator::matmul`].
    MatMul {
        /// Samples.
        batch: usize,
        /// Sizes for one sample.
        dims: MatDims,
        /// Matrices in the right operand.
        matrices: usize,
    },
    /// [`Evaluator::conv`].
    Conv {
        /// Samples.
        batch: usize,
        /// Sizes for one sample.
        geometry: ConvGeometry,
    },
    /// [`Evaluator::reshare`].
    Reshare {
        /// Elements.
        n: usize,
    },
    /// [`Evaluator::trunc`].
    Trunc {
        /// Elements.
        n: usize,
        /// Bits dropped.
        shift: u32,
        /// What it is applied to.
        form: Form,
    },
    /// [`Evaluator::ltz`].
    Ltz {
        /// Elements.
        n: usize,
        /// Signed bits compared.
        width: u32,
    },
    /// [`Evaluator::relu`].
    Relu {
        /// Elements.
        n: usize,
        /// Signed bits compared.
        width: u32,
    },
    /// [`Evaluator::trunc_relu`].
    TruncRelu {
        /// Elements.
        n: usize,
        /// Bits dropped.
        shift: u32,
        /// Signed bits compared, after truncation.
        width: u32,
        /// What it is applied to.
        form: Form,
    },
}
