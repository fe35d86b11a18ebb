//! An identity's signature of what it says where no connection says who speaks: in a file.

use super::identity::{Fingerprint, Identity, IdentityError};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};

/// Bytes of a signature: the public key, which a fingerprint does not tell, and ECDSA's two numbers.
pub const SIGNATURE_BYTES: usize = POINT + 64;

/// An uncompressed point of P-256.
const POINT: usize = 65;

/// What stands before the point in the SubjectPublicKeyInfo of a P-256 key (RFC 5480, section 2).
const INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

impl Identity {
    /// Signs `message` for a purpose (ECDSA over P-256 with SHA-256, FIPS 186-5). A signature for
    /// one purpose is none for another, nor for a handshake.
    ///
    /// **Errors:** [`IdentityError::Generate`].
    pub fn sign(&self, purpose: &str, message: &[u8]) -> Result<Vec<u8>, IdentityError> {
        let failed = |what: &str| IdentityError::Generate(format!("a signature failed: {what}"));
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, self.pkcs8());
        let key = key.map_err(|e| failed(&e.to_string()))?;
        let signature =
            key.sign(&SystemRandom::new(), &signed(purpose, message)).map_err(|_| failed("no randomness"))?;
        Ok([key.public_key().as_ref(), signature.as_ref()].concat())
    }
}

impl Fingerprint {
    /// Whether the holder of this fingerprint's key signed `message` for a purpose.
    pub fn has_signed(&self, purpose: &str, message: &[u8], signature: &[u8]) -> bool {
        let Some((point, signature)) = signature.split_at_checked(POINT) else { return false };
        let theirs = Self::of(&[INFO.as_slice(), point].concat());
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        theirs == *self && key.verify(&signed(purpose, message), signature).is_ok()
    }
}

fn signed(purpose: &str, message: &[u8]) -> Vec<u8> {
    // No certificate (it begins with 0x30) nor handshake (64 spaces) begins so.
    [b"subrosa signature v1\0".as_slice(), purpose.as_bytes(), b"\0", message].concat()
}

#[cfg(test)]
mod tests {
    use super::super::Validity;
    use super::*;

    #[test]
    fn a_signature_is_of_one_key_one_purpose_and_one_message() {
        let dealer = Identity::create("dealer", Validity::days(1)).unwrap();
        let other = Identity::create("other", Validity::days(1)).unwrap();
        let signature = dealer.sign("keys", b"a digest").unwrap();
        assert_eq!(signature.len(), SIGNATURE_BYTES);
        assert!(dealer.fingerprint().has_signed("keys", b"a digest", &signature));
        assert!(!dealer.fingerprint().has_signed("key", b"sa digest", &signature));
        assert!(!dealer.fingerprint().has_signed("keys", b"another", &signature));
        assert!(!other.fingerprint().has_signed("keys", b"a digest", &signature));
        for at in 0..signature.len() {
            let mut damaged = signature.clone();
            damaged[at] ^= 1;
            assert!(!dealer.fingerprint().has_signed("keys", b"a digest", &damaged), "byte {at}");
            assert!(!dealer.fingerprint().has_signed("keys", b"a digest", &signature[..at]), "{at} bytes");
        }
    }
}
