//! What a file of keys is called, and what it says it is for.

use crate::deploy::config::ClusterConfig;
use std::fmt;

/// The most batches of one dealing.
pub(in crate::deploy) const MOST: u64 = 1_000_000;

/// One run of the dealer, which made files with numbers from 0 on. Random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::deploy) struct Dealing(pub(in crate::deploy) [u8; 16]);

impl Dealing {
    /// The name of its file number `index`.
    pub(in crate::deploy) fn file(self, index: u64) -> String {
        format!("{self}-{index:06}{SUFFIX}")
    }

    /// The dealing and the number in a file's name.
    pub(in crate::deploy) fn of_file(name: &str) -> Option<(Self, u64)> {
        let (dealing, index) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let found = (Self::parse(dealing)?, index.parse().ok().filter(|index| *index < MOST)?);
        // One name for each file: "+7" and "07" are nobody's.
        (found.0.file(found.1) == name).then_some(found)
    }

    /// What [`fmt::Display`] wrote.
    fn parse(text: &str) -> Option<Self> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
        Some(Self(bytes?.try_into().ok()?))
    }
}

const SUFFIX: &str = ".keys";

impl fmt::Display for Dealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The head of a file of keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::deploy) struct Head {
    pub(in crate::deploy) dealing: Dealing,
    pub(in crate::deploy) index: u64,
    /// Whose it is.
    pub(in crate::deploy) party: u32,
    /// Samples in the batch.
    pub(in crate::deploy) batch: u32,
    /// [`ClusterConfig::digest`](crate::deploy::ClusterConfig::digest).
    pub(in crate::deploy) cluster: [u8; 32],
    /// [`Purpose::digest`](subrosa_mpc::ahead::Purpose::digest).
    pub(in crate::deploy) purpose: [u8; 32],
}

impl Head {
    pub(in crate::deploy) const BYTES: usize = 96;

    pub(in crate::deploy) fn encode(&self) -> Vec<u8> {
        let Self { dealing, index, party, batch, cluster, purpose } = self;
        [&dealing.0[..], &index.to_le_bytes(), &party.to_le_bytes(), &batch.to_le_bytes(), cluster, purpose].concat()
    }

    pub(in crate::deploy) fn decode(bytes: &[u8]) -> Option<Self> {
        let (dealing, rest) = bytes.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (party, rest) = rest.split_first_chunk()?;
        let (batch, rest) = rest.split_first_chunk()?;
        let (cluster, rest) = rest.split_first_chunk()?;
        let (purpose, []) = rest.split_first_chunk()? else { return None };
        Some(Self {
            dealing: Dealing(*dealing),
            index: u64::from_le_bytes(*index),
            party: u32::from_le_bytes(*party),
            batch: u32::from_le_bytes(*batch),
            cluster: *cluster,
            purpose: *purpose,
        })
    }

    /// What is wrong with it in the place of `expected`, which `config` explains.
    pub(in crate::deploy) fn differs_from(&self, expected: &Self, config: &ClusterConfig) -> Option<String> {
        let whose = |p: u32| config.parties.get(p as usize).map_or("nobody", |p| p.name.as_str());
        if self.cluster != expected.cluster {
            return Some("it was dealt for another subrosa.toml".to_owned());
        }
        if self.party != expected.party {
            return Some(format!("it is {}'s, not {}'s", whose(self.party), whose(expected.party)));
        }
        if (self.dealing, self.index) != (expected.dealing, expected.index) {
            return Some(format!("it is {} under another name", self.dealing.file(self.index)));
        }
        if self.batch != expected.batch {
            return Some(format!("it was dealt for a batch of {}, not {}", self.batch, expected.batch));
        }
        (self.purpose != expected.purpose)
            .then(|| "it was dealt for another model, sharing of it, or version of this program".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_heads_round_trip() {
        let dealing = Dealing([0xa7; 16]);
        let name = dealing.file(7);
        assert_eq!(name, format!("{}-000007.keys", "a7".repeat(16)));
        assert_eq!(Dealing::of_file(&name), Some((dealing, 7)));
        assert_eq!(Dealing::of_file(&dealing.file(MOST - 1)), Some((dealing, MOST - 1)));
        assert_eq!(Dealing::of_file(&dealing.file(MOST)), None);
        for odd in
            [name.replace('-', "_"), name.replace("-000007", "-7"), name.replace("a7a7", "A7a7"), name[1..].into()]
        {
            assert_eq!(Dealing::of_file(&odd), None, "{odd}");
        }
        let head = Head { dealing, index: 1 << 40, party: 1, batch: 128, cluster: [3; 32], purpose: [4; 32] };
        let bytes = head.encode();
        assert_eq!((bytes.len(), Head::decode(&bytes)), (Head::BYTES, Some(head)));
        assert_eq!(Head::decode(&bytes[1..]), None);
        assert_eq!(Head::decode(&[bytes.as_slice(), &[0]].concat()), None);
    }
}
