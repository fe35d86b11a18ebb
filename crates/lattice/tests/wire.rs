//! Damaged ciphertexts and keys: refused by name, or written back as they were.

use proptest::prelude::*;
use std::sync::OnceLock;
use subrosa_lattice::modulus::primes_below;
use subrosa_lattice::wire::{Reader, Writer};
use subrosa_lattice::{Attacker, Error, Params, ParamsLiteral, SecretKey};

/// Two primes of different sizes.
fn params() -> &'static Params {
    static PARAMS: OnceLock<Params> = OnceLock::new();
    PARAMS.get_or_init(|| {
        let p = [36, 30, 38].map(|bits| primes_below(12, bits, 1, &[]).unwrap_or_default());
        let literal = ParamsLiteral {
            log_n: 12,
            q: [&p[0][..], &p[1]].concat(),
            special: p[2].clone(),
            attacker: Attacker::Classical,
        };
        Params::new(literal).unwrap_or_else(|e| unreachable!("{e}"))
    })
}

const KINDS: usize = 6;
const GALOIS: usize = 5;

/// One object of each kind.
fn objects() -> &'static [Vec<u8>; KINDS] {
    static OBJECTS: OnceLock<[Vec<u8>; KINDS]> = OnceLock::new();
    let made = || -> Result<[Vec<u8>; KINDS], Error> {
        let params = params();
        let secret = SecretKey::generate(params)?;
        let c = secret.encrypt(&params.zero(2, false))?;
        let mut w: [Writer; KINDS] = Default::default();
        params.write_seeded(&mut w[0], &c);
        params.write_ciphertext(&mut w[1], &c.expand(params));
        params.write_switch_key(&mut w[2], &secret.relinearisation_key(2)?);
        params.write_galois_key(&mut w[3], &secret.galois_key(GALOIS, 1)?);
        params.write_public_key(&mut w[4], &secret.public_key()?);
        w[5].bytes(secret.write().expose());
        Ok(w.map(Writer::into_bytes))
    };
    OBJECTS.get_or_init(|| made().unwrap_or_else(|e| unreachable!("{e}")))
}

/// Reads an object and writes it again.
fn again(kind: usize, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let (params, mut w) = (params(), Writer::new());
    let mut r = Reader::new(bytes, "object");
    match kind {
        0 => params.write_seeded(&mut w, &params.read_seeded(&mut r, 2)?),
        1 => params.write_ciphertext(&mut w, &params.read_ciphertext(&mut r, 2)?),
        2 => params.write_switch_key(&mut w, &params.read_switch_key(&mut r, 2)?),
        3 => params.write_galois_key(&mut w, &params.read_galois_key(&mut r, GALOIS, 1)?),
        4 => params.write_public_key(&mut w, &params.read_public_key(&mut r)?),
        _ => w.bytes(params.read_secret_key(&mut r)?.write().expose()),
    }
    r.finish()?;
    Ok(w.into_bytes())
}

#[test]
fn objects_come_back_and_no_other_length_does() {
    for (kind, bytes) in objects().iter().enumerate() {
        assert_eq!(again(kind, bytes).as_ref(), Ok(bytes));
        for cut in [0, 1, 31, 32, 33, bytes.len() / 2, bytes.len() - 1] {
            assert!(again(kind, &bytes[..cut]).is_err_and(|e| e.to_string().contains("cut off")), "{kind} at {cut}");
        }
        let longer = [bytes, &[0][..]].concat();
        assert!(again(kind, &longer).is_err_and(|e| e.to_string().contains("follow its end")), "{kind}");
    }
}

/// As a level lower or higher, each object has another length.
#[test]
fn another_level_is_another_length() {
    let (params, objects) = (params(), objects());
    let reader = |kind: usize| Reader::new(&objects[kind], "object");
    let mut r = reader(1);
    assert!(params.read_ciphertext(&mut r, 1).is_ok() && r.finish().is_err());
    let mut r = reader(2);
    assert!(params.read_switch_key(&mut r, 1).is_ok() && r.finish().is_err());
    assert!(params.read_galois_key(&mut reader(3), GALOIS, 2).is_err());
    assert!(params.read_galois_key(&mut reader(3), 4, 1).is_err(), "even");
    assert!(params.read_galois_key(&mut reader(3), 2 * params.n() + 1, 1).is_err(), "too large");
}

/// The first residue is 36 bits, and the neighbour's lowest four.
#[test]
fn the_prime_itself_is_no_residue() {
    let p = params().modulus(0).value();
    for (residue, fits) in [(p - 1, true), (p, false), ((1 << 36) - 1, false)] {
        let mut bytes = objects()[1].clone();
        let upper = bytes[4] & 0xf0;
        bytes[..5].copy_from_slice(&residue.to_le_bytes()[..5]);
        bytes[4] |= upper;
        let found = again(1, &bytes);
        assert!(found.is_ok() == fits && found.err().is_none_or(|e| e.to_string().contains("no residue modulo")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn damage_is_refused_or_kept(kind in 0..KINDS, steps in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
        let mut bytes = objects()[kind].clone();
        for (at, byte) in steps {
            let len = bytes.len();
            bytes[at % len] = byte;
        }
        match again(kind, &bytes) {
            Ok(written) => prop_assert_eq!(written, bytes),
            Err(e) => prop_assert!(matches!(e, Error::Wire { .. }), "{}", e),
        }
    }

    #[test]
    fn noise_of_the_right_length_is_refused_or_kept(kind in 0..KINDS, byte: u8) {
        let bytes = vec![byte; objects()[kind].len()];
        if let Ok(written) = again(kind, &bytes) { prop_assert_eq!(written, bytes) }
    }
}
