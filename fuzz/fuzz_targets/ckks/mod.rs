//! A small protocol run whose files the targets damage.

use std::sync::OnceLock;
use subrosa_he::files::{Digest, answer_to_bytes, client_from_bytes, key_files, request_to_bytes};
use subrosa_he::public::{Mark, Packing};
use subrosa_he::slots::SlotMap;
use subrosa_he::{Client, EncryptedOutput, PublicPlan};
use subrosa_lattice::modulus::primes_below;
use subrosa_lattice::{Attacker, Params, ParamsLiteral};

/// The least parameters there are: one prime, one special prime, ring degree 2048.
pub fn params() -> Params {
    let q = primes_below(11, 26, 1, &[]).unwrap();
    let special = primes_below(11, 27, 1, &q).unwrap();
    Params::new(ParamsLiteral { log_n: 11, q, special, attacker: Attacker::Classical }).unwrap()
}

pub struct Files {
    pub plan: PublicPlan,
    pub digest: Digest,
    pub secret: Vec<u8>,
    pub bundle: Vec<u8>,
    pub request: Vec<u8>,
    pub answer: Vec<u8>,
}

pub fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let mark = Mark { level: 1, scale: 1024.0 };
        let inputs = vec![SlotMap::new(1024, |slot| (slot < 2).then_some(slot))];
        let plan = PublicPlan {
            params: params(),
            model: "fuzzed".into(),
            input_len: 2,
            input_range: (-1.0, 1.0),
            output_len: 2,
            packing: Packing::Latency { inputs, outputs: vec![0, 1] },
            fresh: mark,
            answer: mark,
            relinearise: Some(1),
            rotations: vec![(1, 1)],
        };
        let (secret, bundle) = key_files(&Client::new(plan.clone()).unwrap()).unwrap();
        let (client, digest) = client_from_bytes(secret.expose()).unwrap();
        let input = client.encrypt(&[0.5, -0.5]).unwrap();
        let request = request_to_bytes(&plan, &digest, &input);
        let ciphertexts = input.ciphertexts.iter().map(|c| c.expand(&plan.params)).collect();
        let answer = answer_to_bytes(&plan, &digest, &EncryptedOutput { ciphertexts, samples: 1 });
        Files { plan, digest, secret: secret.expose().clone(), bundle, request, answer }
    })
}

/// An even first byte: the rest is the file. An odd one: the rest is what happens to
/// `original`, in steps of four bytes: where (16 bits), what, and a byte.
pub fn damaged(original: &[u8], input: &[u8]) -> Vec<u8> {
    let Some((mode, rest)) = input.split_first() else { return original.to_vec() };
    if mode % 2 == 0 {
        return rest.to_vec();
    }
    let mut bytes = original.to_vec();
    for step in rest.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([step[0], step[1]])) % bytes.len().max(1);
        match step[2] % 4 {
            0 if at < bytes.len() => bytes[at] = step[3],
            1 => bytes.truncate(at),
            2 => bytes.insert(at.min(bytes.len()), step[3]),
            _ => bytes.extend(std::iter::repeat_n(step[3], at % 64)),
        }
    }
    bytes
}
