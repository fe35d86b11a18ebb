//! `subrosa dealer ...`: the dealer's part ahead of time.

use super::run::named_version;
use crate::failure::Result;
use crate::print;
use crate::progress::Bar;
use crate::remote::ClusterFlags;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use subrosa::deploy::{DealOptions, Dealt, deal};
use subrosa::text;

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Dealer {
    /// Deal keys for a model that the parties keep: one file a batch for each server, to be used once
    Deal(Deal),
}

impl Dealer {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Deal(command) => command.run(),
        }
    }
}

/// Keys for batches to come.
#[derive(Args)]
pub(crate) struct Deal {
    /// A model that was provisioned while the dealer was there, NAME or NAME@VERSION
    model: String,
    #[command(flatten)]
    cluster: ClusterFlags,
    /// The dealer's state, as of `party run`
    #[arg(long, value_name = "FOLDER", default_value = "state")]
    state: PathBuf,
    /// The key that encrypts it [default: the one in the state folder]
    #[arg(long, value_name = "FILE")]
    store_key: Option<PathBuf>,
    /// Samples in each batch; clients have to ask for batches of this size
    #[arg(long, value_name = "N")]
    batch: usize,
    /// Batches
    #[arg(long, value_name = "K", default_value_t = 1)]
    count: u64,
    /// Where the files go, in a folder for each server
    #[arg(long, value_name = "FOLDER", default_value = "keys")]
    out: PathBuf,
    /// Threads
    #[arg(long, value_name = "T", default_value_t = 1)]
    threads: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Deal {
    fn run(self) -> Result<()> {
        let (config, identity) = self.cluster.parts()?;
        let (model, version) = named_version(&self.model)?;
        let options = DealOptions {
            model: model.to_owned(),
            version,
            batch: self.batch,
            count: self.count,
            out: self.out,
            state: self.state,
            store_key: self.store_key,
            threads: self.threads,
        };
        let mut bar = Bar::new();
        let dealt = deal(&config, &identity, &options, &mut |done| {
            bar.set(done, self.count, "batches dealt".to_owned());
        })?;
        drop(bar);
        match self.json {
            true => print::json(&as_json(&dealt, self.count)),
            false => print::out(&page(&dealt, model, self.batch, self.count)),
        }
    }
}

fn page(dealt: &Dealt, model: &str, batch: usize, count: u64) -> String {
    let batches = match count {
        1 => "1 batch".to_owned(),
        n => format!("{} batches", text::thousands(n)),
    };
    let version = dealt.version;
    let mut page = format!("dealt     {batches} of {} of {model}@{version}\n", text::counted(batch, "sample"));
    for folder in &dealt.folders {
        let (place, bytes) = (folder.folder.display(), text::thousands(folder.bytes));
        page += &format!("for {:<5} {place}: {bytes} bytes a batch, for its eyes only\n", folder.party);
    }
    page
}

fn as_json(dealt: &Dealt, count: u64) -> serde_json::Value {
    let folder = |f: &subrosa::deploy::DealtFolder| json!({"party": f.party, "folder": f.folder, "bytes": f.bytes});
    let folders: Vec<_> = dealt.folders.iter().map(folder).collect();
    json!({"dealing": dealt.dealing, "version": dealt.version, "batches": count, "servers": folders})
}
