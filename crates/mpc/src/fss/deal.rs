//! Making keys.

use super::dcf::{FIELDS, LANES, Secrets, Trees};
use super::lanes::{
    HASHES, Hashes, Lanes, NOTHING, Nodes, blocks, choose, expand, join, mask_of, negated_if, next, put, split, tweak,
    words_of,
};
use super::layout::{FLAGS, Fields};
use std::marker::PhantomData;
use subrosa_core::Secret;
use subrosa_ring::isa::Loop;

/// The dealer's walk down the trees of a run, as both parties at once.
pub(super) struct Deal<'a, F> {
    pub(super) trees: Trees<'a>,
    pub(super) secrets: Secrets<'a>,
    pub(super) out: &'a mut [u64],
    pub(super) layout: PhantomData<F>,
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
        // Of both parties, for both children, seeds among them: wiped at the end of the run.
        let mut hashes = Secret::<[[Hashes; 2]; 2]>::new([[[[NOTHING; 2]; HASHES]; 2]; 2]);
        let (hashes, mut blocks) = (hashes.expose_mut(), blocks());
        let mut out = out;
        for level in 0..form.levels() {
            let bit = form.bits - 1 - level;
            for (nodes, hashes) in nodes.iter().zip(&mut *hashes) {
                for (child, hashes) in (0..).zip(hashes) {
                    let tweaks = [tweak(level, child); LANES];
                    expand(&trees, nodes, &tweaks, 1 + F::LAYOUT.words().div_ceil(2), &mut blocks, hashes);
                }
            }
            descend::<F>(&mut nodes, hashes, &mut sums, &alpha.map(|a| mask_of(a, bit)), &beta, (k, lanes), &mut out);
        }
        let (width, last) = (F::LAYOUT.leaf_words(), (1u64 << form.tail()) - 1);
        for leaf in 0..=last {
            let mut corrections = [NOTHING; FIELDS];
            for (nodes, hashes) in nodes.iter().zip(&mut *hashes) {
                let tweaks = [tweak(form.levels(), leaf); LANES];
                expand(&trees, nodes, &tweaks, width.div_ceil(2), &mut blocks, &mut hashes[0]);
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
    let before = [nodes[0].control, nodes[1].control];
    for half in [0, 1] {
        let [[l_0, r_0], [l_1, r_1]] = [0, 1].map(|party| [0, 1].map(|child| &hashes[party][child][0][half]));
        let [ours, theirs] = nodes.each_mut().map(|nodes| &mut nodes.seeds[half]);
        let mut correction = NOTHING;
        for lane in 0..LANES {
            let (a, kept, lost) = (a[lane], [(l_0, r_0), (l_1, r_1)], [(r_0, l_0), (r_1, l_1)]);
            let [kept_0, kept_1] = kept.map(|(l, r)| choose(a, l[lane], r[lane]));
            let [lost_0, lost_1] = lost.map(|(r, l)| choose(a, r[lane], l[lane]));
            correction[lane] = lost_0 ^ lost_1;
            ours[lane] = kept_0 ^ correction[lane] & before[0][lane];
            theirs[lane] = kept_1 ^ correction[lane] & before[1][lane];
        }
        put(out, lanes, &correction);
    }
    // Words towards alpha and away from it, of each party.
    let (mut kept, mut lost) = ([[NOTHING; FIELDS]; 2], [[NOTHING; FIELDS]; 2]);
    for party in 0..2 {
        for w in 0..width {
            let [left, right] = [0, 1].map(|child| &hashes[party][child][1 + w / 2][w % 2]);
            for lane in 0..LANES {
                kept[party][w][lane] = choose(a[lane], left[lane], right[lane]);
                lost[party][w][lane] = choose(a[lane], right[lane], left[lane]);
            }
        }
    }
    let mut joined = [NOTHING; FIELDS];
    let ([kept_0, kept_1], [lost_0, lost_1]) = (&kept, &lost);
    let [p, q, c] = sums;
    for lane in 0..LANES {
        let of = |words: &[Lanes; FIELDS]| F::split([words[0][lane], words[1][lane], words[2][lane]], k);
        let (kept_0, kept_1, lost_0, lost_1) = (of(kept_0), of(kept_1), of(lost_0), of(lost_1));
        let sums = [&mut p[lane], &mut q[lane], &mut c[lane]];
        let beta = [beta[0][lane], beta[1][lane], beta[2][lane]];
        let mut correction = [0; FIELDS];
        for (f, sum) in sums.into_iter().enumerate() {
            // Whoever goes left where alpha goes right is below it.
            let v = lost_1[f].wrapping_sub(lost_0[f]).wrapping_sub(*sum).wrapping_add(beta[f] & a[lane]);
            correction[f] = negated_if(before[1][lane], v);
            *sum = sum.wrapping_sub(kept_1[f]).wrapping_add(kept_0[f]).wrapping_add(v);
        }
        let words = F::join(correction, k);
        (joined[0][lane], joined[1][lane], joined[2][lane]) = (words[0], words[1], words[2]);
    }
    let w = width - 1;
    let (kept, lost) = ([&kept[0][w], &kept[1][w]], [&lost[0][w], &lost[1][w]]);
    let [ours, theirs] = nodes.each_mut().map(|nodes| &mut nodes.control);
    for lane in 0..LANES {
        let a = a[lane];
        let control = |words: &Lanes| mask_of(words[lane], 63);
        // Both parties differ on the child towards alpha, and agree on the other.
        let to_kept = !(control(kept[0]) ^ control(kept[1]));
        let to_lost = control(lost[0]) ^ control(lost[1]);
        let (left, right) = (choose(a, to_kept, to_lost), choose(a, to_lost, to_kept));
        joined[w][lane] = joined[w][lane] & !FLAGS | left & 1 << 62 | right & 1 << 63;
        ours[lane] = control(kept[0]) ^ to_kept & before[0][lane];
        theirs[lane] = control(kept[1]) ^ to_kept & before[1][lane];
    }
    joined.iter().take(width).for_each(|words| put(out, lanes, words));
}
