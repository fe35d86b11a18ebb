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
        let loaded = tokio::task::spawn_blocking(move || {
            // Whoever takes a key away waits for no model, and not for one that is of no use.
            told(&to, loading.reload_clients(&to));
            told(&to, loading.reload_models(&to));
        });
        if loaded.await.is_err() {
            handle.refused(&"a model made the program fail");
        }
    }
}

fn told(handle: &Handle, loaded: Result<()>) {
    match loaded {
        Ok(()) => {}
        Err(Failure::Library(error)) => handle.refused(&error),
        Err(Failure::Negative | Failure::Output(_)) => handle.refused(&"standard output is gone"),
    }
}

impl Serve {
    /// A file of keys that is of no use changes nothing of who may ask.
    fn reload_clients(&self, handle: &Handle) -> Result<()> {
        if let Some(keys) = self.keys_now()? {
            handle.admit_only(keys);
        }
        Ok(())
    }

    /// All or nothing: a model that is of no use changes no model.
    fn reload_models(&self, handle: &Handle) -> Result<()> {
        let old = handle.catalogue();
        handle.replace(self.models.fill(old.alike(), Some(&old), &self.limits())?);
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
        let mut watched =
            Self { paths: serve.models.paths().chain(serve.api_keys.clone()).collect(), seen: Vec::new() };
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
