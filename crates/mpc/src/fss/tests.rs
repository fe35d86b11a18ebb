use super::*;
use subrosa_core::Prg;
use subrosa_ring::isa::Isa;
use subrosa_ring::mask;

struct Sample {
    hash: Hash,
    form: Form,
    roots: [Vec<[u64; 2]>; 2],
    alpha: Vec<u64>,
    beta: [Vec<u64>; FIELDS],
    x: Vec<u64>,
}

fn prg(seed: u8) -> Prg {
    Seed::from_bytes([seed; 32]).stream("fss tests")
}

/// Thresholds with points at, beside and far from them, both ends of the range among them.
fn sample(form: Form, bits: u32, n: usize, seed: u8) -> Sample {
    let mut prg = prg(seed);
    let low = mask(bits);
    let mut key = [0; KEY_BYTES];
    prg.fill(&mut key);
    let roots = [0, 1].map(|_| prg.u64s(2 * n).as_chunks().0.to_vec());
    let edges = |i: usize, random: u64| [0, low, low / 2, low / 2 + 1].get(i / 7).copied().unwrap_or(random) & low;
    let alpha: Vec<u64> = prg.u64s(n).into_iter().enumerate().map(|(i, a)| edges(i, a)).collect();
    let beside = |(i, (random, &a)): (usize, (u64, &u64))| {
        let x: [u64; 7] = [a, a.wrapping_sub(1), a.wrapping_add(1), 0, low, a ^ 1, random];
        x[i % 7] & low
    };
    let x = prg.u64s(n).into_iter().zip(&alpha).enumerate().map(beside).collect();
    let beta = [0, 1, 2].map(|_| prg.u64s(n));
    Sample { hash: Hash::new(key), form, roots, alpha, beta, x }
}

impl Sample {
    fn trees(&self) -> Trees<'_> {
        Trees { hash: &self.hash, form: self.form, first: 1 << 40 }
    }

    fn deal(&self, isa: Isa) -> Vec<u64> {
        let mut words = vec![0; self.alpha.len() * self.form.words()];
        let roots = self.roots.each_ref().map(Vec::as_slice);
        let beta = self.beta.each_ref().map(Vec::as_slice);
        self.trees().deal(isa, Secrets { roots, alpha: &self.alpha, beta }, &mut words);
        words
    }

    fn eval(&self, isa: Isa, party: usize, words: &[u64]) -> [Vec<u64>; FIELDS] {
        let mut out = [(); FIELDS].map(|()| vec![0; self.x.len()]);
        let [p, q, c] = &mut out;
        self.trees().eval(isa, Keys { party, roots: &self.roots[party], words }, &self.x, [p, q, c]);
        out
    }
}

fn forms() -> impl Iterator<Item = (Form, u32, [u32; FIELDS])> {
    let bits_and_rings = [32, 48, 64].into_iter().flat_map(|k| (0..k).map(move |bits| (bits, k)));
    bits_and_rings
        .flat_map(|(bits, k)| [(Form::bit(bits, k), bits, [k, 0, 0]), (Form::triple(bits, k), bits, [k, k, k - bits])])
}

/// Both parties' parts add up to the payload below the threshold and to nothing elsewhere:
/// every width, ring and layout.
#[test]
fn parts_add_up() {
    for (form, bits, rings) in forms() {
        let s = sample(form, bits, 100, bits as u8);
        let words = s.deal(Isa::Portable);
        let [ours, theirs] = [0, 1].map(|party| s.eval(Isa::Portable, party, &words));
        for i in 0..s.x.len() {
            for (f, ring) in rings.into_iter().enumerate().filter(|&(_, ring)| ring > 0) {
                let expected = if s.x[i] < s.alpha[i] { s.beta[f][i] } else { 0 };
                let got = ours[f][i].wrapping_add(theirs[f][i]);
                assert_eq!((got ^ expected) & mask(ring), 0, "{form:?}: {} < {}, number {f}", s.x[i], s.alpha[i]);
            }
        }
    }
}

/// All of four bits.
#[test]
fn all_of_a_small_domain() {
    let (form, bits) = (Form::triple(4, 32), 4);
    let mut s = sample(form, bits, 256, 3);
    s.alpha = (0..256).map(|i| i / 16).collect();
    s.x = (0..256).map(|i| i % 16).collect();
    let words = s.deal(Isa::Portable);
    let [ours, theirs] = [0, 1].map(|party| s.eval(Isa::Portable, party, &words));
    for i in 0..256 {
        let expected = if s.x[i] < s.alpha[i] { s.beta[0][i] } else { 0 };
        assert_eq!(ours[0][i].wrapping_add(theirs[0][i]) as u32, expected as u32);
    }
}

/// Every instruction set gives the same keys and the same parts.
#[test]
fn paths_agree() {
    for (form, bits, _) in forms().step_by(5) {
        let s = sample(form, bits, 150, 1);
        let words = s.deal(Isa::Portable);
        let parts = s.eval(Isa::Portable, 1, &words);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            assert_eq!(s.deal(isa), words, "{isa}, {form:?}");
            assert_eq!(s.eval(isa, 1, &words), parts, "{isa}, {form:?}");
        }
    }
}

/// The trees of a run do not depend on how many are dealt or evaluated at a time.
#[test]
fn runs_may_be_cut() {
    let s = sample(Form::triple(20, 48), 20, 3 * LANES + 9, 5);
    let words = s.deal(Isa::Portable);
    let whole = s.eval(Isa::Portable, 0, &words);
    let at = 2 * LANES;
    let mut out = [(); FIELDS].map(|()| vec![0; s.x.len() - at]);
    let [p, q, c] = &mut out;
    let keys = Keys { party: 0, roots: &s.roots[0][at..], words: &words[at * s.form.words()..] };
    Trees { first: s.trees().first + at as u64, ..s.trees() }.eval(Isa::Portable, keys, &s.x[at..], [p, q, c]);
    assert_eq!(out, whole.map(|part| part[at..].to_vec()));
}

/// Bits of correction words, and sums of two of them, are as often one as zero, whatever the
/// threshold and payload: also to a party, whose root is the same in all trees.
#[test]
fn correction_words_say_nothing() {
    let (bits, n) = (6, 1 << 12);
    for form in [Form::bit(bits, 32), Form::triple(bits, 32), Form::bit(bits, 64), Form::triple(bits, 64)] {
        for party in 0..2 {
            let mut s = sample(form, bits, n, 7 + party as u8);
            let root = s.roots[party][0];
            s.roots[party].fill(root);
            let words = s.deal(Isa::Portable);
            let word = |j: usize, i: usize| words[i / LANES * LANES * form.words() + j * LANES + i % LANES];
            let alpha = |i: usize| s.alpha[i];
            for j in 0..form.words() {
                for bit in 0..64 {
                    let plane = |i: usize| word(j, i) >> bit & 1;
                    for of_alpha in 0..bits {
                        let equal = (0..n).filter(|&i| plane(i) == alpha(i) >> of_alpha & 1).count();
                        // Six deviations, of 64 * 20 * 6 * 8 tests.
                        let off = (equal as f64 - n as f64 / 2.0).abs() / (n as f64 / 4.0).sqrt();
                        assert!(off < 6.0, "{form:?}: bit {bit} of word {j} tells bit {of_alpha} of alpha ({off:.1})");
                    }
                }
            }
        }
    }
}

/// No two calls of the hash in a batch share a tweak, but those of both parties for one node.
#[test]
fn tweaks_differ() {
    let mut seen = std::collections::BTreeSet::new();
    for level in 0..64 {
        for which in 0..4 {
            for hash in 0..lanes::HASHES as u64 {
                assert!(seen.insert(lanes::tweak(level, which) ^ hash));
            }
        }
    }
}
