//! The transform against what others say: vectors from `vectors/ntt.py` (the definition, in
//! Python's integers) and the crate `tfhe-ntt`.

use proptest::prelude::*;
use std::collections::BTreeMap;
use subrosa_core::Seed;
use subrosa_lattice::modulus::primes_below;
use subrosa_lattice::{Modulus, NttTable};

fn numbers(line: &str) -> Vec<u64> {
    line.split_whitespace().filter_map(|w| w.parse().ok()).collect()
}

#[test]
fn transforms_are_those_of_the_vectors() {
    let mut blocks = 0;
    for block in include_str!("vectors/ntt.txt").split("transform ").filter(|b| !b.is_empty()) {
        let (head, values) = block.split_once('\n').unwrap();
        let [n, p, root] = numbers(head)[..] else { panic!("{head}") };
        let m = Modulus::new(p).unwrap();
        let table = NttTable::new(m, n as usize).unwrap();
        assert_eq!(m.pow(root, n), p - 1);
        let cube = |x: u64| m.mul(m.mul(x, x), x);
        let polynomial = |k: u64| m.add(cube(k), m.add(m.mul(12345, k * k % p), (6789 * k + 1) % p));
        let mut x: Vec<u64> = (0..n).map(|k| cube(polynomial(k))).collect();
        let coefficients = x.clone();
        table.forward(&mut x);
        let position: BTreeMap<usize, usize> = (0..n as usize).map(|i| (table.exponent(i), i)).collect();
        for line in values.lines() {
            let [exponent, value] = numbers(line)[..] else { panic!("{line}") };
            assert_eq!(x[position[&(exponent as usize)]], value, "n {n}, p {p}, exponent {exponent}");
        }
        table.inverse(&mut x);
        assert_eq!(x, coefficients);
        blocks += 1;
    }
    assert_eq!(blocks, 6);
}

fn residues(p: u64, n: usize, seed: u64, purpose: &str) -> Vec<u64> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Seed::from_bytes(bytes).stream(purpose).u64s(n).into_iter().map(|w| w % p).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Roots and orders differ; the set of evaluations and every product must not.
    #[test]
    fn transforms_are_those_of_tfhe_ntt(log_n in 6u32..=14, bits in 24u32..=48, seed: u64) {
        let (n, p) = (1 << log_n, primes_below(log_n, bits, 1, &[]).unwrap()[0]);
        let ours = NttTable::new(Modulus::new(p).unwrap(), n).unwrap();
        let theirs = tfhe_ntt::prime64::Plan::try_new(n, p).unwrap();
        let (a, b) = (residues(p, n, seed, "a"), residues(p, n, seed, "b"));

        let (mut x, mut y) = (a.clone(), a.clone());
        ours.forward(&mut x);
        theirs.fwd(&mut y);
        let sorted = |mut v: Vec<u64>| { v.sort_unstable(); v };
        prop_assert_eq!(sorted(x.clone()), sorted(y.clone()), "evaluations");

        let (mut u, mut v) = (b.clone(), b);
        ours.forward(&mut u);
        theirs.fwd(&mut v);
        let m = ours.modulus();
        x.iter_mut().zip(&u).for_each(|(x, u)| *x = m.mul(*x, *u));
        ours.inverse(&mut x);
        theirs.mul_assign_normalize(&mut y, &v);
        theirs.inv(&mut y);
        prop_assert_eq!(x, y, "product");
    }
}
