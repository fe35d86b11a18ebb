use super::super::control::Held;
use super::super::party::{Lie, Shared};
use super::super::store::Kept;
use super::super::{Gateway, OpenOptions};
use super::{Choice, Which, choose};
use crate::deploy::support::{self, Deployment};
use crate::{Error, InputSpec, Model, Plan, PlanOptions, Via};
use std::sync::Arc;

/// A party that takes the old for the new says that it is.
pub(in crate::deploy) fn perhaps_old(shared: &Shared, held: Vec<Held>) -> Vec<Held> {
    if shared.lies.get() != Some(&Lie::OldAsNew) {
        return held;
    }
    let oldest = |name: &str| held.iter().find(|m| m.name == name).unwrap().sharing;
    held.iter().map(|m| Held { sharing: oldest(&m.name), ..m.clone() }).collect()
}

/// What a lying party opens, and says that it opened, in place of what it was asked for.
pub(in crate::deploy) fn perhaps_another(shared: &Shared, name: &str, kept: Kept) -> Kept {
    match shared.lies.get() {
        Some(Lie::OldAsNew) => Kept { version: kept.version, ..shared.store.load(name, Some(1)).unwrap() },
        Some(Lie::AnotherOpened) => Kept { version: kept.version + 7, ..kept },
        Some(Lie::Verdict) | None => kept,
    }
}

fn held(entries: &[(u32, u8)]) -> Vec<Held> {
    let one = |&(version, of): &(u32, u8)| Held { name: "lenet".to_owned(), version, sharing: [of; 32] };
    entries.iter().map(one).collect()
}

#[test]
fn a_number_stands_for_what_all_parties_call_by_it() {
    let (right, behind, odd) = (held(&[(1, 1), (2, 2)]), held(&[(1, 1)]), held(&[(2, 1), (3, 2)]));
    let chosen = |parties: [&Vec<Held>; 3], which| {
        let named: Vec<(&str, &[Held])> = ["a", "b", "c"].into_iter().zip(parties.map(Vec::as_slice)).collect();
        choose(&named, "lenet", which)
    };
    let choice = |of: u8, versions: [u32; 3]| Ok(Choice { sharing: [of; 32], versions: versions.to_vec() });
    assert_eq!(chosen([&right; 3], Which::Newest), choice(2, [2; 3]));
    assert_eq!(chosen([&right; 3], Which::Version(1)), choice(1, [1; 3]));
    assert_eq!(chosen([&right, &behind, &right], Which::Newest), choice(1, [1; 3]));
    // Numbers differ after a provisioning that failed: a name alone is served, and so is a dealing.
    assert_eq!(chosen([&right, &right, &odd], Which::Newest), choice(2, [2, 2, 3]));
    assert_eq!(chosen([&odd, &right, &right], Which::Dealing([1; 32])), choice(1, [2, 1, 1]));
    // Wherever the party sits that calls the old one by the new number.
    for parties in [[&odd, &right, &right], [&right, &odd, &right], [&right, &right, &odd]] {
        let error = chosen(parties, Which::Version(2)).unwrap_err();
        assert!(matches!(&error, Error::Peer { message } if message.contains("different dealings 'lenet' version 2")));
        let error = chosen(parties, Which::Version(3)).unwrap_err();
        assert!(matches!(&error, Error::Input { message, .. } if message.contains("version 3 is held by")), "{error}");
    }
    let error = chosen([&right, &right, &odd], Which::Version(2)).unwrap_err().to_string();
    assert!(error.starts_with("a and c call"), "{error}");
    // Nor does one help that says both.
    let both = held(&[(1, 1), (2, 1), (2, 2)]);
    assert_eq!(chosen([&both, &right, &right], Which::Version(2)), choice(2, [2; 3]));
    assert!(chosen([&right, &behind, &right], Which::Dealing([2; 32])).is_err());
    assert!(choose(&[], "lenet", Which::Newest).is_err());
}

fn plan(via: Via) -> Plan {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/breast_cancer_logreg.onnx");
    let input = InputSpec::given(0.0, 1.0).unwrap();
    Model::open(path).unwrap().plan(&PlanOptions { via, input, ..PlanOptions::default() }).unwrap()
}

/// Parties that hold two versions of a model, of which one lies.
fn scene(via: Via, parties: usize, liar: usize, lie: Lie) -> Deployment {
    let mut deployment = Deployment::via(via.name(), parties, "deadline_s = 10");
    for party in 0..parties {
        deployment.start_as(party, |server| {
            if party == liar {
                server.lie(lie);
            }
        });
    }
    let (clinic, plan) = (deployment.client("clinic"), plan(via));
    assert_eq!((clinic.provision(&plan, "risk").unwrap(), clinic.provision(&plan, "risk").unwrap()), (1, 2));
    deployment
}

/// A party that has hold of the old weights alone is in no session on the new ones, also where it is the first.
#[test]
fn a_party_that_calls_an_old_model_by_the_new_number_is_found_out() {
    for (via, parties) in [(Via::Rep3Malicious, 3), (Via::Rep4, 4)] {
        for liar in [0, 1] {
            let deployment = scene(via, parties, liar, Lie::OldAsNew);
            let opened = deployment.client("clinic").open("risk", Some(2), &OpenOptions::default());
            let error = opened.err().unwrap().to_string();
            assert!(error.contains("hospital and vendor call different dealings"), "{via}, {liar}: {error}");
            let gateway = Arc::new(Gateway::new(deployment.client("clinic")).unwrap());
            let error = gateway.relay("risk", Some(2), 8).err().unwrap().to_string();
            assert!(error.contains("different dealings 'risk' version 2"), "{via}, {liar}: {error}");
        }
    }
}

/// What a party says that it opened is compared with what it was asked for.
#[test]
fn a_party_that_opens_another_version_than_it_was_asked_for_is_found_out() {
    for liar in [0, 2] {
        let deployment = scene(Via::Rep3Malicious, 3, liar, Lie::AnotherOpened);
        for version in [Some(1), Some(2), None] {
            let opened = deployment.client("clinic").open("risk", version, &OpenOptions::default());
            let error = opened.err().unwrap().to_string();
            let named = error.contains(support::PARTIES[liar]) && error.contains("another version");
            assert!(named, "{liar}, {version:?}: {error}");
        }
    }
}
