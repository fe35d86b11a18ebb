//! Distributed comparison functions: keys for two parties that together say `x < alpha`.
//!
//! Boyle, Chandran, Gilboa, Gupta, Ishai, Kumar, Rathee, *Function Secret Sharing for
//! Mixed-Mode and Fixed-Point Secure Computation*, <https://eprint.iacr.org/2020/1392>,
//! section 3, figure 1. With its key each party computes on a public `x` an additive part of
//! `beta` where `x < alpha`, of 0 elsewhere; one key alone says nothing about `alpha` and `beta`.
//!
//! **Differs from the paper:**
//! - The last [`TAIL`] levels are one table of four leaves: smaller and two levels less.
//! - `beta` is up to three numbers that share one block of the hash where they fit
//!   ([`Layout`]), with the two control bits: 32 bytes a level.
//! - A key is a *root*, 16 bytes that a party draws from what it shares with the dealer, and
//!   *correction words* that are the same for both. Only these are sent. Without a root they are
//!   pseudo-random: they say nothing, wherever they are kept.
//! - [`LANES`] trees are walked together, level by level; words of one kind lie together.
//!
//! Tweaks: the tree's number in its batch, the level, and which of a node's hashes it is: no two
//! calls of the hash share one, but those of both parties for the same node.

use super::hash::{Hash, sigma};
use std::marker::PhantomData;
use subrosa_ring::isa::{Isa, Loop, run};
use zeroize::Zeroize;

/// Trees walked together.
pub const LANES: usize = 64;

/// Levels that the table of leaves stands for.
const TAIL: u32 = 2;

/// Numbers that a payload has, not all of them used: modulo 2^k, 2^k, and as much as is left.
pub const FIELDS: usize = 3;

/// The two highest bits of a level's last word correct the control bits of both children.
const FLAGS: u64 = 3 << 62;

/// How a payload's numbers lie in words of 64 bits, [`FLAGS`] beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// The first number alone, of at most 62 bits.
    One,
    /// The first number, of up to 64 bits.
    Alone,
    /// All three in two words: two of `k` bits, the third in what is left of both.
    Packed,
    /// All three, the last of at most 62 bits wherever there is a level.
    Wide,
}

/// What a key compares and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    bits: u32,
    k: u32,
    layout: Layout,
}

impl Form {
    /// One number modulo 2^k where `x < alpha`, both of `bits` bits.
    pub fn bit(bits: u32, k: u32) -> Self {
        Self { bits, k, layout: if k <= 62 { Layout::One } else { Layout::Alone } }
    }

    /// Two numbers modulo 2^k and one modulo 2^(k - bits).
    pub fn triple(bits: u32, k: u32) -> Self {
        let room = 2 * 64u32.saturating_sub(k);
        let packed = k <= 62 && room >= 2 + k.saturating_sub(bits);
        Self { bits, k, layout: if packed { Layout::Packed } else { Layout::Wide } }
    }

    fn tail(&self) -> u32 {
        self.bits.min(TAIL)
    }

    fn levels(&self) -> u32 {
        self.bits - self.tail()
    }

    /// Words of correction for one tree.
    pub fn words(&self) -> usize {
        self.levels() as usize * (2 + self.layout.words()) + (self.layout.leaf_words() << self.tail())
    }
}

impl Layout {
    /// Of a node's correction.
    const fn words(self) -> usize {
        match self {
            Self::One => 1,
            Self::Alone | Self::Packed => 2,
            Self::Wide => 3,
        }
    }

    /// Of a leaf's correction.
    const fn leaf_words(self) -> usize {
        match self {
            Self::One | Self::Alone => 1,
            Self::Packed => 2,
            Self::Wide => 3,
        }
    }
}

/// A [`Layout`] as a type, so that its loops are compiled for it.
trait Fields {
    const LAYOUT: Layout;
    /// The numbers in these words; bits above a number's own are anything.
    fn split(words: [u64; FIELDS], k: u32) -> [u64; FIELDS];
    /// The words of these numbers, the last one's flags whatever they are.
    fn join(fields: [u64; FIELDS], k: u32) -> [u64; FIELDS];
}

struct One;
struct Alone;
struct Packed;
struct Wide;

impl Fields for One {
    const LAYOUT: Layout = Layout::One;
    #[inline(always)]
    fn split([p, _, _]: [u64; FIELDS], _: u32) -> [u64; FIELDS] {
        [p, 0, 0]
    }
    #[inline(always)]
    fn join(fields: [u64; FIELDS], _: u32) -> [u64; FIELDS] {
        fields
    }
}

impl Fields for Alone {
    const LAYOUT: Layout = Layout::Alone;
    // The second word holds flags, and no number: it is carried along so that all its bits are random.
    #[inline(always)]
    fn split([p, rest, _]: [u64; FIELDS], _: u32) -> [u64; FIELDS] {
        [p, 0, rest]
    }
    #[inline(always)]
    fn join([p, _, rest]: [u64; FIELDS], _: u32) -> [u64; FIELDS] {
        [p, rest, 0]
    }
}

impl Fields for Packed {
    const LAYOUT: Layout = Layout::Packed;
    #[inline(always)]
    fn split([p, q, _]: [u64; FIELDS], k: u32) -> [u64; FIELDS] {
        [p, q, p >> k | q >> k << (64 - k)]
    }
    #[inline(always)]
    fn join([p, q, c]: [u64; FIELDS], k: u32) -> [u64; FIELDS] {
        let low = (1 << k) - 1;
        [p & low | c << k, q & low | c >> (64 - k) << k, 0]
    }
}

impl Fields for Wide {
    const LAYOUT: Layout = Layout::Wide;
    #[inline(always)]
    fn split(words: [u64; FIELDS], _: u32) -> [u64; FIELDS] {
        words
    }
    #[inline(always)]
    fn join(fields: [u64; FIELDS], _: u32) -> [u64; FIELDS] {
        fields
    }
}

/// Some trees of a batch: what both parties and the dealer know of them.
#[derive(Clone, Copy)]
pub struct Trees<'a> {
    /// The batch's hash.
    pub hash: &'a Hash,
    /// What each compares and gives.
    pub form: Form,
    /// The number of the first one in its batch.
    pub first: u64,
}

/// What a party has of some trees.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// The party, 0 or 1.
    pub party: usize,
    /// A root a tree.
    pub roots: &'a [[u64; 2]],
    /// [`Form::words`] a tree.
    pub words: &'a [u64],
}

/// What the dealer knows of some trees, in the order of their numbers.
#[derive(Clone, Copy)]
pub struct Secrets<'a> {
    /// Both parties' roots.
    pub roots: [&'a [[u64; 2]]; 2],
    /// The thresholds.
    pub alpha: &'a [u64],
    /// The payloads.
    pub beta: [&'a [u64]; FIELDS],
}

impl Trees<'_> {
    fn from(&self, tree: usize) -> Self {
        Self { first: self.first + tree as u64, ..*self }
    }

    /// The correction words of these trees, [`Form::words`] each.
    pub fn deal(&self, isa: Isa, secrets: Secrets<'_>, out: &mut [u64]) {
        let Secrets { roots, alpha, beta } = secrets;
        for (run_number, out) in out.chunks_mut(LANES * self.form.words()).enumerate() {
            let at = run_number * LANES;
            let lanes = at..(at + LANES).min(alpha.len());
            let secrets = Secrets {
                roots: roots.map(|roots| &roots[lanes.clone()]),
                alpha: &alpha[lanes.clone()],
                beta: beta.map(|beta| &beta[lanes.clone()]),
            };
            let trees = self.from(at);
            match self.form.layout {
                Layout::One => run(isa, Deal { trees, secrets, out, layout: PhantomData::<One> }),
                Layout::Alone => run(isa, Deal { trees, secrets, out, layout: PhantomData::<Alone> }),
                Layout::Packed => run(isa, Deal { trees, secrets, out, layout: PhantomData::<Packed> }),
                Layout::Wide => run(isa, Deal { trees, secrets, out, layout: PhantomData::<Wide> }),
            }
        }
    }

    /// Adds this party's parts of the trees' payloads at `x` to `out`.
    pub fn eval(&self, isa: Isa, keys: Keys<'_>, x: &[u64], out: [&mut [u64]; FIELDS]) {
        let Keys { party, roots, words } = keys;
        let [p, q, c] = out.map(|out| out.chunks_mut(LANES));
        let runs = x.chunks(LANES).zip(roots.chunks(LANES)).zip(words.chunks(LANES * self.form.words()));
        for (run_number, (((x, roots), words), ((p, q), c))) in runs.zip(p.zip(q).zip(c)).enumerate() {
            let trees = self.from(run_number * LANES);
            let (keys, out) = (Keys { party, roots, words }, [p, q, c]);
            match self.form.layout {
                Layout::One => run(isa, Eval { trees, keys, x, out, layout: PhantomData::<One> }),
                Layout::Alone => run(isa, Eval { trees, keys, x, out, layout: PhantomData::<Alone> }),
                Layout::Packed => run(isa, Eval { trees, keys, x, out, layout: PhantomData::<Packed> }),
                Layout::Wide => run(isa, Eval { trees, keys, x, out, layout: PhantomData::<Wide> }),
            }
        }
    }
}

/// One word of each tree.
type Lanes = [u64; LANES];

/// Hashes of a node: the child's seed, then its words.
const HASHES: usize = 1 + FIELDS.div_ceil(2);

/// What a node's hashes give: two words each.
type Hashes = [[Lanes; 2]; HASHES];

const NOTHING: Lanes = [0; LANES];

/// One party's nodes. Trees behind the last one are walked too, to no effect: loops of a fixed
/// length are worth more.
struct Nodes {
    seeds: [Lanes; 2],
    /// All ones or zero.
    control: Lanes,
}

impl Nodes {
    fn roots(roots: &[[u64; 2]], party: usize) -> Self {
        let mut seeds = [NOTHING; 2];
        for (lane, root) in roots.iter().enumerate().take(LANES) {
            (seeds[0][lane], seeds[1][lane]) = (root[0], root[1]);
        }
        Self { seeds, control: [(party as u64).wrapping_neg(); LANES] }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.seeds.zeroize();
    }
}

/// The second half of a tweak: the node's level, and which of its children or leaves.
#[inline(always)]
fn tweak(level: u32, which: u64) -> u64 {
    u64::from(level) << 5 | which << 2
}

/// All ones if that bit is set.
#[inline(always)]
fn mask_of(x: u64, bit: u32) -> u64 {
    (x >> bit & 1).wrapping_neg()
}

#[inline(always)]
fn choose(set: u64, zero: u64, one: u64) -> u64 {
    zero ^ set & (zero ^ one)
}

/// `-x` where `set` is all ones.
#[inline(always)]
fn negated_if(set: u64, x: u64) -> u64 {
    (x ^ set).wrapping_sub(set)
}

/// The next words of `words`, one a lane.
#[inline(always)]
fn next(words: &mut &[u64], lanes: usize) -> Lanes {
    let (now, later) = words.split_at(lanes);
    *words = later;
    let mut next = NOTHING;
    next[..lanes].copy_from_slice(now);
    next
}

/// As many words behind what was written.
#[inline(always)]
fn put(words: &mut &mut [u64], lanes: usize, put: &Lanes) {
    let (now, later) = std::mem::take(words).split_at_mut(lanes);
    now.copy_from_slice(&put[..lanes]);
    *words = later;
}

/// `count` hashes of each node, under tweaks that start with the tree's number.
#[inline(always)]
fn expand(trees: &Trees<'_>, nodes: &Nodes, tweaks: &Lanes, count: usize, out: &mut Hashes) {
    let mut blocks = [[[0u64; 2]; LANES]; HASHES];
    for (h, block) in blocks.iter_mut().enumerate().take(count) {
        for lane in 0..LANES {
            let [l, r] = sigma([nodes.seeds[0][lane], nodes.seeds[1][lane]]);
            block[lane] = [l ^ trees.first.wrapping_add(lane as u64), r ^ tweaks[lane] ^ h as u64];
        }
    }
    trees.hash.permute(blocks[..count].as_flattened_mut().as_flattened_mut());
    for (block, out) in blocks.iter().zip(out).take(count) {
        let [left, right] = out;
        for lane in 0..LANES {
            let [l, r] = sigma([nodes.seeds[0][lane], nodes.seeds[1][lane]]);
            left[lane] = block[lane][0] ^ l;
            right[lane] = block[lane][1] ^ r;
        }
    }
}

/// The numbers in the words of all lanes.
#[inline(always)]
fn split<F: Fields>(words: &[Lanes; FIELDS], k: u32) -> [Lanes; FIELDS] {
    let mut fields = [NOTHING; FIELDS];
    for lane in 0..LANES {
        let numbers = F::split([words[0][lane], words[1][lane], words[2][lane]], k);
        (fields[0][lane], fields[1][lane], fields[2][lane]) = (numbers[0], numbers[1], numbers[2]);
    }
    fields
}

/// The inverse of [`split`].
#[inline(always)]
fn join<F: Fields>(fields: &[Lanes; FIELDS], k: u32) -> [Lanes; FIELDS] {
    let mut words = [NOTHING; FIELDS];
    for lane in 0..LANES {
        let joined = F::join([fields[0][lane], fields[1][lane], fields[2][lane]], k);
        (words[0][lane], words[1][lane], words[2][lane]) = (joined[0], joined[1], joined[2]);
    }
    words
}

/// The words among hashes from number `from` on.
#[inline(always)]
fn words_of(hashes: &Hashes, from: usize, width: usize) -> [Lanes; FIELDS] {
    let mut words = [NOTHING; FIELDS];
    for (w, words) in words.iter_mut().enumerate().take(width) {
        *words = hashes[from + w / 2][w % 2];
    }
    words
}

/// One party's walk down the trees of a run.
struct Eval<'a, F> {
    trees: Trees<'a>,
    keys: Keys<'a>,
    x: &'a [u64],
    out: [&'a mut [u64]; FIELDS],
    layout: PhantomData<F>,
}

impl<F: Fields> Loop for Eval<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let Self { trees, keys: Keys { party, roots, words }, x, out, .. } = self;
        let (form, k, lanes) = (trees.form, trees.form.k, x.len().min(LANES));
        let x = next(&mut { x }, lanes);
        let mut nodes = Nodes::roots(roots, party);
        let mut sums = [NOTHING; FIELDS];
        let mut hashes = [[NOTHING; 2]; HASHES];
        let mut words = words;
        let width = F::LAYOUT.words();
        for level in 0..form.levels() {
            let bit = form.bits - 1 - level;
            let tweaks = x.map(|x| tweak(level, x >> bit & 1));
            expand(&trees, &nodes, &tweaks, 1 + width.div_ceil(2), &mut hashes);
            for (h, seeds) in nodes.seeds.iter_mut().enumerate() {
                let correction = next(&mut words, lanes);
                for lane in 0..LANES {
                    seeds[lane] = hashes[0][h][lane] ^ correction[lane] & nodes.control[lane];
                }
            }
            let ours = words_of(&hashes, 1, width);
            let mut theirs = [NOTHING; FIELDS];
            theirs.iter_mut().take(width).for_each(|theirs| *theirs = next(&mut words, lanes));
            add::<F>(&mut sums, &ours, &theirs, &nodes.control, k);
            let (flags, last) = (&theirs[width - 1], &ours[width - 1]);
            for lane in 0..LANES {
                let flip = choose(mask_of(x[lane], bit), mask_of(flags[lane], 62), mask_of(flags[lane], 63));
                nodes.control[lane] = mask_of(last[lane], 63) ^ flip & nodes.control[lane];
            }
        }
        let (width, last) = (F::LAYOUT.leaf_words(), (1u64 << form.tail()) - 1);
        let tweaks = x.map(|x| tweak(form.levels(), x & last));
        expand(&trees, &nodes, &tweaks, width.div_ceil(2), &mut hashes);
        let ours = words_of(&hashes, 0, width);
        let mut theirs = [NOTHING; FIELDS];
        for leaf in 0..=last {
            for theirs in theirs.iter_mut().take(width) {
                let table = next(&mut words, lanes);
                for lane in 0..LANES {
                    let here = u64::from(x[lane] & last == leaf).wrapping_neg();
                    theirs[lane] |= table[lane] & here;
                }
            }
        }
        add::<F>(&mut sums, &ours, &theirs, &nodes.control, k);
        let negative = (party as u64).wrapping_neg();
        for (out, sums) in out.into_iter().zip(&sums) {
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = out.wrapping_add(negated_if(negative, *sum)));
        }
    }
}

/// Adds the numbers of a party's own words, and where its control bit is set of the correction's.
#[inline(always)]
fn add<F: Fields>(
    sums: &mut [Lanes; FIELDS],
    ours: &[Lanes; FIELDS],
    corrections: &[Lanes; FIELDS],
    control: &Lanes,
    k: u32,
) {
    let (ours, corrections) = (split::<F>(ours, k), split::<F>(corrections, k));
    for (sums, (ours, corrections)) in sums.iter_mut().zip(ours.iter().zip(&corrections)) {
        for lane in 0..LANES {
            sums[lane] = sums[lane].wrapping_add(ours[lane]).wrapping_add(corrections[lane] & control[lane]);
        }
    }
}

/// The dealer's walk down the trees of a run, as both parties at once.
struct Deal<'a, F> {
    trees: Trees<'a>,
    secrets: Secrets<'a>,
    out: &'a mut [u64],
    layout: PhantomData<F>,
}

impl<F: Fields> Loop for Deal<'_, F> {
    type Out = ();

    // Variables are the paper's: alpha, beta, V_alpha (`sums`).
    #[inline(always)]
    fn run(self) {
        let Self { trees, secrets: Secrets { roots, alpha, beta }, out, .. } = self;
        let (form, k, lanes) = (trees.form, trees.form.k, alpha.len().min(LANES));
        let alpha = next(&mut { alpha }, lanes);
        let beta = beta.map(|beta| next(&mut { beta }, lanes));
        let mut nodes = [Nodes::roots(roots[0], 0), Nodes::roots(roots[1], 1)];
        let mut sums = [NOTHING; FIELDS];
        // Of both parties, for both children.
        let mut hashes = [[[[NOTHING; 2]; HASHES]; 2]; 2];
        let mut out = out;
        for level in 0..form.levels() {
            let bit = form.bits - 1 - level;
            for (nodes, hashes) in nodes.iter().zip(&mut hashes) {
                for (child, hashes) in (0..).zip(hashes) {
                    let tweaks = [tweak(level, child); LANES];
                    expand(&trees, nodes, &tweaks, 1 + F::LAYOUT.words().div_ceil(2), hashes);
                }
            }
            descend::<F>(&mut nodes, &hashes, &mut sums, &alpha.map(|a| mask_of(a, bit)), &beta, (k, lanes), &mut out);
        }
        let (width, last) = (F::LAYOUT.leaf_words(), (1u64 << form.tail()) - 1);
        for leaf in 0..=last {
            let mut corrections = [NOTHING; FIELDS];
            for (nodes, hashes) in nodes.iter().zip(&mut hashes) {
                let tweaks = [tweak(form.levels(), leaf); LANES];
                expand(&trees, nodes, &tweaks, width.div_ceil(2), &mut hashes[0]);
            }
            let ours = [0, 1].map(|party| split::<F>(&words_of(&hashes[party][0], 0, width), k));
            for (f, correction) in corrections.iter_mut().enumerate() {
                for lane in 0..LANES {
                    let below = u64::from(leaf < alpha[lane] & last).wrapping_neg();
                    let v = ours[1][f][lane].wrapping_sub(ours[0][f][lane]).wrapping_sub(sums[f][lane]);
                    let v = v.wrapping_add(beta[f][lane] & below);
                    correction[lane] = negated_if(nodes[1].control[lane], v);
                }
            }
            join::<F>(&corrections, k).iter().take(width).for_each(|words| put(&mut out, lanes, words));
        }
    }
}

/// One level: writes its correction words, and goes from both parties' nodes to the children
/// towards alpha, whose bit `a` is all ones or zero.
#[inline(always)]
fn descend<F: Fields>(
    nodes: &mut [Nodes; 2],
    hashes: &[[Hashes; 2]; 2],
    sums: &mut [Lanes; FIELDS],
    a: &Lanes,
    beta: &[Lanes; FIELDS],
    (k, lanes): (u32, usize),
    out: &mut &mut [u64],
) {
    let width = F::LAYOUT.words();
    let [first, second] = hashes;
    let before = [nodes[0].control, nodes[1].control];
    for half in 0..2 {
        let mut correction = NOTHING;
        for lane in 0..LANES {
            let lost = |of: &[Hashes; 2]| choose(a[lane], of[1][0][half][lane], of[0][0][half][lane]);
            correction[lane] = lost(first) ^ lost(second);
        }
        put(out, lanes, &correction);
        for (party, of) in hashes.iter().enumerate() {
            for lane in 0..LANES {
                let kept = choose(a[lane], of[0][0][half][lane], of[1][0][half][lane]);
                nodes[party].seeds[half][lane] = kept ^ correction[lane] & before[party][lane];
            }
        }
    }
    let words = [0, 1].map(|party| [0, 1].map(|child| words_of(&hashes[party][child], 1, width)));
    let mut corrections = [NOTHING; FIELDS];
    let numbers = [0, 1].map(|party| [0, 1].map(|child| split::<F>(&words[party][child], k)));
    for (f, correction) in corrections.iter_mut().enumerate() {
        let [first, second] = &numbers;
        for lane in 0..LANES {
            let kept = |of: &[[Lanes; FIELDS]; 2]| choose(a[lane], of[0][f][lane], of[1][f][lane]);
            let lost = |of: &[[Lanes; FIELDS]; 2]| choose(a[lane], of[1][f][lane], of[0][f][lane]);
            // Whoever goes left where alpha goes right is below it.
            let v = lost(second).wrapping_sub(lost(first)).wrapping_sub(sums[f][lane]);
            let v = v.wrapping_add(beta[f][lane] & a[lane]);
            correction[lane] = negated_if(before[1][lane], v);
            sums[f][lane] = sums[f][lane].wrapping_sub(kept(second)).wrapping_add(kept(first)).wrapping_add(v);
        }
    }
    let mut joined = join::<F>(&corrections, k);
    for lane in 0..LANES {
        let control = |party: usize, child: usize| mask_of(words[party][child][width - 1][lane], 63);
        let left = control(0, 0) ^ control(1, 0) ^ !a[lane];
        let right = control(0, 1) ^ control(1, 1) ^ a[lane];
        joined[width - 1][lane] = joined[width - 1][lane] & !FLAGS | left & 1 << 62 | right & 1 << 63;
        for (party, nodes) in nodes.iter_mut().enumerate() {
            let kept = choose(a[lane], control(party, 0), control(party, 1));
            nodes.control[lane] = kept ^ choose(a[lane], left, right) & before[party][lane];
        }
    }
    joined.iter().take(width).for_each(|words| put(out, lanes, words));
}
