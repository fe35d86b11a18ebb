//! The dealer's part ahead of time: files of keys, one a server and batch.
//!
//! It needs its share of a model that the servers keep (seeds of the weights' masks, or public
//! weights), and nobody at the other end of a line. Each run draws everything anew, so two runs
//! never deal the same; nothing of what was dealt stays with the dealer but the files.

use super::card::Card;
use super::config::{ClusterConfig, Dealer, Limits};
use super::keys::name::{Dealing, Head, MOST};
use super::keys::{SIGNED, key_file_bytes, sync_folder};
use super::store::{Store, private_folder};
use crate::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use subrosa_mpc::Options;
use subrosa_mpc::ahead::Purpose;
use subrosa_net::Recorder;
use subrosa_net::tcp::Identity;

/// What to deal.
pub struct DealOptions {
    /// The model, by the name that the parties keep it under.
    pub model: String,
    /// Which version of it; the newest that the dealer holds unless given.
    pub version: Option<u32>,
    /// Samples in each batch.
    pub batch: usize,
    /// Batches.
    pub count: u64,
    /// Where the files go: a folder for each server, of its name.
    pub out: PathBuf,
    /// The dealer's state, as for [`PartyServer`](super::PartyServer).
    pub state: PathBuf,
    /// The key of its store, if not in `state`.
    pub store_key: Option<PathBuf>,
    /// Threads.
    pub threads: usize,
}

/// What was dealt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dealt {
    /// Names the dealing: the first part of all files' names.
    pub dealing: String,
    /// The version of the model.
    pub version: u32,
    /// For each server.
    pub folders: Vec<DealtFolder>,
}

/// One server's part of what was dealt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DealtFolder {
    /// The server.
    pub party: String,
    /// Where its files are: for its eyes only.
    pub folder: PathBuf,
    /// Bytes of each file.
    pub bytes: u64,
}

/// Deals `options.count` batches into files. `watch` is told after each how many there are.
///
/// **Errors:** [`Error::Misuse`] unless the configuration has an offline dealer and `identity` is
/// its; [`Error::Input`] for a model that it does not hold; [`Error::Io`], after which batches
/// dealt so far are whole and can be used.
pub fn deal(
    config: &ClusterConfig,
    identity: &Identity,
    options: &DealOptions,
    watch: &mut dyn FnMut(u64),
) -> Result<Dealt> {
    let me = check(config, identity, options)?;
    let kept = Store::look(&options.state, options.store_key.as_deref(), me)?.load(&options.model, options.version)?;
    let model = Card::decode(&kept.card, config.limits.memory_mib << 20)?;
    if model.protocol != config.protocol {
        let message = format!("'{}' was provisioned for {}", options.model, model.protocol.name());
        return Err(Error::misuse(message, "provision it for this subrosa.toml"));
    }
    let purpose = model.purpose(kept.sharing);
    let purpose = Purpose { options: Options { threads: options.threads, ..purpose.options }, ..purpose };
    let mut id = [0; 16];
    id.copy_from_slice(&subrosa_core::Seed::random().map_err(subrosa_mpc::Error::from)?.expose()[..16]);
    let run = Run { config, identity, bytes: purpose.bytes(options.batch)?, purpose, options, dealing: Dealing(id) };
    private_folder(&options.out)?;
    run.folders().iter().try_for_each(|folder| private_folder(folder))?;
    for index in 0..options.count {
        run.batch(&kept.share, index)?;
        watch(index + 1);
    }
    Ok(Dealt { dealing: run.dealing.to_string(), version: kept.version, folders: run.dealt() })
}

/// The dealer's number.
fn check(config: &ClusterConfig, identity: &Identity, options: &DealOptions) -> Result<usize> {
    if config.dealer != Dealer::Offline {
        let hint = "write dealer = \"offline\" into everybody's subrosa.toml";
        return Err(Error::misuse("by the configuration the dealer is there in sessions, and deals in them", hint));
    }
    let me = config.party_number(identity.fingerprint()).filter(|&me| me == config.seats());
    let me = me.ok_or_else(|| {
        let name = config.parties.last().map_or("nobody", |p| p.name.as_str());
        Error::misuse(format!("this identity is not the dealer's, who is {name}"), "deal at the dealer's machine")
    })?;
    crate::plan::check_threads(options.threads)?;
    let Limits { batch, .. } = config.limits;
    if options.batch == 0 || options.batch > batch || options.count == 0 || options.count > MOST {
        let message = format!("{} batches of {} samples are not possible", options.count, options.batch);
        return Err(Error::misuse(message, &format!("choose 1 to {MOST} batches of 1 to {batch} samples")));
    }
    Ok(me)
}

/// One run of the dealer.
struct Run<'a> {
    config: &'a ClusterConfig,
    identity: &'a Identity,
    purpose: Purpose,
    options: &'a DealOptions,
    dealing: Dealing,
    /// That it says to each server in a batch.
    bytes: Vec<u64>,
}

impl Run<'_> {
    fn names(&self) -> Vec<String> {
        self.config.parties.iter().take(self.config.seats()).map(|p| p.name.clone()).collect()
    }

    fn folders(&self) -> Vec<PathBuf> {
        self.names().iter().map(|name| self.options.out.join(name)).collect()
    }

    fn dealt(&self) -> Vec<DealtFolder> {
        let folders = self.names().into_iter().zip(self.folders()).zip(&self.bytes);
        folders.map(|((party, folder), &b)| DealtFolder { party, folder, bytes: key_file_bytes(b) }).collect()
    }

    /// One file for each server, complete where it is there at all. Where it is there for some only,
    /// they pass it over when they agree.
    fn batch(&self, model: &[u8], index: u64) -> Result<()> {
        let name = self.dealing.file(index);
        let parts: Vec<PathBuf> = self.folders().iter().map(|f| f.join(&name).with_extension("part")).collect();
        let written = self.write(model, index, &parts);
        let placed = written.and_then(|()| {
            let place = |part: &PathBuf| {
                let path = part.with_file_name(&name);
                std::fs::rename(part, &path).map_err(|e| Error::io("write", &path, &e))
            };
            parts.iter().try_for_each(place)?;
            self.folders().iter().try_for_each(|f| sync_folder(f).map_err(|e| Error::io("sync", f, &e)))
        });
        if placed.is_err() {
            // The error that matters is the first one.
            parts.iter().for_each(|part| drop(std::fs::remove_file(part)));
        }
        placed
    }

    fn write(&self, model: &[u8], index: u64, parts: &[PathBuf]) -> Result<()> {
        let mut recorders = Vec::new();
        for (party, (path, &bytes)) in parts.iter().zip(&self.bytes).enumerate() {
            let head = self.head(party, index).encode();
            let begun = create(path).and_then(|file| Recorder::begin(file, &head, bytes));
            recorders.push(begun.map_err(|e| Error::io("write", path, &e))?);
        }
        let links = recorders.iter().map(Recorder::link).collect();
        let dealt = subrosa_mpc::ahead::deal(&self.purpose, self.options.batch, model, &self.names(), links);
        for (recorder, path) in recorders.into_iter().zip(parts) {
            let seal = |digest: &[u8; 32]| self.identity.sign(SIGNED, digest).map_err(io::Error::other);
            // What the disk said is a better answer than what the session made of it.
            match (recorder.finish(seal), &dealt) {
                (Err(e), Ok(())) => return Err(Error::io("write", path, &e)),
                (Err(e), Err(_)) if e.kind() != io::ErrorKind::InvalidData => return Err(Error::io("write", path, &e)),
                (Ok(()) | Err(_), _) => {}
            }
        }
        Ok(dealt?)
    }

    fn head(&self, party: usize, index: u64) -> Head {
        let (batch, cluster) = (self.options.batch as u32, self.config.digest());
        Head { dealing: self.dealing, index, party: party as u32, batch, cluster, purpose: self.purpose.digest() }
    }
}

/// A new file that only this user reads.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
