//! A genuine report, and what is done to it.

use super::report::REPORT_BYTES;
use crate::claims::{Claims, SnpClaims, SnpProduct, SnpSigner, SnpTcb};
use crate::vectors::{self, Sample};
use crate::{Collateral, Evidence, Piece, Reason, SnpCollateral, authenticate};

fn run(sample: &Sample) -> Result<SnpClaims, Reason> {
    authenticate(&sample.evidence, &sample.collateral, sample.now).map(|claims| {
        let Claims::Snp(claims) = claims else { panic!("no SNP claims") };
        claims
    })
}

fn report(sample: &Sample) -> Vec<u8> {
    let Evidence::Snp(report) = &sample.evidence else { unreachable!() };
    report.clone()
}

fn with(report: Vec<u8>) -> Sample {
    Sample { evidence: Evidence::Snp(report), ..vectors::snp() }
}

#[test]
fn a_genuine_report_says_what_it_says() {
    let claims = run(&vectors::snp()).unwrap();
    assert_eq!((claims.version, claims.product, claims.signer), (2, SnpProduct::Milan, SnpSigner::Chip));
    assert_eq!((claims.vmpl, claims.debug, claims.migration), (0, false, false));
    // The levels in the chip's certificate, as `openssl x509 -text` prints them.
    let tcb = SnpTcb { fmc: 0, bootloader: 3, tee: 0, snp: 8, microcode: 0x73 };
    assert_eq!(claims.reported_tcb, tcb);
    assert_eq!(claims.valid_until, 1_901_474_623, "the certificate's last second, 2030-04-03");
    assert!(!claims.revocation_checked);
}

#[test]
fn the_certificate_of_another_chip_is_refused() {
    let refused = run(&vectors::snp_azure()).unwrap_err();
    assert_eq!(refused, Reason::Signature { piece: Piece::Report });
}

#[test]
fn the_certificate_of_another_family_is_refused() {
    let certificate = include_bytes!("../../vectors/snp/vcek_turin.der").to_vec();
    let collateral = Collateral::Snp(SnpCollateral { certificate, ..SnpCollateral::default() });
    let refused = run(&Sample { collateral, ..vectors::snp() }).unwrap_err();
    assert!(matches!(refused, Reason::Signature { .. } | Reason::NotYetValid { .. }), "{refused}");
}

#[test]
fn turin_certificates_lead_to_their_root() {
    // No genuine report of Turin is known to us; its chain, written without the trailer field,
    // is checked as far as the report's signature.
    let certificate = include_bytes!("../../vectors/snp/vcek_turin.der").to_vec();
    let collateral = Collateral::Snp(SnpCollateral { certificate, ..SnpCollateral::default() });
    let refused = run(&Sample { collateral, now: 1_760_000_000, ..vectors::snp() }).unwrap_err();
    assert_eq!(refused, Reason::Signature { piece: Piece::Report });
}

#[test]
fn dates_are_those_of_the_caller() {
    let at = |now| run(&Sample { now, ..vectors::snp() });
    assert!(at(1_901_474_623).is_ok());
    assert_eq!(at(1_901_474_624), Err(Reason::Expired { piece: Piece::ChipChain, at: 1_901_474_623 }));
    assert_eq!(at(1_600_000_000), Err(Reason::NotYetValid { piece: Piece::ChipChain, from: 1_680_549_823 }));
}

/// Every byte under the signature, reserved ones included: `sev` 8.0.0 accepts 16 of these.
#[test]
fn no_flipped_bit_under_the_signature_is_accepted() {
    let genuine = report(&vectors::snp());
    // The chain is the slow part and the same each time, so the report alone is tried first.
    let sample = vectors::snp();
    let Collateral::Snp(collateral) = &sample.collateral else { unreachable!() };
    let leaf = crate::x509::parse(&collateral.certificate).unwrap();
    let key = crate::x509::public_key(&leaf);
    let accepts = |bytes: &[u8]| super::Report::parse(bytes).is_ok_and(|report| report.verify(key).is_ok());
    assert!(accepts(&genuine));
    for offset in 0..REPORT_BYTES {
        let mut changed = genuine.clone();
        changed[offset] ^= 1 << (offset % 8);
        // Behind the numbers r and s of 72 bytes each, nothing is covered.
        assert_eq!(accepts(&changed), offset >= 0x2a0 + 144, "byte {offset}");
    }
    for offset in [58, 389, 482, 501, 0x50, 0x90] {
        let mut changed = genuine.clone();
        changed[offset] ^= 1;
        assert_eq!(run(&with(changed)), Err(Reason::Signature { piece: Piece::Report }), "byte {offset}");
    }
    let mut changed = genuine;
    changed[REPORT_BYTES - 1] ^= 1;
    assert_eq!(run(&with(changed)), run(&vectors::snp()));
}

#[test]
fn wrong_lengths_versions_and_algorithms_have_their_reasons() {
    let genuine = report(&vectors::snp());
    for length in (0..genuine.len()).step_by(97) {
        assert!(matches!(run(&with(genuine[..length].to_vec())), Err(Reason::Malformed { .. })));
    }
    assert!(matches!(run(&with([genuine.clone(), vec![0]].concat())), Err(Reason::Malformed { .. })));
    for (offset, value) in [(0, 9), (0x34, 7), (0x48, 7 << 2)] {
        let mut changed = genuine.clone();
        changed[offset] = value;
        assert!(matches!(run(&with(changed)), Err(Reason::Unsupported { .. })), "byte {offset}");
    }
}

#[test]
fn damaged_certificates_are_refused() {
    let sample = vectors::snp();
    let Collateral::Snp(collateral) = &sample.collateral else { unreachable!() };
    let genuine = &collateral.certificate;
    let try_certificate = |certificate: Vec<u8>| {
        let collateral = Collateral::Snp(SnpCollateral { certificate, ..SnpCollateral::default() });
        run(&Sample { evidence: sample.evidence.clone(), collateral, now: sample.now })
    };
    for offset in (0..genuine.len()).step_by(13) {
        let mut changed = genuine.clone();
        changed[offset] ^= 1 << (offset % 8);
        let refused = try_certificate(changed).unwrap_err();
        assert!(refused != Reason::Crashed, "byte {offset}");
        let refused = try_certificate(genuine[..offset].to_vec()).unwrap_err();
        assert!(refused != Reason::Crashed, "{offset} bytes");
    }
}
