//! PNG pictures: `[1, h, w]` for grey, `[3, h, w]` for colour, values 0 to 1.

use super::{Array, element_count};
use crate::{Error, Result};
use ::png::{ColorType, Decoder, Limits, Transformations};
use std::io::Cursor;

/// Memory the decoder may take (bytes).
const MAX_BYTES: usize = 1 << 28;

pub(super) fn parse(bytes: &[u8]) -> Result<Array> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: MAX_BYTES });
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|_| damaged())?;
    let size = reader.output_buffer_size().filter(|&n| n <= MAX_BYTES).ok_or_else(too_large)?;
    let (height, width) = (reader.info().height as usize, reader.info().width as usize);
    element_count(&[height, width, 4])?;
    let mut pixels = vec![0; size];
    let info = reader.next_frame(&mut pixels).map_err(|_| damaged())?;
    pixels.truncate(info.buffer_size());
    let (channels, pixels) = without_alpha(info.color_type, pixels)?;
    let dims = vec![channels, height, width];
    Ok(Array { name: None, dims, values: planes(&pixels, channels) })
}

/// The picture as one grey channel (ITU-R BT.601 luma), for models of one channel.
pub(crate) fn luma(array: &Array) -> Array {
    let (dims, n) = match array.dims.as_slice() {
        [3, h, w] => (vec![1, *h, *w], h * w),
        _ => return array.clone(),
    };
    let (red, rest) = array.values.split_at(n);
    let (green, blue) = rest.split_at(n);
    let values = (0..n).map(|i| 0.299 * red[i] + 0.587 * green[i] + 0.114 * blue[i]).collect();
    Array { name: array.name.clone(), dims, values }
}

fn damaged() -> Error {
    Error::input("the PNG picture is damaged or cut short", "save it again")
}

fn too_large() -> Error {
    Error::input("the PNG picture is too large", "scale it to the model's input size")
}

/// Channel count and interleaved pixels; transparency would have to be guessed at.
fn without_alpha(color: ColorType, pixels: Vec<u8>) -> Result<(usize, Vec<u8>)> {
    let step = color.samples();
    let (channels, alpha) = match color {
        ColorType::Grayscale => (1, false),
        ColorType::GrayscaleAlpha => (1, true),
        ColorType::Rgb => (3, false),
        ColorType::Rgba => (3, true),
        ColorType::Indexed => return Err(damaged()),
    };
    if !alpha {
        return Ok((channels, pixels));
    }
    if pixels.chunks_exact(step).any(|p| p.last() != Some(&255)) {
        return Err(Error::input("the PNG picture has transparent pixels", "flatten it onto a background"));
    }
    let opaque = pixels.chunks_exact(step).flat_map(|p| &p[..channels]).copied().collect();
    Ok((channels, opaque))
}

/// Interleaved bytes as planes of values 0 to 1.
fn planes(pixels: &[u8], channels: usize) -> Vec<f32> {
    let plane = |c: usize| pixels.iter().skip(c).step_by(channels).map(|&p| f32::from(p) / 255.0);
    (0..channels).flat_map(plane).collect()
}
