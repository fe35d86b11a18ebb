//! Genuine quotes, and what is done to them.

use crate::claims::{Claims, SgxClaims, TcbStatus, TdxClaims};
use crate::vectors::{self, Sample};
use crate::{Collateral, Evidence, Piece, Reason, authenticate};
use dcap_qvl::quote::Quote;

fn run(sample: &Sample) -> Result<Claims, Reason> {
    authenticate(&sample.evidence, &sample.collateral, sample.now)
}

fn bytes(sample: &Sample) -> Vec<u8> {
    let Evidence::Dcap(quote) = &sample.evidence else { unreachable!() };
    quote.clone()
}

fn sgx(claims: Claims) -> SgxClaims {
    let Claims::Sgx(claims) = claims else { panic!("no SGX claims") };
    claims
}

fn tdx(claims: Claims) -> TdxClaims {
    let Claims::Tdx(claims) = claims else { panic!("no TDX claims") };
    *claims
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The collateral with `from` replaced by `to` in its JSON.
fn edited(sample: &Sample, from: &str, to: &str) -> Sample {
    let Collateral::Dcap(json) = &sample.collateral else { unreachable!() };
    let json = String::from_utf8(json.clone()).unwrap();
    assert!(json.contains(from), "{from}");
    let collateral = Collateral::Dcap(json.replacen(from, to, 1).into_bytes());
    Sample { evidence: sample.evidence.clone(), collateral, now: sample.now }
}

#[test]
fn a_genuine_sgx_quote_says_what_it_says() {
    let claims = sgx(run(&vectors::sgx()).unwrap());
    assert_eq!(claims.report_data[..13], *b"Hello, world!");
    assert!(!claims.debug);
    assert_eq!(claims.intel.status, TcbStatus::ConfigurationAndSWHardeningNeeded);
    assert_eq!(claims.intel.advisories, ["INTEL-SA-00289", "INTEL-SA-00615"]);
    // Read off the quote with a hex viewer, at the offsets of Intel's structure.
    let quote = bytes(&vectors::sgx());
    assert_eq!(hex(&claims.mrenclave), hex(&quote[112..144]));
    assert_eq!(hex(&claims.mrsigner), hex(&quote[176..208]));
}

#[test]
fn genuine_tdx_quotes_say_what_they_say() {
    let claims = tdx(run(&vectors::tdx()).unwrap());
    assert_eq!(claims.intel.status, TcbStatus::UpToDate);
    assert!(!claims.debug && !claims.service_td);
    let quote = bytes(&vectors::tdx());
    assert_eq!(hex(&claims.mrtd), hex(&quote[48 + 136..48 + 184]));
    assert_eq!(hex(&claims.rtmr[0]), hex(&quote[48 + 328..48 + 376]));
    assert_eq!(hex(&claims.report_data), hex(&quote[48 + 520..48 + 584]));
    let claims = tdx(run(&vectors::tdx15()).unwrap());
    assert_eq!(claims.intel.status, TcbStatus::UpToDate);
    assert!(!claims.debug && !claims.service_td);
}

#[test]
fn a_platform_below_every_level_is_refused() {
    assert_eq!(run(&vectors::tdx_outdated()), Err(Reason::TcbUnknown));
}

#[test]
fn dates_are_those_of_the_caller() {
    for sample in [vectors::sgx(), vectors::tdx(), vectors::tdx15()] {
        let until = run(&sample).unwrap().valid_until();
        let at = |now| run(&Sample { now, evidence: sample.evidence.clone(), collateral: sample.collateral.clone() });
        assert!(at(until - 1).is_ok());
        for late in [until + 1, 1_795_392_000, u64::MAX] {
            assert!(matches!(at(late.max(until + 1)), Err(Reason::Expired { .. })), "{late}: {:?}", at(late));
        }
        for early in [0, 1_600_000_000] {
            assert!(matches!(at(early), Err(Reason::NotYetValid { .. })), "{:?}", at(early));
        }
    }
}

#[test]
fn each_alteration_has_its_reason() {
    let at = |offset: usize| {
        let mut quote = bytes(&vectors::tdx());
        quote[offset] ^= 1;
        run(&Sample { evidence: Evidence::Dcap(quote), ..vectors::tdx() })
    };
    let parsed = Quote::parse(&bytes(&vectors::tdx())).unwrap();
    let signed = parsed.signed_length();
    let report = Err(Reason::Signature { piece: Piece::Quote });
    assert_eq!(at(48 + 136), report, "MRTD");
    assert_eq!(at(48 + 328), report, "RTMR0");
    assert_eq!(at(48 + 520), report, "report data");
    assert_eq!(at(signed + 4), report, "its own signature");
    assert_eq!(at(signed + 4 + 64), report, "its key");
    let tdx = vectors::tdx();
    let tcb = edited(&tdx, "UpToDate", "Uptodate");
    assert_eq!(
        run(&tcb),
        Err(Reason::Malformed { piece: Piece::TcbInfo, detail: "it is not the JSON that Intel signs" })
    );
    let status = edited(&tdx, "OutOfDate", "UpToDate");
    assert_eq!(run(&status), Err(Reason::Signature { piece: Piece::TcbInfo }));
    let family = edited(&tdx, "\\\"id\\\":\\\"TDX\\\"", "\\\"id\\\":\\\"SGX\\\"");
    assert_eq!(run(&family), Err(Reason::WrongCollateral));
    let crl = edited(&tdx, "\"root_ca_crl\": \"3082012030", "\"root_ca_crl\": \"3082012031");
    assert!(matches!(run(&crl), Err(Reason::Malformed { .. } | Reason::Signature { .. })), "{:?}", run(&crl));
}

#[test]
fn collateral_of_another_platform_or_machine_is_refused() {
    let samples = [vectors::sgx(), vectors::tdx(), vectors::tdx_outdated(), vectors::tdx15()];
    for (i, quote) in samples.iter().enumerate() {
        for (j, other) in samples.iter().enumerate().filter(|(j, _)| *j != i) {
            for now in [quote.now, other.now] {
                let mixed = Sample { evidence: quote.evidence.clone(), collateral: other.collateral.clone(), now };
                assert!(run(&mixed).is_err(), "quote {i}, collateral {j}");
            }
        }
    }
    let mixed = Sample { collateral: vectors::sgx().collateral, ..vectors::tdx() };
    assert_eq!(run(&mixed), Err(Reason::WrongCollateral));
    let mixed = Sample { collateral: Collateral::Nitro, ..vectors::tdx() };
    assert_eq!(run(&mixed), Err(Reason::WrongCollateral));
}

#[test]
fn another_root_vouches_for_nothing() {
    // Any certificate authority but Intel's, with a key on the same curve.
    let params = rcgen::CertificateParams::default();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let root = params.self_signed(&key).unwrap();
    let Collateral::Dcap(json) = vectors::tdx().collateral else { unreachable!() };
    let refused = super::authenticate(&bytes(&vectors::tdx()), &json, root.der(), vectors::tdx().now);
    assert!(refused.is_err(), "{refused:?}");
}

/// Every byte, one bit each: nothing panics, nothing under the signature is accepted, and
/// what is accepted elsewhere says exactly what the genuine quote says.
#[test]
fn no_flipped_bit_changes_a_claim() {
    for sample in [vectors::sgx(), vectors::tdx()] {
        let (genuine, quote) = (run(&sample).unwrap(), bytes(&sample));
        let signed = Quote::parse(&quote).unwrap().signed_length();
        // The parts that are signed are tried byte by byte, the certificates in steps.
        let ends = signed + 4 + 128 + 384 + 64 + 200;
        let offsets = (0..ends).chain((ends..quote.len()).step_by(7));
        for offset in offsets {
            let mut changed = quote.clone();
            changed[offset] ^= 1 << (offset % 8);
            let changed =
                Sample { evidence: Evidence::Dcap(changed), collateral: sample.collateral.clone(), now: sample.now };
            match run(&changed) {
                Ok(claims) => assert!(offset >= signed && claims == genuine, "byte {offset}"),
                Err(Reason::Crashed) => panic!("byte {offset} makes the verifier panic"),
                Err(_) => {}
            }
        }
    }
}

#[test]
fn what_is_cut_off_is_refused() {
    for sample in [vectors::sgx(), vectors::tdx(), vectors::tdx15()] {
        let (genuine, quote) = (run(&sample).unwrap(), bytes(&sample));
        for length in (0..quote.len()).step_by(3) {
            let cut = Sample {
                evidence: Evidence::Dcap(quote[..length].to_vec()),
                collateral: sample.collateral.clone(),
                now: sample.now,
            };
            match run(&cut) {
                // Zeros may follow a quote; they say nothing.
                Ok(claims) => assert!(claims == genuine && quote[length..].iter().all(|b| *b == 0), "{length} bytes"),
                Err(Reason::Crashed) => panic!("{length} bytes make the verifier panic"),
                Err(_) => {}
            }
        }
    }
}

#[test]
fn damaged_collateral_never_panics_and_never_changes_a_claim() {
    let sample = vectors::tdx();
    let genuine = run(&sample).unwrap();
    let Collateral::Dcap(json) = &sample.collateral else { unreachable!() };
    for offset in (0..json.len()).step_by(11) {
        for damaged in [json[..offset].to_vec(), {
            let mut flipped = json.clone();
            flipped[offset] ^= 1 << (offset % 7);
            flipped
        }] {
            let changed =
                Sample { evidence: sample.evidence.clone(), collateral: Collateral::Dcap(damaged), now: sample.now };
            match run(&changed) {
                Ok(claims) => assert_eq!(claims, genuine, "byte {offset}"),
                Err(Reason::Crashed) => panic!("byte {offset} makes the verifier panic"),
                Err(_) => {}
            }
        }
    }
}
