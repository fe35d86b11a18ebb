//! What a Nitro enclave's image measures as, computed from the file.
//!
//! **Source:** AWS, "Enclave image file format",
//! <https://github.com/aws/aws-nitro-enclaves-image-format>: a header of 548 bytes and sections of
//! 12 bytes and their content, all big-endian. A register is SHA-384 of 48 zero bytes and the
//! SHA-384 of what it covers.

use crate::policy::hex;
use sha2::{Digest, Sha384};

/// The registers of an image, and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EifMeasurement {
    /// PCR0: the whole image: kernel, command line and all ramdisks.
    pub pcr0: [u8; 48],
    /// PCR1: kernel, command line and the first ramdisk.
    pub pcr1: [u8; 48],
    /// PCR2: the application: the other ramdisks.
    pub pcr2: [u8; 48],
    /// Whether the image is signed. PCR8, of the signer's certificate, is not computed here.
    pub signed: bool,
}

impl EifMeasurement {
    /// From the bytes of an image.
    ///
    /// **Errors:** a sentence, for bytes that are no such image of versions 2 to 4.
    pub fn of(image: &[u8]) -> Result<Self, &'static str> {
        let (header, mut rest) = image.split_first_chunk::<HEADER>().ok_or("it is too short for an image")?;
        let [b'.', b'e', b'i', b'f', 0, 2..=4, ..] = header else {
            return Err("it does not start as an image of version 2 to 4 does");
        };
        let (mut all, mut boot, mut application) = (Sha384::new(), Sha384::new(), Sha384::new());
        let (mut ramdisks, mut kernels, mut signed) = (0, 0, false);
        while !rest.is_empty() {
            let (kind, content) = section(&mut rest).ok_or("a section is cut off")?;
            match kind {
                KERNEL | COMMAND_LINE => {
                    all.update(content);
                    boot.update(content);
                    kernels += usize::from(kind == KERNEL);
                }
                RAMDISK => {
                    all.update(content);
                    if ramdisks == 0 { &mut boot } else { &mut application }.update(content);
                    ramdisks += 1;
                }
                SIGNATURE => signed = true,
                METADATA => {}
                _ => return Err("it has a section of a kind that this version does not know"),
            }
        }
        match (kernels, ramdisks) {
            (1, 1..) => Ok(Self { pcr0: extended(all), pcr1: extended(boot), pcr2: extended(application), signed }),
            (_, _) => Err("it has not one kernel and a ramdisk"),
        }
    }

    /// Name and value of each register, as a policy writes them.
    pub fn registers(&self) -> [(&'static str, String); 3] {
        [("PCR0", hex(&self.pcr0)), ("PCR1", hex(&self.pcr1)), ("PCR2", hex(&self.pcr2))]
    }
}

fn section<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let (head, tail) = rest.split_first_chunk::<12>()?;
    let (kind, tail_of_head) = head.split_first_chunk::<2>()?;
    let (_flags, size) = tail_of_head.split_first_chunk::<2>()?;
    let size = usize::try_from(u64::from_be_bytes(size.try_into().ok()?)).ok()?;
    let (content, tail) = tail.split_at_checked(size)?;
    *rest = tail;
    Some((u16::from_be_bytes(*kind), content))
}

/// A register that starts as zeros and is extended once.
fn extended(content: Sha384) -> [u8; 48] {
    Sha384::new_with_prefix([0; 48]).chain_update(content.finalize()).finalize().into()
}

const HEADER: usize = 548;
const KERNEL: u16 = 1;
const COMMAND_LINE: u16 = 2;
const RAMDISK: u16 = 3;
const SIGNATURE: u16 = 4;
const METADATA: u16 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image(sections: &[(u16, &[u8])]) -> Vec<u8> {
        let mut out = b".eif\0\x04".to_vec();
        out.resize(HEADER, 0);
        for (kind, content) in sections {
            out.extend(kind.to_be_bytes());
            out.extend([0, 0]);
            out.extend((content.len() as u64).to_be_bytes());
            out.extend(*content);
        }
        out
    }

    /// Made with Python's `hashlib` from the format's description.
    #[test]
    fn registers_are_those_of_the_format() {
        let sections: [(u16, &[u8]); 5] =
            [(1, b"kernel"), (2, b"quiet"), (3, b"boot"), (3, b"application"), (5, b"{\"made\": 1}")];
        let [(_, pcr0), (_, pcr1), (_, pcr2)] = EifMeasurement::of(&image(&sections)).unwrap().registers();
        assert_eq!(pcr0, PCR0);
        assert_eq!(pcr1, PCR1);
        assert_eq!(pcr2, PCR2);
        let signed = EifMeasurement::of(&image(&[&sections[..], &[(4, b"signature")]].concat())).unwrap();
        assert!(signed.signed && signed.registers()[0].1 == PCR0);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let good = image(&[(1, b"kernel"), (3, b"boot")]);
        assert!(EifMeasurement::of(&good).is_ok());
        for length in (0..good.len()).filter(|n| *n != HEADER) {
            assert!(EifMeasurement::of(&good[..length]).is_err(), "{length} bytes");
        }
        assert!(EifMeasurement::of(&image(&[(1, b"kernel")])).is_err());
        assert!(EifMeasurement::of(&image(&[(1, b"kernel"), (3, b"boot"), (6, b"")])).is_err());
        assert!(EifMeasurement::of(&image(&[(1, b"kernel"), (1, b"kernel"), (3, b"boot")])).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tail in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = EifMeasurement::of(&[image(&[]), tail].concat());
        }
    }

    const PCR0: &str = "65a1025229b4f9106016c9b12fe7a0f8ed7ba6611b734108\
                        6a03cf9519c00874900254cecc2facae6f7f0ac834fe3b94";
    const PCR1: &str = "4d0f4abc78659a2cdae1ae3fa27ecbf804f29f074a8e674a\
                        30351753f172ac02b8164d9522001425aecb366342abb7b2";
    const PCR2: &str = "8a45599e5e77b24c4b6472869c24e10490c4d5df715fbd08\
                        11fc4b33d370276cf00bb24871d3a1987587d6b9283d4f42";
}
