//! A genuine document, and what is done to it.

use crate::claims::{Claims, NitroClaims};
use crate::vectors::{self, Sample};
use crate::{Evidence, Piece, Reason, authenticate};

fn run(document: &[u8], now: u64) -> Result<NitroClaims, Reason> {
    let sample = Sample { evidence: Evidence::Nitro(document.to_vec()), ..vectors::nitro() };
    authenticate(&sample.evidence, &sample.collateral, now).map(|claims| {
        let Claims::Nitro(claims) = claims else { panic!("no Nitro claims") };
        *claims
    })
}

fn genuine() -> (Vec<u8>, u64) {
    let sample = vectors::nitro();
    let Evidence::Nitro(document) = sample.evidence else { unreachable!() };
    (document, sample.now)
}

#[test]
fn a_genuine_document_says_what_it_says() {
    let (document, now) = genuine();
    let claims = run(&document, now).unwrap();
    assert_eq!(claims.module_id, "i-0bee92034f3d60691-enc01943c5eaab3ad6a");
    assert_eq!(claims.timestamp_ms, 0x0194_3c5e_ae00);
    assert_eq!(claims.pcrs[0].unwrap()[..4], [0x8b, 0xb1, 0x59, 0xf2]);
    assert_eq!(claims.pcrs[1].unwrap()[..4], [0x3b, 0x4a, 0x7e, 0x1b]);
    assert_eq!(claims.pcrs.iter().flatten().count(), 16);
    assert!(!claims.debug());
    assert_eq!(claims.valid_until, 1_736_190_425, "the leaf's last second, 2025-01-06 19:07:05");
    // With the tag of COSE_Sign1 it is the same document.
    assert_eq!(run(&[&[0xd2], &document[..]].concat(), now), Ok(claims));
}

#[test]
fn dates_are_those_of_the_caller() {
    let (document, now) = genuine();
    let piece = Piece::NitroChain;
    assert!(run(&document, 1_736_190_425).is_ok());
    assert_eq!(run(&document, 1_736_190_426), Err(Reason::Expired { piece, at: 1_736_190_425 }));
    assert!(matches!(run(&document, now - 86_400), Err(Reason::NotYetValid { .. })));
    assert!(matches!(run(&document, 1_795_392_000), Err(Reason::Expired { .. })));
}

#[test]
fn another_root_vouches_for_nothing() {
    let (document, now) = genuine();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let root = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let refused = super::authenticate(&document, root.der(), now);
    assert_eq!(refused, Err(Reason::Issuer { piece: Piece::NitroChain }));
}

#[test]
fn no_flipped_bit_is_accepted() {
    let (document, now) = genuine();
    for offset in 0..document.len() {
        let mut changed = document.clone();
        changed[offset] ^= 1 << (offset % 8);
        let refused = run(&changed, now).unwrap_err();
        assert!(refused != Reason::Crashed, "byte {offset}");
    }
    let mut changed = document.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    assert_eq!(run(&changed, now), Err(Reason::Signature { piece: Piece::Document }));
}

#[test]
fn what_is_cut_off_or_goes_on_is_refused() {
    let (document, now) = genuine();
    for length in 0..document.len() {
        assert!(matches!(run(&document[..length], now), Err(Reason::Malformed { .. })), "{length} bytes");
    }
    assert!(matches!(run(&[&document[..], &[0]].concat(), now), Err(Reason::Malformed { .. })));
}
