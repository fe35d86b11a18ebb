//! Nitro documents under a root of our own: byte for byte of AWS's form, so that the whole
//! way to [`crate::Attested`] runs without hardware. Vendors' roots refuse them.

use crate::binding::Bound;
use crate::evidence::{Collateral, Evidence, Stapled};
use crate::verify::Roots;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SigningKey};

/// A certificate authority and an enclave below it.
pub(crate) struct Enclave {
    root: CertifiedIssuer<'static, KeyPair>,
    leaf_key: KeyPair,
    leaf: Vec<u8>,
}

impl Enclave {
    pub(crate) fn new() -> Self {
        let key = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let name = |params: &mut CertificateParams, name: &str| {
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
        };
        let mut authority = CertificateParams::default();
        name(&mut authority, "test root");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = CertifiedIssuer::self_signed(authority, key()).unwrap();
        let leaf_key = key();
        let mut params = CertificateParams::default();
        name(&mut params, "test enclave");
        let leaf = params.signed_by(&leaf_key, &root).unwrap().der().to_vec();
        Self { root, leaf_key, leaf }
    }

    pub(crate) fn roots(&self) -> Roots<'_> {
        Roots { aws: self.root.der(), ..Roots::VENDORS }
    }

    /// A document about `bound`, made at `now`, whose register n is n + 1 throughout.
    pub(crate) fn attest(&self, bound: &Bound, now: u64) -> Stapled {
        self.document(&bound.report_data(), now, |n| n + 1)
    }

    pub(crate) fn document(&self, user_data: &[u8], now: u64, pcr: impl Fn(u8) -> u8) -> Stapled {
        let mut payload = vec![0xa9];
        text(&mut payload, "module_id");
        text(&mut payload, "i-test");
        text(&mut payload, "digest");
        text(&mut payload, "SHA384");
        text(&mut payload, "timestamp");
        payload.push(0x1b);
        payload.extend((now * 1000).to_be_bytes());
        text(&mut payload, "pcrs");
        payload.push(0xa3);
        for n in 0..3 {
            payload.push(n);
            bytes(&mut payload, &[pcr(n); 48]);
        }
        text(&mut payload, "certificate");
        bytes(&mut payload, &self.leaf);
        text(&mut payload, "cabundle");
        payload.push(0x81);
        bytes(&mut payload, self.root.der());
        text(&mut payload, "public_key");
        payload.push(0xf6);
        text(&mut payload, "user_data");
        bytes(&mut payload, user_data);
        text(&mut payload, "nonce");
        payload.push(0xf6);

        let protected = [0xa1, 0x01, 0x38, 0x22];
        let mut signed = vec![0x84];
        text(&mut signed, "Signature1");
        bytes(&mut signed, &protected);
        bytes(&mut signed, &[]);
        bytes(&mut signed, &payload);
        let der = self.leaf_key.sign(&signed).unwrap();
        let signature = p384::ecdsa::Signature::from_der(&der).unwrap();

        let mut document = vec![0x84];
        bytes(&mut document, &protected);
        document.push(0xa0);
        bytes(&mut document, &payload);
        bytes(&mut document, &signature.to_bytes());
        Stapled { evidence: Evidence::Nitro(document), collateral: Collateral::Nitro }
    }

    /// The rules that accept [`Enclave::attest`].
    pub(crate) fn rules() -> String {
        let pcr = |n: u8| format!("{n} = [\"{}\"]\n", format!("{:02x}", n + 1).repeat(48));
        format!("[nitro.pcr]\n{}{}{}", pcr(0), pcr(1), pcr(2))
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(0x60 | text.len() as u8);
    out.extend(text.as_bytes());
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        n @ 0..24 => out.push(0x40 | n as u8),
        n @ 24..256 => out.extend([0x58, n as u8]),
        n => {
            out.push(0x59);
            out.extend((n as u16).to_be_bytes());
        }
    }
    out.extend(bytes);
}
