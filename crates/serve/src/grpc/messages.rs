//! The messages of `inference.GRPCInferenceService`, as far as this server reads and writes them.
//!
//! **Source:** the Open Inference Protocol, version 2, over gRPC:
//! <https://github.com/kserve/open-inference-protocol>. Numbers of fields are facts of that
//! interface. A field that is not here is skipped when it comes, without memory being taken for it:
//! parameters, and contents of other datatypes than 32-bit floating point.

use prost::Message;
use prost::bytes::Bytes;

/// Of `ServerLive`, `ServerReady`, `ServerMetadata`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Empty {}

/// Of `ServerLive`, `ServerReady` and `ModelReady`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Yes {
    #[prost(bool, tag = "1")]
    pub(super) yes: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ServerMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) extensions: Vec<String>,
}

/// Of `ModelReady` and `ModelMetadata`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelName {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) versions: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) platform: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) inputs: Vec<TensorMetadata>,
    #[prost(message, repeated, tag = "5")]
    pub(super) outputs: Vec<TensorMetadata>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(super) shape: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InferRequest {
    #[prost(string, tag = "1")]
    pub(super) model_name: String,
    #[prost(string, tag = "2")]
    pub(super) model_version: String,
    #[prost(string, tag = "3")]
    pub(super) id: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) inputs: Vec<Tensor>,
    #[prost(message, repeated, tag = "6")]
    pub(super) outputs: Vec<Wanted>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub(super) raw_inputs: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InferResponse {
    #[prost(string, tag = "1")]
    pub(super) model_name: String,
    #[prost(string, tag = "2")]
    pub(super) model_version: String,
    #[prost(string, tag = "3")]
    pub(super) id: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) outputs: Vec<Tensor>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub(super) raw_outputs: Vec<Bytes>,
}

/// An input or an output.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Tensor {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(super) shape: Vec<i64>,
    #[prost(message, optional, tag = "5")]
    pub(super) contents: Option<Contents>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Contents {
    #[prost(float, repeated, tag = "6")]
    pub(super) fp32: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Wanted {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}
