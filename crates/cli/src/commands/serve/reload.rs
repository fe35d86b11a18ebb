//! New models and keys for a server that runs: on SIGHUP, or where files change.

use super::Serve;
use crate::failure::{Failure, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use subrosa_serve::Handle;
use tokio::signal::unix::{SignalKind, signal};

/// Reads everything anew whenever it should be; does not end.
pub(super) async fn reloads(serve: Arc<Serve>, handle: Handle) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return std::future::pending().await };
    let mut watched = Watched::new(&serve);
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            () = watched.changed(), if serve.watch => {}
        }
        watched.seen = watched.stamps();
        let (loading, to) = (Arc::clone(&serve), handle.clone());
        // Compiling and planning take their time: beside the connections.
        let loaded = tokio::task::spawn_blocking(move || loading.reload(&to)).await;
        match loaded {
            Ok(Ok(())) => {}
            Ok(Err(Failure::Library(error))) => handle.refused(&error),
            Ok(Err(Failure::Negative | Failure::Output(_))) => handle.refused(&"standard output is gone"),
            Err(_) => handle.refused(&"a model made the program fail"),
        }
    }
}

impl Serve {
    /// All or nothing: a model or file of keys that is of no use changes nothing.
    fn reload(&self, handle: &Handle) -> Result<()> {
        let old = handle.catalogue();
        let new = self.models.fill(old.alike(), Some(&old), &self.limits())?;
        let clients = self.clients.read()?;
        handle.replace(new);
        if let Some(clients) = clients {
            handle.admit_only(clients);
        }
        Ok(())
    }
}

/// Files that are looked at now and then.
struct Watched {
    paths: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
}

/// What changes when a file does.
type Stamp = (SystemTime, u64);

impl Watched {
    fn new(serve: &Serve) -> Self {
        let mut watched = Self { paths: serve.models.paths().chain(serve.clients.paths()).collect(), seen: Vec::new() };
        watched.seen = watched.stamps();
        watched
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.paths.iter().map(|path| stamp(path)).collect()
    }

    /// Done when they are others than were seen, and whoever writes them seems to be done too.
    async fn changed(&self) {
        let mut before = self.seen.clone();
        loop {
            tokio::time::sleep(EVERY).await;
            let now = self.stamps();
            if now != self.seen && now == before {
                return;
            }
            before = now;
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
