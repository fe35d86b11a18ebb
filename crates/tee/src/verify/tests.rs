//! Genuine evidence under policies: each refusal has its reason, and nothing genuine is about
//! our key.

use super::*;
use crate::binding::{Freshness, Role, Suite};
use crate::claims::Platform;
use crate::names::Register;
use crate::policy::Draft;
use crate::policy::OwnerKey;
use crate::vectors::{self, Sample};

/// Something to be about, naming `policy`.
pub(crate) fn bound_to(policy: &Policy) -> Bound {
    Bound {
        role: Role::Serve,
        suite: Suite::X25519ChaCha20,
        channel_key: [1; 32],
        tls_key: None,
        freshness: Freshness::Nonce([2; 32]),
        data_policy: Some(policy.id()),
        model_policy: None,
        model: [4; 32],
        configuration: [5; 32],
        exporter: None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn signed(rules: &str) -> Policy {
    let key = OwnerKey::from_bytes(&[7; 32]);
    let body = format!("version = 1\nname = \"trial\"\nserial = 1\n{rules}\n");
    Policy::open(&Draft::read(&body).unwrap().sign(&key), &[key.public()]).unwrap()
}

/// A policy that accepts exactly this evidence.
pub(crate) fn exactly(sample: &Sample) -> Policy {
    let claims = authenticate(&sample.evidence, &sample.collateral, sample.now).unwrap();
    let platform = |intel: &crate::claims::IntelPlatform| {
        format!(
            "platform = {{ tcb_status = [\"{}\"], advisories = {:?}, allow_smt = true, \
             allow_dynamic_platform = true, allow_cached_keys = true }}",
            intel.status, intel.advisories
        )
    };
    signed(&match claims {
        Claims::Sgx(c) => format!("[sgx]\nmrenclave = [\"{}\"]\n{}", hex(&c.mrenclave), platform(&c.intel)),
        Claims::Tdx(c) => {
            let rtmr: String = (0..4).map(|n| format!("rtmr{n} = [\"{}\"]\n", hex(&c.rtmr[n]))).collect();
            let rest = format!("mrconfigid = [\"{}\"]\n{}", hex(&c.mrconfigid), platform(&c.intel));
            format!("[tdx]\nmrtd = [\"{}\"]\n{rtmr}{rest}", hex(&c.mrtd))
        }
        Claims::Snp(c) => format!(
            "[snp]\nproducts = [\"milan\"]\nmeasurement = [\"{}\"]\nhost_data = [\"{}\"]\n\
             least_tcb = {{ bootloader = 3, tee = 0, snp = 8, microcode = 115 }}\nallow_smt = true\n\
             without_revocation_list = true",
            hex(&c.measurement),
            hex(&c.host_data)
        ),
        Claims::Nitro(c) => {
            let pcr: String = (0..3).map(|n| format!("{n} = [\"{}\"]\n", hex(&c.pcrs[n].unwrap()))).collect();
            format!("[nitro.pcr]\n{pcr}")
        }
    })
}

fn samples() -> [Sample; 5] {
    [vectors::sgx(), vectors::tdx(), vectors::tdx15(), vectors::snp(), vectors::nitro()]
}

fn run(sample: &Sample, policy: &Policy) -> Reason {
    match verify(&sample.evidence, &sample.collateral, policy, &bound_to(policy), sample.now) {
        Verdict::Untrusted(reason) => reason,
        Verdict::Attested(_) => panic!("genuine evidence of others is about a key of ours"),
    }
}

#[test]
fn genuine_evidence_of_others_is_not_about_our_key() {
    for sample in samples() {
        assert_eq!(run(&sample, &exactly(&sample)), Reason::Binding);
    }
}

#[test]
fn the_policy_has_to_be_the_one_that_the_evidence_names() {
    let sample = vectors::tdx();
    let (one, other) = (exactly(&sample), signed(""));
    let verdict = verify(&sample.evidence, &sample.collateral, &one, &bound_to(&other), sample.now);
    assert_eq!(verdict, Verdict::Untrusted(Reason::PolicyNotNamed));
}

#[test]
fn what_a_policy_does_not_name_it_denies() {
    let platforms = [Platform::Sgx, Platform::Tdx, Platform::Tdx, Platform::Snp, Platform::Nitro];
    for (sample, platform) in samples().into_iter().zip(platforms) {
        assert_eq!(run(&sample, &signed("")), Reason::NoRule { platform });
    }
    // A policy for one machine does not fit another of the same kind.
    let reason = run(&vectors::tdx15(), &exactly(&vectors::tdx()));
    assert!(matches!(reason, Reason::Measurement { register: Register::Mrtd, .. }), "{reason}");
}

#[test]
fn authenticity_is_looked_at_before_anything_else() {
    let mut sample = vectors::nitro();
    let policy = exactly(&sample);
    sample.now += 10_800;
    assert_eq!(run(&sample, &policy).code(), "expired");
}
