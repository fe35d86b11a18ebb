//! Small ONNX files, written field by field: what no exporter would write.

/// A model of opset 17 from `x [N, 4]` to `y`, of nodes `(name, operator, inputs, output)`
/// (inputs separated by commas) and float tensors `(name, dims, values)`.
pub(crate) fn model(nodes: &[(&str, &str, &str, &str)], tensors: &[(&str, &[i64], &[f32])]) -> Vec<u8> {
    let mut graph = Vec::new();
    nodes.iter().for_each(|n| bytes(&mut graph, 1, &node(*n)));
    bytes(&mut graph, 2, b"graph");
    tensors.iter().for_each(|t| bytes(&mut graph, 5, &tensor(*t)));
    bytes(&mut graph, 11, &value("x"));
    bytes(&mut graph, 12, &value("y"));
    let mut opset = Vec::new();
    number(&mut opset, 2, 17);
    let mut out = Vec::new();
    number(&mut out, 1, 8);
    bytes(&mut out, 7, &graph);
    bytes(&mut out, 8, &opset);
    out
}

fn node((name, op, inputs, output): (&str, &str, &str, &str)) -> Vec<u8> {
    let mut out = Vec::new();
    inputs.split(',').for_each(|i| bytes(&mut out, 1, i.as_bytes()));
    bytes(&mut out, 2, output.as_bytes());
    bytes(&mut out, 3, name.as_bytes());
    bytes(&mut out, 4, op.as_bytes());
    out
}

fn tensor((name, dims, values): (&str, &[i64], &[f32])) -> Vec<u8> {
    let mut out = Vec::new();
    dims.iter().for_each(|d| number(&mut out, 1, *d as u64));
    number(&mut out, 2, 1);
    bytes(&mut out, 8, name.as_bytes());
    bytes(&mut out, 9, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
    out
}

/// A float tensor `[N, 4]`.
fn value(name: &str) -> Vec<u8> {
    let mut batch = Vec::new();
    bytes(&mut batch, 2, b"N");
    let mut features = Vec::new();
    number(&mut features, 1, 4);
    let mut shape = Vec::new();
    bytes(&mut shape, 1, &batch);
    bytes(&mut shape, 1, &features);
    let mut tensor = Vec::new();
    number(&mut tensor, 1, 1);
    bytes(&mut tensor, 2, &shape);
    let mut kind = Vec::new();
    bytes(&mut kind, 1, &tensor);
    let mut out = Vec::new();
    bytes(&mut out, 1, name.as_bytes());
    bytes(&mut out, 2, &kind);
    out
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u64, content: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
