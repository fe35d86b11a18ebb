//! Hostile files: what is wrong with them is refused by name, and nothing panics or
//! allocates beyond what the file's length allows.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

mod protocol;

use proptest::prelude::*;
use protocol::files;
use subrosa_he::files::{
    Digest, answer_from_bytes, answer_to_bytes, bundle_from_bytes, client_from_bytes, request_from_bytes,
    request_to_bytes,
};
use subrosa_he::{Client, PublicPlan};
use subrosa_lattice::wire::Writer;

/// Magic, kind and version.
const HEAD: usize = 16;
/// And the digests of plan and bundle, and the count of samples.
const SEALED: usize = HEAD + 32 + 32 + 4;

fn client() -> (Client, Digest) {
    client_from_bytes(&files().secret).unwrap()
}

fn refusal<T>(result: Result<T, subrosa_he::Error>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

fn request(bytes: &[u8]) -> String {
    let (client, digest) = client();
    refusal(request_from_bytes(client.plan(), &digest, bytes))
}

fn answer(bytes: &[u8]) -> String {
    let (client, digest) = client();
    refusal(answer_from_bytes(client.plan(), &digest, bytes))
}

fn with(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

#[test]
fn residues_that_are_none_are_refused() {
    let f = files();
    let ones = [0xff; 8];
    assert!(request(&with(&f.request, SEALED + 32, &ones)).contains("no residue modulo"));
    assert!(answer(&with(&f.answer, SEALED, &ones)).contains("no residue modulo"));
    assert!(answer(&with(&f.answer, f.answer.len() - 8, &ones)).contains("no residue modulo"));
    let after_seed = HEAD + f.plan.len() + 32;
    assert!(refusal(bundle_from_bytes(&with(&f.bundle, after_seed, &ones))).contains("no residue modulo"));
    let coefficients = HEAD + f.plan.len() + 32;
    assert!(refusal(client_from_bytes(&with(&f.secret, coefficients, &ones))).contains("not -1, 0 or 1"));
}

#[test]
fn ciphertexts_of_another_level_are_refused() {
    let (client, _) = client();
    let (f, plan) = (files(), client.plan());
    let input = client.encrypt(&f.input).unwrap();
    assert!(plan.fresh.level > plan.answer.level);
    let fresh = input.ciphertexts[0].expand(&plan.params);
    // A request a level lower: one polynomial behind the seed.
    let mut low = fresh.clone();
    low.truncate(plan.fresh.level - 1);
    let mut w = Writer::new();
    plan.params.write_ciphertext(&mut w, &low);
    let parts = w.into_bytes();
    assert!(request(&[&f.request[..SEALED + 32], &parts[..parts.len() / 2]].concat()).contains("cut off"));
    // An answer of a level that is too high.
    let mut w = Writer::new();
    w.bytes(&f.answer[..SEALED]);
    plan.params.write_ciphertext(&mut w, &fresh);
    assert!(answer(&w.into_bytes()).contains("bytes follow its end"));
    // In memory too: the client looks before it decrypts.
    let high = subrosa_he::EncryptedOutput { ciphertexts: vec![fresh], samples: 1 };
    assert!(refusal(client.decrypt(&high)).contains("not of this plan's form"));
}

#[test]
fn parameters_that_are_insecure_or_none_are_refused() {
    let f = files();
    let plan = |bytes: &[u8]| refusal(PublicPlan::from_bytes(bytes));
    let (log_n, attacker, primes, first) = (HEAD, HEAD + 4, HEAD + 8, HEAD + 12);
    let degree = f.plan[log_n];
    assert!(plan(&with(&f.plan, log_n, &[degree - 1])).contains("128-bit security"));
    assert!(plan(&with(&f.plan, log_n, &[15])).contains("no transform"));
    assert!(plan(&with(&f.plan, log_n, &[0xff; 4])).contains("is the largest computed with"));
    assert!(plan(&with(&f.plan, attacker, &[7])).contains("attacker is unknown"));
    assert!(plan(&with(&f.plan, primes, &[0xff; 4])).contains("primes"));
    assert!(plan(&with(&f.plan, primes, &[0; 4])).contains("valid"));
    for p in [0, 1, 4, u64::MAX, (1 << 36) + 1] {
        let why = plan(&with(&f.plan, first, &p.to_le_bytes()));
        assert!(why.contains("not a prime") || why.contains("128-bit security"), "{p}: {why}");
    }
    let second: [u8; 8] = f.plan[first + 8..first + 16].try_into().unwrap();
    assert!(plan(&with(&f.plan, first, &second)).contains("twice"));
    // The same inside the key files.
    assert!(refusal(bundle_from_bytes(&with(&f.bundle, HEAD + log_n, &[degree - 1]))).contains("128-bit security"));
    assert!(refusal(client_from_bytes(&with(&f.secret, HEAD + log_n, &[degree - 1]))).contains("128-bit security"));
}

/// What a plan of others may ask of a server's or a client's memory has an end.
#[test]
fn plans_that_ask_for_too_much_are_refused() {
    let f = files();
    let plan = |plan: &PublicPlan| refusal(PublicPlan::from_bytes(&plan.to_bytes()));
    let large = with(&f.plan, HEAD, &16u32.to_le_bytes());
    assert!(refusal(PublicPlan::from_bytes(&large)).contains("ring degree 2^16; 2^15 is the largest"));
    assert!(refusal(bundle_from_bytes(&with(&f.bundle, HEAD + HEAD, &16u32.to_le_bytes()))).contains("ring degree"));
    let (client, _) = client();
    let mut greedy = client.plan().clone();
    greedy.packing = subrosa_he::public::Packing::Throughput;
    greedy.input_len = 1 << 20;
    assert!(plan(&greedy).contains("its ciphertexts would take"), "{}", plan(&greedy));
    let q = subrosa_lattice::modulus::primes_below(15, 18, 30, &[]);
    let q = q.or_else(|_| subrosa_lattice::modulus::primes_below(15, 28, 30, &[])).unwrap();
    let special = subrosa_lattice::modulus::primes_below(15, 29, 1, &q).unwrap();
    let literal = subrosa_lattice::ParamsLiteral { log_n: 15, q, special, ..client.plan().literal().clone() };
    let mut greedy = client.plan().clone();
    greedy.params = subrosa_lattice::Params::new(literal).unwrap();
    greedy.packing = subrosa_he::public::Packing::Throughput;
    greedy.rotations = (1..1 << 14).map(|r| (r, 30)).collect();
    assert!(plan(&greedy).contains("its evaluation keys would take"), "{}", plan(&greedy));
}

#[test]
fn ciphertexts_under_other_parameters_are_refused() {
    let (client, digest) = client();
    let mut other = client.plan().clone();
    let mut literal = other.params.literal().clone();
    literal.q.swap(0, 1);
    other.params = subrosa_lattice::Params::new(literal).unwrap();
    let bytes =
        request_to_bytes(&other, &digest, &Client::new(other.clone()).unwrap().encrypt(&files().input).unwrap());
    assert!(request(&bytes).contains("another plan"));
}

/// Swapped parts of a bundle make a bundle of another name: whoever uses it is told.
#[test]
fn swapped_keys_are_refused() {
    let f = files();
    let (plan, _, digest) = bundle_from_bytes(&f.bundle).unwrap();
    let of_level = |level: usize| plan.rotations.iter().filter(|r| r.1 == level).count();
    assert!(of_level(plan.rotations[0].1) > 1, "two keys of one length");
    let start = HEAD + f.plan.len();
    let key = (f.bundle.len() - start) / (plan.rotations.len() + usize::from(plan.relinearise.is_some()));
    let mut bytes = f.bundle.clone();
    let (first, second) = (start, start + key);
    bytes.copy_within(second..second + key, first);
    bytes[second..second + key].copy_from_slice(&f.bundle[first..first + key]);
    if let Ok((plan, _, other)) = bundle_from_bytes(&bytes) {
        assert_ne!(other, digest);
        assert!(refusal(request_from_bytes(&plan, &other, &f.request)).contains("another key"));
    }
    assert!(request(&f.answer).contains("answer file") && answer(&f.request).contains("request file"));
    assert!(refusal(bundle_from_bytes(&f.secret)).contains("secret key file"));
    assert!(refusal(client_from_bytes(&f.bundle)).contains("evaluation key file"));
    assert!(refusal(PublicPlan::from_bytes(&f.bundle)).contains("evaluation key file"));
}

#[test]
fn every_cut_and_every_extension_is_refused() {
    let (f, (client, digest)) = (files(), client());
    let plan = client.plan();
    let read = |which: usize, bytes: &[u8]| match which {
        0 => PublicPlan::from_bytes(bytes).is_ok(),
        1 => client_from_bytes(bytes).is_ok(),
        2 => bundle_from_bytes(bytes).is_ok(),
        3 => request_from_bytes(plan, &digest, bytes).is_ok(),
        _ => answer_from_bytes(plan, &digest, bytes).is_ok(),
    };
    for (which, bytes) in [&f.plan, &f.secret, &f.bundle, &f.request, &f.answer].into_iter().enumerate() {
        assert!(read(which, bytes));
        let structure = (0..SEALED + 40).chain((0..bytes.len()).step_by(bytes.len() / 40 + 1)).chain([bytes.len() - 1]);
        for cut in structure.filter(|&cut| cut < bytes.len()) {
            assert!(!read(which, &bytes[..cut]), "file {which} cut at {cut}");
        }
        assert!(!read(which, &[bytes, &[0][..]].concat()), "file {which} with a byte more");
    }
}

/// Changes of any number and kind, anywhere.
fn damage() -> impl Strategy<Value = Vec<(u8, usize, u8)>> {
    prop::collection::vec((0u8..5, any::<usize>(), any::<u8>()), 1..8)
}

fn damaged(original: &[u8], steps: &[(u8, usize, u8)]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for &(what, at, byte) in steps {
        // Every other place is among the fields in front, where a byte means most.
        let span = if at % 2 == 0 { bytes.len().min(512) } else { bytes.len() };
        let at = at / 2 % span.max(1);
        match what {
            0 if at < bytes.len() => bytes[at] = byte,
            1 if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
            2 => bytes.truncate(at.max(HEAD)),
            3 => bytes.insert(at.min(bytes.len()), byte),
            _ => bytes.iter_mut().skip(at).take(4).for_each(|b| *b = 0xff),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// What is read is written back as it was: no two files mean the same.
    #[test]
    fn damaged_files_are_refused_or_mean_what_they_say(which in 0usize..5, steps in damage()) {
        let (f, (client, digest)) = (files(), client());
        let plan = client.plan();
        match which {
            0 => {
                let bytes = damaged(&f.plan, &steps);
                if let Ok(plan) = PublicPlan::from_bytes(&bytes) { prop_assert_eq!(plan.to_bytes(), bytes) }
            }
            1 => {
                let bytes = damaged(&f.secret, &steps);
                if let Ok((client, _)) = client_from_bytes(&bytes) {
                    prop_assert!(bytes.ends_with(client.secret().write().expose()));
                }
            }
            2 => {
                let bytes = damaged(&f.bundle, &steps);
                let same = bytes == f.bundle;
                if let Ok((_, _, found)) = bundle_from_bytes(&bytes) { prop_assert_eq!(found == digest, same) }
            }
            3 => {
                let bytes = damaged(&f.request, &steps);
                if let Ok(input) = request_from_bytes(plan, &digest, &bytes) {
                    prop_assert_eq!(request_to_bytes(plan, &digest, &input), bytes);
                }
            }
            _ => {
                let bytes = damaged(&f.answer, &steps);
                if let Ok(output) = answer_from_bytes(plan, &digest, &bytes) {
                    prop_assert_eq!(client.decrypt(&output).unwrap().len(), plan.output_len);
                    prop_assert_eq!(answer_to_bytes(plan, &digest, &output), bytes);
                }
            }
        }
    }

    /// Bytes of no origin behind a right head.
    #[test]
    fn noise_is_refused(kind in 0u32..7, body in prop::collection::vec(any::<u8>(), 0..2048)) {
        let mut bytes = b"SBRSCKKS".to_vec();
        bytes.extend(kind.to_le_bytes());
        bytes.extend(2u32.to_le_bytes());
        bytes.extend(body);
        let (client, digest) = client();
        prop_assert!(PublicPlan::from_bytes(&bytes).is_err());
        prop_assert!(client_from_bytes(&bytes).is_err());
        prop_assert!(bundle_from_bytes(&bytes).is_err());
        prop_assert!(request_from_bytes(client.plan(), &digest, &bytes).is_err());
        prop_assert!(answer_from_bytes(client.plan(), &digest, &bytes).is_err());
    }
}
