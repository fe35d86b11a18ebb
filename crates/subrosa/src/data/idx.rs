//! The idx format of MNIST: big-endian arrays behind a header of sizes.
//! <http://yann.lecun.com/exdb/mnist/>

use super::{Array, element_count};
use crate::{Error, Result};

/// More axes than any data set has.
const MAX_RANK: u8 = 8;

pub(super) fn parse(bytes: &[u8]) -> Result<Array> {
    let [0, 0, kind, rank, rest @ ..] = bytes else { return Err(damaged("it does not begin as one")) };
    let width = item_bytes(*kind)?;
    if *rank > MAX_RANK {
        return Err(damaged("it claims too many axes"));
    }
    let header = rest.get(..4 * usize::from(*rank)).ok_or_else(|| damaged("it is cut short in the header"))?;
    let dims: Vec<usize> = header.as_chunks::<4>().0.iter().map(|&b| u32::from_be_bytes(b) as usize).collect();
    let data = &rest[header.len()..];
    let wanted = element_count(&dims)? * width;
    if data.len() != wanted {
        return Err(damaged(&format!("its header promises {wanted} bytes of data, it holds {}", data.len())));
    }
    Ok(Array { name: None, values: decode(*kind, data, dims.len()), dims })
}

/// Unsigned bytes along three axes or more: pictures.
pub(super) fn is_pixels(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 0x08, rank, ..] if *rank >= 3)
}

fn damaged(what: &str) -> Error {
    Error::input(format!("not a readable idx file: {what}"), "download it again")
}

fn item_bytes(kind: u8) -> Result<usize> {
    match kind {
        0x08 | 0x09 => Ok(1),
        0x0b => Ok(2),
        0x0c | 0x0d => Ok(4),
        0x0e => Ok(8),
        _ => Err(damaged(&format!("its type code {kind:#04x} is unknown"))),
    }
}

/// Bytes of pictures (three axes or more) are pixels: scaled to 0..1 as models expect.
fn decode(kind: u8, data: &[u8], rank: usize) -> Vec<f32> {
    macro_rules! items {
        ($t:ty) => {
            data.as_chunks::<{ size_of::<$t>() }>().0.iter().map(|&b| <$t>::from_be_bytes(b) as f32).collect()
        };
    }
    match kind {
        0x08 if rank >= 3 => data.iter().map(|&b| f32::from(b) / 255.0).collect(),
        0x08 => data.iter().map(|&b| f32::from(b)).collect(),
        0x09 => items!(i8),
        0x0b => items!(i16),
        0x0c => items!(i32),
        0x0d => items!(f32),
        _ => items!(f64),
    }
}
