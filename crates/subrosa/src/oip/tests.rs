use super::*;
use proptest::prelude::*;

fn ports() -> Vec<Port> {
    vec![Port { name: "x".into(), shape: vec![1, 2], batched: true }]
}

fn decode(text: &str) -> Result<InferRequest> {
    InferRequest::decode(text.as_bytes(), None)
}

#[test]
fn the_protocols_own_example_is_read() {
    // The request of the specification's "Inference Request Examples", with a shape of ours.
    let text = r#"{ "id": "42", "inputs": [ { "name": "x", "shape": [ 2, 2 ], "datatype": "FP32",
        "data": [ 1, 2.5, -3, 4e0 ] } ], "outputs": [ { "name": "y" } ], "unknown": { "is": "left" } }"#;
    let request = decode(text).unwrap();
    assert_eq!((request.id.as_deref(), request.binary), (Some("42"), false));
    assert_eq!(request.outputs, [Wanted { name: "y".into(), binary: None }]);
    assert_eq!(request.fit(&ports(), 8).unwrap(), (vec![vec![1.0, 2.5, -3.0, 4.0]], 2));
}

#[test]
fn nested_data_is_flat_data() {
    let nested = r#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2],[3,4]]}]}"#;
    assert_eq!(decode(nested).unwrap().inputs[0].values, [1.0, 2.0, 3.0, 4.0]);
    let deep = "[".repeat(1000);
    let text = format!(r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"FP32","data":{deep}"#);
    assert!(decode(&text).unwrap_err().to_string().contains("the message"));
}

#[test]
fn what_is_wrong_is_named() {
    let one = |tensor: &str| decode(&format!(r#"{{"inputs":[{tensor}]}}"#)).map(|r| r.fit(&ports(), 2));
    for (tensor, said) in [
        (r#"{"name":"x","shape":[1,2],"datatype":"INT64","data":[1,2]}"#, "is of the datatype INT64"),
        (r#"{"name":"x","shape":[1,2],"datatype":"FP32","data":[1]}"#, "holds 1 values, which its shape does not"),
        (r#"{"name":"x","shape":[1,2],"datatype":"FP32"}"#, "both or neither"),
        (
            r#"{"name":"x","shape":[1,2],"datatype":"FP32","data":["a"]}"#,
            "a field that is missing, too long or of another kind",
        ),
        (r#"{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2"#, "is cut off"),
        (r#"{"name":"x","shape":[9223372036854775807,9],"datatype":"FP32","data":[]}"#, "its shape does not"),
        (r#"{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}"#, "are not there"),
    ] {
        let error = one(tensor).unwrap_err().to_string();
        assert!(error.contains(said), "{tensor}: {error}");
    }
    for (tensor, said) in [
        (r#"{"name":"z","shape":[1,2],"datatype":"FP32","data":[1,2]}"#, "no input 'z'; it takes x"),
        (r#"{"name":"x","shape":[2,1],"datatype":"FP32","data":[1,2]}"#, "the shape [2, 1]; it takes [N, 2]"),
        (r#"{"name":"x","shape":[3,2],"datatype":"FP32","data":[1,2,3,4,5,6]}"#, "send 1 to 2"),
        (r#"{"name":"x","shape":[0,2],"datatype":"FP32","data":[]}"#, "0 samples"),
    ] {
        let error = one(tensor).unwrap().unwrap_err().to_string();
        assert!(error.contains(said), "{tensor}: {error}");
    }
    let twice = r#"{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}"#;
    assert!(one(&format!("{twice},{twice}")).unwrap().unwrap_err().to_string().contains("given twice"));
    assert!(decode(r#"{"inputs":[]}"#).unwrap().fit(&ports(), 2).unwrap_err().to_string().contains("'x' is missing"));
}

#[test]
fn only_the_data_may_be_long() {
    let tensor = |shape: &str| format!(r#"{{"name":"x","shape":[{shape}],"datatype":"FP32","data":[1]}}"#);
    let inputs = |tensors: &[String]| decode(&format!(r#"{{"inputs":[{}]}}"#, tensors.join(",")));
    let dims = |n: usize| vec!["1"; n].join(",");
    assert_eq!(inputs(&[tensor(&dims(32))]).unwrap().inputs[0].shape.len(), 32);
    assert_eq!(inputs(&vec![tensor("1"); 256]).unwrap().inputs.len(), 256);
    for long in [inputs(&[tensor(&dims(33))]), inputs(&vec![tensor("1"); 257])] {
        assert!(long.unwrap_err().to_string().contains("too long"));
    }
    let outputs =
        |n: usize| decode(&format!(r#"{{"inputs":[],"outputs":[{}]}}"#, vec![r#"{"name":"y"}"#; n].join(",")));
    assert!(outputs(256).is_ok() && outputs(257).unwrap_err().to_string().contains("too long"));
    let id = |n: usize| decode(&format!(r#"{{"id":"{}","inputs":[]}}"#, "a".repeat(n)));
    assert!(id(1024).is_ok() && id(1025).unwrap_err().to_string().contains("id has more than 1024 bytes"));
}

#[test]
fn wanted_outputs_are_chosen() {
    let request = |binary, outputs: &[(&str, Option<bool>)]| InferRequest {
        binary,
        outputs: outputs.iter().map(|(n, b)| Wanted { name: (*n).into(), binary: *b }).collect(),
        ..InferRequest::default()
    };
    let two = [ports(), vec![Port { name: "y".into(), ..ports().remove(0) }]].concat();
    assert_eq!(request(true, &[]).wanted(&two).unwrap(), [(0, true), (1, true)]);
    assert_eq!(request(true, &[("y", Some(false))]).wanted(&two).unwrap(), [(1, false)]);
    assert!(request(true, &[("y", None), ("y", None)]).wanted(&two).is_err());
    assert!(request(true, &[("z", None)]).wanted(&two).unwrap_err().to_string().contains("it gives x, y"));
}

#[test]
fn no_error_repeats_many_words() {
    let long = "n\u{7}".repeat(1 << 20);
    let tensor = |name: &str, datatype: &str, rest: &str| {
        let text = serde_json::json!({ "name": name, "shape": [1, 2], "datatype": datatype }).to_string();
        format!(r#"{{"inputs":[{},{rest}}}]}}"#, &text[..text.len() - 1])
    };
    let decoded = [
        tensor(&long, "X", r#""data":[1,2]"#),
        tensor("x", &long, r#""data":[1,2]"#),
        tensor(&long, "FP32", r#""data":[1]"#),
        tensor(&long, "FP32", r#""parameters":{"binary_data_size":8}"#),
        tensor(&long, "FP32", r#""data":[1,2],"parameters":{"binary_data_size":8}"#),
    ];
    let errors = decoded.iter().map(|text| decode(text).unwrap_err());
    let unknown = decode(&tensor(&long, "FP32", r#""data":[1,2]"#)).unwrap().fit(&ports(), 2).unwrap_err();
    let outputs = vec![Wanted { name: long.clone(), binary: None }];
    let unwanted = InferRequest { outputs, ..InferRequest::default() }.wanted(&ports()).unwrap_err();
    for error in errors.chain([unknown, unwanted]) {
        let text = error.to_string();
        assert!(text.len() < 1024 && !text.contains('\u{7}'), "{} bytes", text.len());
    }
}

#[test]
fn what_is_not_finite_is_named_by_its_place() {
    for bad in [f32::NAN, f32::NEG_INFINITY] {
        let values = vec![1.0, 2.0, 3.0, 4.0, 5.0, bad];
        let inputs = vec![Tensor { name: "x".into(), shape: vec![3, 2], values }];
        let error = InferRequest { inputs, ..InferRequest::default() }.fit(&ports(), 8).unwrap_err().to_string();
        assert_eq!(error, "the input 'x', sample 3, value 2 is not finite; replace NaN and infinities first");
    }
}

#[test]
fn no_error_repeats_a_value() {
    let text = r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[31337,"31337"]}]}"#;
    assert!(!decode(text).unwrap_err().to_string().contains("31337"));
}

proptest! {
    #[test]
    fn messages_come_back(
        values in proptest::collection::vec(proptest::num::f32::ANY, 1..20),
        id in proptest::option::of(".{0,10}"),
        binary: bool,
    ) {
        let tensor = Tensor { name: "x\"".into(), shape: vec![values.len(), 1], values };
        let bits = |t: &Tensor| t.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let request = InferRequest { id: id.clone(), inputs: vec![tensor.clone()], outputs: vec![], binary };
        let Message { body, json } = request.encode().unwrap();
        let back = InferRequest::decode(&body, json).unwrap();
        prop_assert_eq!(bits(&back.inputs[0]), bits(&tensor));
        prop_assert_eq!((back.id, back.binary), (id.clone(), binary));

        let response = InferResponse {
            model: "m".into(), version: Some("1".into()), id, warning: None, outputs: vec![(tensor.clone(), binary)],
        };
        let Message { body, json } = response.encode().unwrap();
        let back = InferResponse::decode(&body, json).unwrap();
        prop_assert_eq!(bits(&back.outputs[0].0), bits(&tensor), "as bytes or as text, each bit");
        // Cut anywhere, it is refused.
        for length in 0..body.len() {
            prop_assert!(InferResponse::decode(&body[..length], json).is_err());
        }
    }

    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200), json in proptest::option::of(0usize..300)) {
        let _ = InferRequest::decode(&body, json);
        let _ = InferResponse::decode(&body, json);
    }
}
