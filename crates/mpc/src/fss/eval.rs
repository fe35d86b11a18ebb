//! Evaluation of keys.

use super::dcf::{FIELDS, Keys, LANES, Trees};
use super::lanes::{
    HASHES, Hashes, Lanes, NOTHING, Nodes, blocks, choose, expand, mask_of, negated_if, next, split, tweak, words_of,
};
use super::layout::Fields;
use std::marker::PhantomData;
use subrosa_core::Secret;
use subrosa_ring::isa::Loop;

/// One party's walk down the trees of a run.
pub(super) struct Eval<'a, F> {
    pub(super) trees: Trees<'a>,
    pub(super) keys: Keys<'a>,
    pub(super) x: &'a [u64],
    pub(super) out: [&'a mut [u64]; FIELDS],
    pub(super) layout: PhantomData<F>,
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
        // Seeds of children: wiped at the end of the run.
        let (mut blocks, mut hashes) = (blocks(), Secret::<Hashes>::new([[NOTHING; 2]; HASHES]));
        let hashes = hashes.expose_mut();
        let mut words = words;
        let width = F::LAYOUT.words();
        for level in 0..form.levels() {
            let bit = form.bits - 1 - level;
            let tweaks = x.map(|x| tweak(level, x >> bit & 1));
            expand(&trees, &nodes, &tweaks, 1 + width.div_ceil(2), &mut blocks, hashes);
            for (h, seeds) in nodes.seeds.iter_mut().enumerate() {
                let correction = next(&mut words, lanes);
                for lane in 0..LANES {
                    seeds[lane] = hashes[0][h][lane] ^ correction[lane] & nodes.control[lane];
                }
            }
            let ours = words_of(hashes, 1, width);
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
        expand(&trees, &nodes, &tweaks, width.div_ceil(2), &mut blocks, hashes);
        let ours = words_of(hashes, 0, width);
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
