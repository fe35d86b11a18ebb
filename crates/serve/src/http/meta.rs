//! Health, metadata, metrics: what has no body.

use super::reply::{json, response};
use super::{App, Named};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use serde_json::{Value, json as value};
use std::sync::Arc;
use subrosa::Port;

pub(super) async fn server(State(app): State<Arc<App>>) -> Response<Body> {
    let extension = match app.catalogue.enclave() {
        None => "binary_tensor_data",
        Some(_) => "subrosa_attested_channel",
    };
    let mut about = value!({
        "name": "subrosa",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": [extension],
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
                "versions": app.catalogue.versions(&served.name),
                "platform": "onnx_tract",
                "inputs": ports(served.model.inputs()),
                "outputs": ports(served.model.outputs()),
            }),
        ),
        Err(refusal) => refusal.response(),
    }
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response<Body> {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match app.metrics.text() {
        Some(text) => response(StatusCode::OK, kind, text.into_bytes()),
        None => response(StatusCode::INTERNAL_SERVER_ERROR, kind, Vec::new()),
    }
}

fn readiness(app: &App) -> StatusCode {
    if app.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn port(port: &Port) -> Value {
    value!({ "name": port.name, "datatype": "FP32", "shape": shape(port) })
}

/// The protocol writes -1 for an axis of any size.
pub(super) fn shape(port: &Port) -> Value {
    let dim = |(i, &d): (usize, &usize)| if i == 0 && port.batched { Value::from(-1) } else { Value::from(d) };
    port.shape.iter().enumerate().map(dim).collect()
}
