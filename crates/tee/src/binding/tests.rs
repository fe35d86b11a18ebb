//! Golden vectors, made with Python's `hashlib` from the description of
//! [`Bound::report_data`].

use super::*;

fn least() -> Bound {
    Bound {
        role: Role::Serve,
        suite: Suite::X25519ChaCha20,
        channel_key: [1; 32],
        tls_key: None,
        freshness: Freshness::Nonce([2; 32]),
        data_policy: Some(PolicyId([3; 32])),
        model_policy: None,
        model: [4; 32],
        configuration: [5; 32],
        exporter: None,
    }
}

fn all() -> Bound {
    Bound {
        role: Role::FetchKey,
        tls_key: Some([6; 32]),
        freshness: Freshness::Epoch(7),
        model_policy: Some(PolicyId([8; 32])),
        exporter: Some([9; 32]),
        ..least()
    }
}

#[test]
fn golden_vectors() {
    let hex = |bound: Bound| bound.report_data().iter().map(|b| format!("{b:02x}")).collect::<String>();
    let first = "d9ff7ceb0b785240ffa2097505a362a8e6c08ba072bd43043ec391176788347d\
                 cae51c8a5b00a51c3bb807bc6a35c9ec1d84307220afc46f11abab245c775c79";
    let second = "0de09e70b054c38e0c0a070051a5ab4c9bb545e1fd1fa39a319299b27c4d4e00\
                  e5e3e1617c09b6f2683f0ebab91742da8f60db12f01aaefd55f08d324b049f98";
    assert_eq!(hex(least()), first);
    assert_eq!(hex(all()), second);
}

#[test]
fn every_field_counts() {
    let changes: [fn(&mut Bound); 11] = [
        |_| {},
        |b| b.role = Role::FetchKey,
        |b| b.channel_key[31] ^= 1,
        |b| b.tls_key = Some([0; 32]),
        |b| b.freshness = Freshness::Nonce([3; 32]),
        |b| b.freshness = Freshness::Epoch(2),
        |b| b.data_policy = None,
        |b| (b.data_policy, b.model_policy) = (b.model_policy, b.data_policy),
        |b| b.model[0] ^= 1,
        |b| b.configuration[0] ^= 1,
        |b| b.exporter = Some([0; 32]),
    ];
    let all: std::collections::HashSet<[u8; 64]> = changes
        .map(|change| {
            let mut bound = least();
            change(&mut bound);
            bound.report_data()
        })
        .into();
    assert_eq!(all.len(), 11);
}

#[test]
fn the_wire_form_comes_back_and_has_one_spelling() {
    for bound in [least(), all(), Bound { freshness: Freshness::Epoch(u64::MAX), ..least() }] {
        let bytes = bound.to_bytes();
        assert_eq!(Bound::from_bytes(&bytes), Some(bound));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes;
                changed[at] ^= 1 << bit;
                // Either it is none, or it is another one that is spelled just so.
                let read = Bound::from_bytes(&changed).map(|b| b.to_bytes());
                assert!(read.is_none() || read == Some(changed), "byte {at}, bit {bit}");
            }
        }
    }
}
