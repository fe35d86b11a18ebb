//! New models and keys for a server that runs: on SIGHUP, or where files change.

use super::Serve;
use crate::failure::{Failure, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use subrosa_serve::Handle;
use tokio::signal::unix::{SignalKind, signal};

/// Reads models and keys anew whenever they should be; does not end. Whoever takes a key away waits
/// for no model, and not for one that is of no use.
pub(super) async fn reloads(serve: Arc<Serve>, handle: Handle) {
    let keys = serve.clients.paths().collect();
    let clients = repeated(&serve, &handle, Watched::new(keys), Serve::reload_clients);
    let models = repeated(&serve, &handle, Watched::new(serve.models.paths().collect()), Serve::reload_models);
    tokio::join!(clients, models);
}

async fn repeated(serve: &Arc<Serve>, to: &Handle, mut watched: Watched, load: fn(&Serve, &Handle) -> Result<()>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return std::future::pending().await };
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            () = watched.changed(), if serve.watch => {}
        }
        watched.seen = watched.stamps();
        let (loading, handle) = (Arc::clone(serve), to.clone());
        // Compiling and planning take their time: beside the connections.
        let loaded = tokio::task::spawn_blocking(move || load(&loading, &handle)).await;
        match loaded {
            Ok(Ok(())) => {}
            Ok(Err(Failure::Library(error))) => to.refused(&error),
            Ok(Err(Failure::Negative | Failure::Output(_))) => to.refused(&"standard output is gone"),
            Err(_) => to.refused(&"a file made the program fail"),
        }
    }
}

impl Serve {
    /// A file of keys that is of no use changes nothing of who may ask.
    fn reload_clients(&self, handle: &Handle) -> Result<()> {
        if let Some(clients) = self.clients.reread()? {
            handle.admit_only(clients);
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
    fn new(paths: Vec<PathBuf>) -> Self {
        let mut watched = Self { paths, seen: Vec::new() };
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
