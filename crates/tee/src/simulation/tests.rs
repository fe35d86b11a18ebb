//! Both switches, and what each lacks alone.

use super::*;
use crate::policy::Draft;
use crate::policy::OwnerKey;
use crate::vectors;
use crate::verify::tests::bound_to;
use crate::{Collateral, Evidence, Policy, Reason, Verdict, verify};

const NOW: u64 = 1_795_392_000;

fn policy(switch: &str) -> Policy {
    let key = OwnerKey::from_bytes(&[7; 32]);
    let body = format!("version = 1\nname = \"trial\"\nserial = 1\n{switch}\n");
    Policy::open(&Draft::read(&body).unwrap().sign(&key), &[key.public()]).unwrap()
}

fn allowing(simulator: &Simulator) -> Policy {
    let key: String = simulator.public_key().iter().map(|b| format!("{b:02x}")).collect();
    policy(&format!("allow_simulated = true\nsimulators = [\"{key}\"]"))
}

#[test]
fn both_switches_admit_a_statement_that_is_still_no_attestation() {
    let simulator = Simulator::generate().unwrap();
    let policy = allowing(&simulator);
    let bound = bound_to(&policy);
    let evidence = simulator.attest(&bound, NOW);
    let admitted = admit(&evidence, &policy, AllowSimulated::by_flag(), &bound, NOW).unwrap();
    assert_eq!((admitted.bound(), admitted.policy(), admitted.made_at()), (&bound, policy.id(), NOW));
    // The verifier says the same with every collateral, whatever the policy allows.
    for collateral in [Collateral::Simulated, Collateral::Nitro, vectors::snp().collateral] {
        let verdict = verify(&evidence, &collateral, &policy, &bound, NOW);
        assert_eq!(verdict, Verdict::Untrusted(Reason::Simulated));
    }
}

#[test]
fn the_policy_has_to_allow_it_and_to_know_the_key() {
    let simulator = Simulator::generate().unwrap();
    let run = |policy: &Policy| {
        let bound = bound_to(policy);
        admit(&simulator.attest(&bound, NOW), policy, AllowSimulated::by_flag(), &bound, NOW)
    };
    assert_eq!(run(&policy("")), Err(Reason::Simulated));
    assert_eq!(run(&policy("allow_simulated = false")), Err(Reason::Simulated));
    assert_eq!(run(&allowing(&Simulator::generate().unwrap())), Err(Reason::Simulated));
    let lone = |switch: &str| Draft::read(&format!("version = 1\nname = \"trial\"\nserial = 1\n{switch}\n")).is_err();
    assert!(lone("allow_simulated = true"), "without a key");
    assert!(lone(&format!("simulators = [\"{}\"]", "00".repeat(32))), "without the switch");
}

#[test]
fn another_binding_time_or_byte_is_refused() {
    let simulator = Simulator::generate().unwrap();
    let policy = allowing(&simulator);
    let bound = bound_to(&policy);
    let evidence = simulator.attest(&bound, NOW);
    let run = |evidence: &Evidence, now| admit(evidence, &policy, AllowSimulated::by_flag(), &bound, now);
    assert_eq!(run(&evidence, NOW + 3601).unwrap_err().code(), "expired");
    assert_eq!(run(&evidence, NOW - 1).unwrap_err().code(), "not-yet-valid");
    let mut other = bound.clone();
    other.channel_key[0] ^= 1;
    assert_eq!(run(&simulator.attest(&other, NOW), NOW), Err(Reason::Binding));
    assert_eq!(run(&vectors::nitro().evidence, NOW).unwrap_err().code(), "unsupported");
    let Evidence::Simulated(bytes) = evidence else { unreachable!() };
    for offset in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[offset] ^= 1 << (offset % 8);
        assert!(run(&Evidence::Simulated(changed), NOW).is_err(), "byte {offset}");
        assert!(run(&Evidence::Simulated(bytes[..offset].to_vec()), NOW).is_err(), "{offset} bytes");
    }
}

#[test]
fn a_channel_to_a_simulated_program_works_and_says_what_it_is() {
    use crate::channel::{ChannelKey, Responder, Standing, seal};
    let simulator = Simulator::generate().unwrap();
    let policy = allowing(&simulator);
    let key = ChannelKey::generate().unwrap();
    let bound = crate::Bound { channel_key: key.public(), ..bound_to(&policy) };
    let admitted = admit(&simulator.attest(&bound, NOW), &policy, AllowSimulated::by_flag(), &bound, NOW).unwrap();
    fn label<S: Standing>(_: &S) -> &'static str {
        S::LABEL
    }
    assert_eq!(label(&admitted), "SIMULATED, NO CONFIDENTIALITY");
    let responder = Responder::new(key);
    let (request, awaited) = seal(&admitted, b"an image", NOW).unwrap();
    let (opened, owed) = responder.open(&bound, &request).unwrap();
    assert_eq!(awaited.open(&owed.seal(&opened).unwrap()).unwrap(), b"an image");
    assert!(seal(&admitted, b"", NOW + 3601).is_err());
}
