//! Samples from files: `.npy`, `.npz`, PNG, CSV and idx (also gzipped), and results back.
//!
//! [`Dataset::read`] reads a file as it is; [`Dataset::fit`] matches it to a model's
//! inputs. Every size a file claims is checked against what the file holds before
//! anything is allocated; a damaged file is an [`Error::Input`] of one sentence.

mod csv;
mod file;
mod idx;
pub(crate) mod npy;
mod npz;
mod png;
pub mod save;

use crate::model::Port;
use crate::options::InputRange;
use crate::{Error, Result};
use std::path::Path;

/// The most values read from one file.
pub const MAX_VALUES: usize = 1 << 28;

/// One array as a file holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its name (`.npz`).
    pub name: Option<String>,
    /// Its dimensions, outermost first.
    pub dims: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// File name, for messages.
    pub name: String,
    /// Its arrays: one, except for `.npz`.
    pub arrays: Vec<Array>,
    /// What its axes mean.
    pub kind: Kind,
    /// Whether the values are pixels, scaled to 0..1.
    pixels: bool,
}

/// What the axes of a file's arrays mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Samples along the first axis, or one sample.
    Arrays,
    /// Rows are samples; one column more than the model's features is a label.
    Table,
    /// One picture, `[channels, height, width]`.
    Picture,
}

/// Samples that fit a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// One flat array an input of the model: `count` samples, row-major.
    pub inputs: Vec<Vec<f32>>,
    /// Number of samples.
    pub count: usize,
    /// The right answers, where the file holds them.
    pub labels: Option<Vec<i64>>,
}

impl Samples {
    /// Adds the right answers.
    ///
    /// **Errors:** [`Error::Input`] unless there is one for each sample.
    pub fn set_labels(&mut self, labels: Vec<i64>) -> Result<()> {
        if labels.len() != self.count {
            let message = format!("{} labels were given for {} samples", labels.len(), self.count);
            return Err(Error::input(message, "give one label for each sample"));
        }
        self.labels = Some(labels);
        Ok(())
    }

    /// Drops all but the first `n` samples.
    pub fn keep(&mut self, n: usize) {
        let n = n.min(self.count);
        for values in &mut self.inputs {
            values.truncate(values.len() / self.count.max(1) * n);
        }
        self.count = n;
        if let Some(labels) = &mut self.labels {
            labels.truncate(n);
        }
    }
}

impl Dataset {
    /// Reads a file; the format follows from its extension, or from its first bytes.
    ///
    /// **Errors:** [`Error::Io`] if it cannot be read, [`Error::Input`] if it is damaged
    /// or in no supported format.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = file::read(path)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self::parse(&name, &bytes).map_err(|e| e.in_file(path))
    }

    /// As [`Dataset::read`], from memory; `name` decides the format.
    ///
    /// **Errors:** [`Error::Input`].
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self> {
        let (name, unpacked) = file::unpack(name, bytes)?;
        let bytes = unpacked.as_deref().unwrap_or(bytes);
        let format = Format::of(name, bytes);
        let arrays = match format {
            Format::Npy => vec![npy::parse(bytes)?],
            Format::Npz => npz::parse(bytes)?,
            Format::Png => vec![png::parse(bytes)?],
            Format::Idx => vec![idx::parse(bytes)?],
            Format::Csv => vec![csv::parse(bytes)?],
        };
        let pixels = match format {
            Format::Png => true,
            Format::Idx => idx::is_pixels(bytes),
            Format::Npy | Format::Npz | Format::Csv => false,
        };
        Ok(Self { name: name.to_owned(), arrays, kind: format.kind(), pixels })
    }

    /// The samples for a model with these inputs.
    ///
    /// A model of several inputs takes an `.npz` whose arrays carry the inputs' names.
    ///
    /// **Errors:** [`Error::Input`] naming both shapes.
    pub fn fit(&self, ports: &[Port]) -> Result<Samples> {
        let mut samples = Samples::default();
        for (i, port) in ports.iter().enumerate() {
            let array = self.array_for(port, ports.len())?;
            let (values, count, labels) = match self.kind {
                Kind::Arrays | Kind::Table => self.rows(array, port)?,
                Kind::Picture => (self.picture(array, port)?, 1, None),
            };
            if i > 0 && count != samples.count {
                let message = format!(
                    "input '{}' has {count} samples where '{}' has {}",
                    port.name, ports[0].name, samples.count
                );
                return Err(Error::input(message, "give the same number of samples for every input"));
            }
            samples.count = count;
            samples.labels = samples.labels.or(labels);
            samples.inputs.push(values);
        }
        Ok(samples)
    }

    /// The range that the format alone gives its values: pixels are scaled to 0..1.
    pub fn format_range(&self) -> Option<InputRange> {
        self.pixels.then_some(InputRange { lo: 0.0, hi: 1.0 })
    }

    /// The one column or vector of whole numbers this file holds: labels.
    ///
    /// **Errors:** [`Error::Input`].
    pub fn labels(&self) -> Result<Vec<i64>> {
        let array = self.only_array()?;
        if array.dims.iter().filter(|&&d| d != 1).count() > 1 {
            let message = format!("{} holds {}, not one label a sample", self.name, dims_text(&array.dims));
            return Err(Error::input(message, "give a vector of class numbers"));
        }
        array.values.iter().enumerate().map(|(i, &v)| label(v, i)).collect()
    }

    fn only_array(&self) -> Result<&Array> {
        match self.arrays.as_slice() {
            [array] => Ok(array),
            arrays => Err(Error::input(
                format!("{} holds {} arrays ({}) where one is wanted", self.name, arrays.len(), names(arrays)),
                "save the one that is meant to a .npy file",
            )),
        }
    }

    fn array_for(&self, port: &Port, inputs: usize) -> Result<&Array> {
        if let Some(array) = self.arrays.iter().find(|a| a.name.as_deref() == Some(&port.name)) {
            return Ok(array);
        }
        match self.arrays.as_slice() {
            [array] if inputs == 1 => Ok(array),
            arrays => Err(Error::input(
                format!("{} has no array named '{}' (it holds {})", self.name, port.name, names(arrays)),
                "name the arrays of an .npz file as the model names its inputs",
            )),
        }
    }

    /// Values, sample count and labels of `array` as samples of `port`.
    fn rows(&self, array: &Array, port: &Port) -> Result<(Vec<f32>, usize, Option<Vec<i64>>)> {
        let features = port.sample_len();
        let (count, width) = match array.dims.split_first() {
            Some((&n, rest)) => (n, rest.iter().product()),
            None => (1, 1),
        };
        if count > 0 && width == features {
            return Ok((array.values.clone(), count, None));
        }
        if self.kind == Kind::Table && count > 0 && width == features + 1 {
            let (values, labels) = split_label(&array.values, width)?;
            return Ok((values, count, Some(labels)));
        }
        if array.values.len() == features {
            return Ok((array.values.clone(), 1, None));
        }
        Err(self.misfit(array, port))
    }

    /// The picture's pixels; colour becomes grey for a model of one channel.
    fn picture(&self, array: &Array, port: &Port) -> Result<Vec<f32>> {
        let [channels, height, width] = array.dims[..] else { return Err(self.misfit(array, port)) };
        let (wanted, wanted_size) = port.picture();
        let same_size = wanted_size.is_none_or(|size| size == (height, width));
        let one_channel = wanted == height * width;
        if !same_size || !(one_channel || wanted == channels * height * width) {
            return Err(self.misfit(array, port));
        }
        Ok(if one_channel { png::luma(array).values } else { array.values.clone() })
    }

    fn misfit(&self, array: &Array, port: &Port) -> Error {
        let n = port.sample_len();
        let last = array.dims.last().copied().unwrap_or(0);
        let (held, hint) = match self.kind {
            Kind::Table => (format!("{last} columns"), format!("give {n} columns, or one more with the label last")),
            Kind::Arrays => (dims_text(&array.dims), format!("give samples of {n} values each")),
            Kind::Picture => (
                format!("a picture of {last} x {} pixels", array.dims.get(1).copied().unwrap_or(0)),
                "scale and crop it to the model's size first: nothing is resized here".to_owned(),
            ),
        };
        Error::input(format!("{} holds {held}, but input '{}' takes {}", self.name, port.name, port.dims_text()), &hint)
    }
}

/// File formats of samples.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Npy,
    Npz,
    Png,
    Idx,
    Csv,
}

impl Format {
    fn kind(self) -> Kind {
        match self {
            Self::Npy | Self::Npz | Self::Idx => Kind::Arrays,
            Self::Png => Kind::Picture,
            Self::Csv => Kind::Table,
        }
    }

    fn of(name: &str, bytes: &[u8]) -> Self {
        let extension = Path::new(name).extension().map(|e| e.to_ascii_lowercase());
        match extension.as_ref().and_then(|e| e.to_str()) {
            Some("npy") => Self::Npy,
            Some("npz") => Self::Npz,
            Some("png") => Self::Png,
            Some("csv" | "tsv" | "txt") => Self::Csv,
            Some("idx") => Self::Idx,
            Some(_) | None => Self::sniff(name, bytes),
        }
    }

    fn sniff(name: &str, bytes: &[u8]) -> Self {
        match bytes {
            [0x93, b'N', b'U', ..] => Self::Npy,
            [b'P', b'K', 3, 4, ..] => Self::Npz,
            [0x89, b'P', b'N', b'G', ..] => Self::Png,
            [0, 0, 8..=14, ..] => Self::Idx,
            _ if name.ends_with("-ubyte") => Self::Idx,
            _ => Self::Csv,
        }
    }
}

fn split_label(values: &[f32], width: usize) -> Result<(Vec<f32>, Vec<i64>)> {
    let mut features = Vec::with_capacity(values.len());
    let mut labels = Vec::with_capacity(values.len() / width);
    for (i, row) in values.chunks_exact(width).enumerate() {
        let (last, rest) = row.split_last().unwrap_or((&0.0, &[]));
        features.extend_from_slice(rest);
        labels.push(label(*last, i)?);
    }
    Ok((features, labels))
}

fn label(value: f32, row: usize) -> Result<i64> {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        return Ok(value as i64);
    }
    Err(Error::input(format!("the label of sample {} is no whole number", row + 1), "give class numbers 0, 1, 2, ..."))
}

fn names(arrays: &[Array]) -> String {
    let names: Vec<_> = arrays.iter().map(|a| a.name.as_deref().unwrap_or("one without a name")).collect();
    names.join(", ")
}

pub(crate) fn dims_text(dims: &[usize]) -> String {
    let dims: Vec<_> = dims.iter().map(usize::to_string).collect();
    format!("[{}]", dims.join(", "))
}

/// The product of `dims`, if it is at most [`MAX_VALUES`].
fn element_count(dims: &[usize]) -> Result<usize> {
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MAX_VALUES).ok_or_else(|| {
        Error::input(format!("it claims to hold {} values", dims_text(dims)), "split the data into smaller files")
    })
}

#[cfg(test)]
mod tests;
