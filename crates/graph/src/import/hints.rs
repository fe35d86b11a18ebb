//! The way out for models with operators that are not supported.

/// What the owner of a model can do about an unsupported operator, where there is
/// something.
pub(crate) fn hint(op: &str) -> Option<&'static str> {
    match op {
        "ConvInteger" | "DequantizeLinear" | "DynamicQuantizeLinear" | "MatMulInteger" | "QuantizeLinear" => {
            Some("export the float model, before quantisation")
        }
        _ if op.starts_with("QLinear") => Some("export the float model, before quantisation"),
        "LayerNormalization" => Some("export with opset_version=16, which writes it as supported operators"),
        "GroupNormalization" | "InstanceNormalization" => {
            Some("use BatchNormalization, whose statistics are constants after training")
        }
        "If" | "Loop" | "Scan" => Some("export by tracing with a fixed input, so that no control flow is left"),
        "Elu" | "Selu" | "Celu" | "Softplus" | "Softsign" | "Mish" | "ThresholdedRelu" => {
            Some("use Relu, LeakyRelu, HardSwish, Sigmoid, Tanh or Gelu")
        }
        "LogSoftmax" | "Log" => Some("leave it out of the model and apply it to the result"),
        "TopK" => Some("leave it out of the model and sort the result, or use ArgMax"),
        "NonMaxSuppression" => Some("cut the model before it and run it on the result"),
        "LpPool" => Some("use AveragePool or MaxPool"),
        "Sequence" | "SequenceConstruct" | "SequenceAt" | "SplitToSequence" => Some("export without sequences"),
        "ZipMap" => Some("export with zipmap=False"),
        "LabelEncoder" | "Scaler" | "Normalizer" | "Imputer" => Some("apply it before the model"),
        _ => None,
    }
}
