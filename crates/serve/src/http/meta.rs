//! Health, metadata, metrics: what has no body.

use super::reply::{json, response};
use super::{App, Named, encrypted, shared};
use crate::catalogue::{Served, Way, Work};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use serde_json::{Value, json as value};
use std::sync::Arc;
use subrosa::Port;

pub(super) async fn server(State(app): State<Arc<App>>) -> Response<Body> {
    let mut about = value!({
        "name": NAME,
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": [extension(app.catalogue().way())],
    });
    if let (Some(warning), Some(about)) = (app.warning(), about.as_object_mut()) {
        about.insert("warning".to_owned(), Value::from(warning));
    }
    json(StatusCode::OK, &about)
}

pub(super) async fn live() -> Response<Body> {
    json(StatusCode::OK, &value!({ "live": true }))
}

pub(super) async fn ready(State(app): State<Arc<App>>) -> Response<Body> {
    json(readiness(&app), &value!({ "ready": app.is_ready() }))
}

pub(super) async fn model_ready(State(app): State<Arc<App>>, Path(named): Path<Named>) -> Response<Body> {
    match app.find(&named) {
        Ok(model) => json(readiness(&app), &value!({ "name": model.name, "ready": app.is_ready() })),
        Err(refusal) => refusal.response(),
    }
}

pub(super) async fn model(State(app): State<Arc<App>>, Path(named): Path<Named>) -> Response<Body> {
    let ports = |ports: &[Port]| ports.iter().map(port).collect::<Vec<_>>();
    match app.find(&named) {
        Ok(served) => json(
            StatusCode::OK,
            &value!({
                "name": served.name,
                "versions": app.catalogue().versions(&served.name),
                "platform": platform(&served),
                "extensions": [extension(app.catalogue().way())],
                "inputs": ports(&served.inputs),
                "outputs": ports(&served.outputs),
            }),
        ),
        Err(refusal) => refusal.response(),
    }
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response<Body> {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    app.metrics.key_bytes.set(i64::try_from(app.keys.taken()).unwrap_or(i64::MAX));
    match app.metrics.text() {
        Some(text) => response(StatusCode::OK, kind, text.into_bytes()),
        None => response(StatusCode::INTERNAL_SERVER_ERROR, kind, Vec::new()),
    }
}

pub(crate) fn platform(served: &Served) -> &'static str {
    match &served.work {
        Work::Values(_) => "onnx_tract",
        Work::Ciphertexts(_) => "subrosa_ckks",
        Work::Shares(_) => "subrosa_shares",
    }
}

pub(crate) fn extension(way: &Way) -> &'static str {
    match way {
        Way::Clear => "binary_tensor_data",
        Way::Attested(_) => "subrosa_attested_channel",
        Way::Encrypted => encrypted::EXTENSION,
        Way::Relayed(_) => shared::EXTENSION,
    }
}

fn readiness(app: &App) -> StatusCode {
    if app.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn port(port: &Port) -> Value {
    value!({ "name": port.name, "datatype": "FP32", "shape": shape(port).collect::<Vec<_>>() })
}

/// The protocol writes -1 for an axis of any size.
pub(crate) fn shape(port: &Port) -> impl Iterator<Item = i64> {
    let dims = port.shape.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX));
    dims.enumerate().map(|(i, d)| if i == 0 && port.batched { -1 } else { d })
}

/// What the server calls itself.
pub(crate) const NAME: &str = "subrosa";
