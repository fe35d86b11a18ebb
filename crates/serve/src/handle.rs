//! The way to change what a running server has.

use crate::access::Clients;
use crate::catalogue::Catalogue;
use crate::http::App;
use crate::log;
use serde_json::json;
use std::fmt::Display;
use std::sync::Arc;

/// A running server, to whoever runs it.
#[derive(Clone)]
pub struct Handle {
    app: Arc<App>,
}

impl Handle {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// The models as they are now.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.app.catalogue()
    }

    /// From now on answers with these models. Requests that have begun finish on the old ones, which
    /// end with the last of them; keys for plans that are gone are forgotten.
    pub fn replace(&self, catalogue: Catalogue) {
        let models: Vec<String> = catalogue.names().map(|(name, version)| format!("{name}@{version}")).collect();
        self.app.replace(catalogue);
        log::line("reloaded", self.app.warning(), &json!({ "models": models }));
    }

    /// From now on answers these clients only.
    pub fn admit_only(&self, clients: impl Into<Clients>) {
        self.app.admit_only(clients.into());
        log::line("clients-reloaded", self.app.warning(), &json!({}));
    }

    /// Says in the log why everything stays as it is.
    pub fn refused(&self, error: &dyn Display) {
        log::line("reload-refused", self.app.warning(), &json!({ "error": error.to_string() }));
    }
}
