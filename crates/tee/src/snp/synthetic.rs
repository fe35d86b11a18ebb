//! Reports signed under a root of our own, in AMD's form: what no genuine sample shows.

use super::{AMD, SnpRoot};
use crate::claims::{Claims, SnpClaims, SnpProduct, SnpTcb};
use crate::names::Piece;
use crate::reason::Reason;
use crate::{SnpCollateral, vectors};
use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey};

/// 2026-11-25.
const NOW: u64 = 1_795_564_800;

const ROOT: SnpRoot<'static> = SnpRoot {
    product: SnpProduct::Milan,
    root: include_bytes!("../../vectors/synthetic/ark.der"),
    intermediate: include_bytes!("../../vectors/synthetic/ask.der"),
};
/// The name in it, a common name.
const ARK_NAME: &str = "ARK-Test";
const EMPTY: &[u8] = include_bytes!("../../vectors/synthetic/crl_empty.der");
const SHORT: &[u8] = include_bytes!("../../vectors/synthetic/crl_short.der");
const REVOKED: &[u8] = include_bytes!("../../vectors/synthetic/crl_revoked.der");

/// The genuine report with our chip's identifier, changed, and signed with our chip's key.
fn report(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let crate::Evidence::Snp(mut report) = vectors::snp().evidence else { unreachable!() };
    report[0x1a0..0x1e0].fill(0x11);
    change(&mut report);
    let key = SigningKey::from_slice(include_bytes!("../../vectors/synthetic/vcek_scalar.bin")).unwrap();
    let signature: Signature = key.sign(&report[..0x2a0]);
    let (r, s) = signature.split_bytes();
    report[0x2a0..].fill(0);
    for (at, number) in [(0x2a0, r), (0x2a0 + 72, s)] {
        report[at..at + 48].iter_mut().zip(number.iter().rev()).for_each(|(out, byte)| *out = *byte);
    }
    report
}

fn run(report: &[u8], list: Option<&[u8]>, roots: &[SnpRoot<'_>], now: u64) -> Result<SnpClaims, Reason> {
    let certificate = include_bytes!("../../vectors/synthetic/vcek.der").to_vec();
    let collateral = SnpCollateral { certificate, intermediate: None, revocation_list: list.map(<[u8]>::to_vec) };
    super::authenticate(report, &collateral, roots, now).map(|claims| {
        let Claims::Snp(claims) = claims else { panic!("no SNP claims") };
        claims
    })
}

#[test]
fn a_synthetic_report_is_authentic_under_its_root_and_no_other() {
    let claims = run(&report(|_| {}), None, &[ROOT], NOW).unwrap();
    assert_eq!(claims.reported_tcb, SnpTcb { fmc: 0, bootloader: 3, tee: 0, snp: 8, microcode: 0x73 });
    let refused = run(&report(|_| {}), None, &AMD, NOW);
    assert_eq!(refused, Err(Reason::Issuer { piece: Piece::ChipChain }));
    let among_others = [&AMD[..], &[ROOT]].concat();
    assert!(run(&report(|_| {}), None, &among_others, NOW).is_ok());
}

#[test]
fn revocation_lists_are_obeyed() {
    let report = report(|_| {});
    assert!(run(&report, Some(EMPTY), &[ROOT], NOW).unwrap().revocation_checked);
    assert_eq!(run(&report, Some(REVOKED), &[ROOT], NOW), Err(Reason::Revoked { piece: Piece::ChipChain }));
    // The list ends before the certificates do, and the verdict with it.
    let end = 1_798_070_400;
    assert_eq!(run(&report, Some(SHORT), &[ROOT], NOW).unwrap().valid_until, end);
    let late = run(&report, Some(SHORT), &[ROOT], end + 1);
    assert_eq!(late, Err(Reason::Expired { piece: Piece::RevocationList, at: end }));
    let mut forged = EMPTY.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = run(&report, Some(&forged), &[ROOT], NOW);
    assert_eq!(forged, Err(Reason::Signature { piece: Piece::RevocationList }));
    for length in (0..EMPTY.len()).step_by(41) {
        let cut = run(&report, Some(&EMPTY[..length]), &[ROOT], NOW);
        assert!(cut.is_err_and(|reason| reason != Reason::Crashed), "{length} bytes");
    }
}

/// A list by an authority of ours called `name`, which is no root here.
fn list_of(name: &str, part: Option<&str>) -> Vec<u8> {
    let mut authority = rcgen::CertificateParams::default();
    authority.distinguished_name = rcgen::DistinguishedName::new();
    authority.distinguished_name.push(rcgen::DnType::CommonName, name);
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2036, 1, 1),
        crl_number: rcgen::SerialNumber::from(1),
        issuing_distribution_point: part.map(|uri| rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint { uris: vec![uri.to_owned()] },
            scope: Some(rcgen::CrlScope::UserCertsOnly),
        }),
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    list.signed_by(&rcgen::Issuer::new(authority, key)).unwrap().der().to_vec()
}

#[test]
fn a_list_that_is_not_the_roots_is_no_list() {
    let report = report(|_| {});
    let run = |list: &[u8]| run(&report, Some(list), &[ROOT], NOW).map(|claims| claims.revocation_checked);
    let (issuer, signature) =
        (Reason::Issuer { piece: Piece::RevocationList }, Reason::Signature { piece: Piece::RevocationList });
    assert_eq!(run(EMPTY), Ok(true));
    assert_eq!(run(&list_of("somebody", None)), Err(issuer.clone()));
    // The root's name under another's key; and, so that webpki leaves it aside, about a part.
    let named = list_of(ARK_NAME, None);
    assert!(run(&named).is_err());
    assert_eq!(run(&list_of(ARK_NAME, Some("http://somewhere.invalid/list"))), Err(issuer));
    let mut forged = EMPTY.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(run(&forged), Err(signature));
}

#[test]
fn what_the_report_says_is_what_is_claimed() {
    let set = |at: usize, value: u8| run(&report(|r| r[at] = value), None, &[ROOT], NOW);
    assert!(set(8 + 2, 1 << 3).unwrap().debug, "policy bit 19");
    assert!(set(8 + 2, 1 << 2).unwrap().migration, "policy bit 18");
    assert!(set(0x40, 1).unwrap().smt, "platform bit 0");
    assert_eq!(set(0x30, 3).unwrap().vmpl, 3);
    assert_eq!(set(0x1a0, 0x12), Err(Reason::OtherChip));
    assert_eq!(set(0x180, 4), Err(Reason::OtherTcb));
    let hidden = run(&report(|r| r[0x1a0..0x1e0].fill(0)), None, &[ROOT], NOW);
    assert_eq!(hidden.unwrap().chip_id, [0; 64]);
}
