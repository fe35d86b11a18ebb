//! NumPy archives: a zip file of `.npy` members.

use super::file::MAX_BYTES;
use super::{Array, npy};
use crate::{Error, Result};
use std::io::{Cursor, Read};

/// More members than any model has inputs.
const MAX_MEMBERS: usize = 256;

pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Array>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|_| damaged("it is no zip archive"))?;
    if archive.len() > MAX_MEMBERS {
        return Err(damaged("it has more than 256 members"));
    }
    let mut arrays = Vec::new();
    let mut budget = MAX_BYTES;
    for i in 0..archive.len() {
        let member = archive.by_index(i).map_err(|_| damaged("a member cannot be read"))?;
        let name = member.name().to_owned();
        let Some(stem) = name.strip_suffix(".npy") else { continue };
        let mut content = Vec::new();
        member.take(budget + 1).read_to_end(&mut content).map_err(|_| damaged("a member is damaged"))?;
        budget = budget
            .checked_sub(content.len() as u64)
            .ok_or_else(|| Error::input("it unpacks to more than 1 GiB", "split it"))?;
        let array = npy::parse(&content)?;
        arrays.push(Array { name: Some(stem.to_owned()), ..array });
    }
    if arrays.is_empty() { Err(damaged("it holds no array")) } else { Ok(arrays) }
}

fn damaged(what: &str) -> Error {
    Error::input(format!("not a readable NumPy archive: {what}"), "save it again with numpy.savez")
}
