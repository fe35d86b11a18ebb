//! The protocol through its files, and what is refused.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

mod protocol;

use proptest::prelude::*;
use protocol::{circuit, files};
use subrosa_graph::Model;
use subrosa_he::circuit::Circuit;
use subrosa_he::files::{answer_from_bytes, bundle_file, bundle_from_bytes, client_from_bytes, request_from_bytes};
use subrosa_he::incoming::{carries, names};
use subrosa_he::{Plan, PublicPlan};

#[test]
fn an_answer_comes_back_through_files() {
    let f = files();
    let (client, digest) = client_from_bytes(&f.secret).unwrap();
    let answer = answer_from_bytes(client.plan(), &digest, &f.answer).unwrap();
    let found = client.decrypt(&answer).unwrap();
    let plain = circuit().0.plain(1).unwrap().run(&[&f.input]).unwrap().remove(0);
    assert!(found.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-3), "{found:?} {plain:?}");
}

/// The server is sent the bundle and requests: the secret key's bytes are in neither.
#[test]
fn the_server_never_gets_the_secret() {
    let f = files();
    let secret = &f.secret[f.secret.len() - 64..];
    for sent in [&f.bundle, &f.request, &f.plan] {
        assert!(!sent.windows(secret.len()).any(|w| w == secret));
    }
}

#[test]
fn files_of_others_are_refused_by_name() {
    let f = files();
    let (client, digest) = client_from_bytes(&f.secret).unwrap();
    let plan = client.plan();
    let text = |e: subrosa_he::Error| e.to_string();
    let request = |bytes: &[u8]| request_from_bytes(plan, &digest, bytes).map(|_| ()).map_err(text);
    assert!(request(&f.answer).unwrap_err().contains("it is a answer file"));
    assert!(request(b"PNG").unwrap_err().contains("does not begin"));
    assert!(
        request_from_bytes(plan, &[7; 32], &f.request).map(|_| ()).map_err(text).unwrap_err().contains("another key")
    );
    let mut other = plan.clone();
    other.input_range = (0.0, 1.0);
    assert!(
        request_from_bytes(&other, &digest, &f.request).map(|_| ()).map_err(text).unwrap_err().contains("another plan")
    );
    let mut newer = f.request.clone();
    newer[12] = 9;
    assert!(request(&newer).unwrap_err().contains("version 9"));
    let another = Circuit::import(
        Model::from_bytes(
            &std::fs::read(format!("{}/../../models/mlp_square.onnx", env!("CARGO_MANIFEST_DIR"))).unwrap(),
        )
        .unwrap()
        .graph(),
    );
    assert!(Plan::from_public(&another.unwrap(), plan).is_err());
}

#[test]
fn a_file_is_known_before_it_is_decoded() {
    let f = files();
    let (client, keys) = client_from_bytes(&f.secret).unwrap();
    let found = names(&f.request).unwrap();
    assert_eq!((found.plan, found.keys), (client.plan().digest(), keys));
    assert!(names(&f.answer).is_err() && names(&f.request[..50]).is_err());
    assert_eq!(client.plan().key_file_bytes(), f.bundle.len());
    assert!(carries(&f.bundle, &f.plan));
    let mut other = f.plan.clone();
    other[200] ^= 1;
    assert!(!carries(&f.bundle, &other) && !carries(&f.request, &f.plan) && !carries(&f.bundle[..100], &f.plan));
}

#[test]
fn whoever_waits_for_keys_is_told_of_each() {
    let (client, _) = client_from_bytes(&files().secret).unwrap();
    let mut told = Vec::new();
    let (bundle, digest) = bundle_file(&client, |made, of| told.push((made, of))).unwrap();
    let plan = client.plan();
    let keys = plan.rotations.len() + usize::from(plan.relinearise.is_some());
    assert_eq!(told, (1..=keys).map(|made| (made, keys)).collect::<Vec<_>>());
    assert_eq!((bundle_from_bytes(&bundle).unwrap().2, bundle.len()), (digest, files().bundle.len()));
}

#[test]
fn inputs_outside_the_plan_are_refused() {
    let (client, _) = client_from_bytes(&files().secret).unwrap();
    assert!(client.encrypt(&[0.0; 29]).is_err() && client.encrypt(&[]).is_err() && client.encrypt(&[0.0; 60]).is_err());
    assert!(client.encrypt(&[17.0; 30]).is_err() && client.encrypt(&[f32::NAN; 30]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// No damage panics or allocates beyond the file; cuts are always noticed.
    #[test]
    fn damaged_files_are_refused_or_read(which in 0usize..5, at: usize, flip in 1u8.., cut: bool) {
        let f = files();
        let original = [&f.plan, &f.secret, &f.bundle, &f.request, &f.answer][which];
        let mut bytes = original.clone();
        let at = if at % 2 == 0 { at / 2 % 200.min(bytes.len()) } else { at / 2 % bytes.len() };
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        let (client, digest) = client_from_bytes(&f.secret).unwrap();
        let plan = client.plan();
        let read = match which {
            0 => PublicPlan::from_bytes(&bytes).is_ok(),
            1 => client_from_bytes(&bytes).is_ok(),
            2 => bundle_from_bytes(&bytes).is_ok_and(|b| b.2 == digest),
            3 => request_from_bytes(plan, &digest, &bytes).is_ok(),
            _ => answer_from_bytes(plan, &digest, &bytes).is_ok(),
        };
        prop_assert!(!(cut && read), "a cut file was read");
    }
}
