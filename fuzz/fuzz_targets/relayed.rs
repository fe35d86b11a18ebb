//! Any bytes as what a gateway passes on: the description of a model, a request, a party's parcel, an answer; or
//! damage done to what an owner makes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use subrosa_core::RingWidth;
use subrosa_mpc::Sharing;
use subrosa_mpc::relayed::{Input, Outline, Port};
use subrosa_net::sealed::SealingKey;

/// A model of two inputs and one output, and the parties' keys.
static SCENE: LazyLock<(Outline, Vec<SealingKey>)> = LazyLock::new(|| {
    let port = |name: &str, n: u32| Port { name: name.to_owned(), shape: vec![1, n], batched: true, frac: 8 };
    let input = |name: &str, n: u32| Input { port: port(name, n), lo: -1.0, hi: 1.0 };
    let outline = Outline {
        model: "m".to_owned(),
        dealing: [1; 32],
        card: [2; 32],
        sharing: Sharing::Rep4,
        ring: RingWidth::W48,
        public_weights: false,
        labels_only: false,
        inputs: vec![input("x", 3), input("y", 1)],
        outputs: vec![port("z", 2)],
    };
    let keys = (0..outline.parties()).map(|_| SealingKey::generate().expect("randomness")).collect();
    (outline, keys)
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(read) = Outline::decode(bytes) {
        assert_eq!(read.encode().expect("it was read"), bytes, "one spelling");
        let _ = read.parcels(bytes, 8);
    }
    let (outline, keys) = &*SCENE;
    let public: Vec<_> = keys.iter().map(SealingKey::public).collect();
    let inputs = [vec![0.5; 6], vec![-0.5; 2]];
    let (mut request, asked) = outline.ask(&public, &inputs).expect("a sound request");
    // Each three bytes: where, and what is added there. None: the request as it is.
    for damage in bytes.as_chunks::<3>().0 {
        let at = usize::from(u16::from_le_bytes([damage[0], damage[1]])) % request.len();
        request[at] = request[at].wrapping_add(damage[2]);
    }
    let changed = bytes.as_chunks::<3>().0.iter().any(|damage| damage[2] != 0);
    let (_, parcels) = match (outline.parcels(&request, 8), outline.parcels(bytes, 8)) {
        (Ok(read), _) | (Err(_), Ok(read)) => read,
        (Err(_), Err(_)) => (0, Vec::new()),
    };
    for (party, (parcel, key)) in parcels.iter().zip(keys).enumerate() {
        let opened = outline.open(party, 2, parcel, key);
        assert!(changed || opened.is_ok(), "a sound box did not open");
    }
    assert!(asked.read(outline, bytes).is_err(), "nobody answered");
});
