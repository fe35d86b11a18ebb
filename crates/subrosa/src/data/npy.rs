//! NumPy arrays, format versions 1 to 3: numbers and booleans, never pickle.
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use super::{Array, element_count};
use crate::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy's own headers are about 120 bytes.
const MAX_HEADER: usize = 1 << 16;

pub(super) fn parse(bytes: &[u8]) -> Result<Array> {
    let (header, data) = split(bytes)?;
    let dtype = quoted(field(header, "descr")?).ok_or_else(|| damaged("its dtype is not a plain number"))?;
    let fortran = field(header, "fortran_order")?.starts_with("True");
    let dims = shape(field(header, "shape")?)?;
    let count = element_count(&dims)?;
    let width = item_bytes(dtype)?;
    if data.len() != count * width {
        let message = format!("its header promises {} bytes of data, it holds {}", count * width, data.len());
        return Err(damaged(&message));
    }
    let values = decode(dtype, data)?;
    let values = if fortran { row_major(&values, &dims) } else { values };
    Ok(Array { name: None, dims, values })
}

/// A version 1 file of 32-bit floats.
pub(crate) fn write(dims: &[usize], values: &[f32]) -> Vec<u8> {
    let comma = if dims.len() == 1 { "," } else { "" };
    let dims: Vec<_> = dims.iter().map(usize::to_string).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{comma}), }}", dims.join(", "));
    // NumPy pads with spaces to a multiple of 64 and ends in a newline.
    let padding = 63 - (MAGIC.len() + 4 + header.len()) % 64;
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    out
}

fn damaged(what: &str) -> Error {
    Error::input(format!("not a readable NumPy array: {what}"), "save it again with numpy.save")
}

/// Header text and data.
fn split(bytes: &[u8]) -> Result<(&str, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("its first bytes are not NumPy's"))?;
    let (length, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => return Err(damaged("its format version is unknown, or it is cut short")),
    };
    if length > MAX_HEADER || length > rest.len() {
        return Err(damaged("it is cut short in the header"));
    }
    let (header, data) = rest.split_at(length);
    let header = std::str::from_utf8(header).map_err(|_| damaged("its header is no text"))?;
    Ok((header, data))
}

/// What follows `'key':` in the header's dictionary.
fn field<'a>(header: &'a str, key: &str) -> Result<&'a str> {
    let find = |quote: char| header.split_once(&format!("{quote}{key}{quote}")).map(|(_, rest)| rest);
    find('\'')
        .or_else(|| find('"'))
        .and_then(|rest| rest.trim_start().strip_prefix(':'))
        .map(str::trim_start)
        .ok_or_else(|| damaged(&format!("its header has no '{key}'")))
}

fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote).map(|(inside, _)| inside)
}

fn shape(text: &str) -> Result<Vec<usize>> {
    let inside = text.strip_prefix('(').and_then(|t| t.split_once(')')).map(|(inside, _)| inside);
    let inside = inside.ok_or_else(|| damaged("its shape is no tuple"))?;
    let dims = inside.split(',').map(str::trim).filter(|d| !d.is_empty());
    dims.map(|d| d.parse().map_err(|_| damaged("its shape is no tuple of sizes"))).collect()
}

fn item_bytes(dtype: &str) -> Result<usize> {
    match dtype.trim_start_matches(['<', '>', '|', '=']) {
        "b1" | "i1" | "u1" => Ok(1),
        "i2" | "u2" => Ok(2),
        "i4" | "u4" | "f4" => Ok(4),
        "i8" | "u8" | "f8" => Ok(8),
        _ => Err(Error::input(
            format!("its dtype '{dtype}' is not supported"),
            "save it as float32: x.astype('float32')",
        )),
    }
}

/// The values as 32-bit floats; `data` is a whole number of items.
fn decode(dtype: &str, data: &[u8]) -> Result<Vec<f32>> {
    let big = dtype.starts_with('>');
    macro_rules! items {
        ($t:ty) => {{
            let items = data.as_chunks::<{ size_of::<$t>() }>().0.iter();
            items.map(|&b| if big { <$t>::from_be_bytes(b) } else { <$t>::from_le_bytes(b) } as f32).collect()
        }};
    }
    Ok(match dtype.trim_start_matches(['<', '>', '|', '=']) {
        "b1" | "u1" => data.iter().map(|&b| f32::from(b)).collect(),
        "i1" => items!(i8),
        "i2" => items!(i16),
        "u2" => items!(u16),
        "i4" => items!(i32),
        "u4" => items!(u32),
        "f4" => items!(f32),
        "i8" => items!(i64),
        "u8" => items!(u64),
        "f8" => items!(f64),
        other => return item_bytes(other).map(|_| Vec::new()),
    })
}

/// Column-major values rearranged.
fn row_major(values: &[f32], dims: &[usize]) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    let mut index = vec![0usize; dims.len()];
    for &value in values {
        let at = dims.iter().zip(&index).fold(0, |at, (&d, &i)| at * d + i);
        out[at] = value;
        for (i, &d) in index.iter_mut().zip(dims) {
            *i += 1;
            if *i < d {
                break;
            }
            *i = 0;
        }
    }
    out
}
