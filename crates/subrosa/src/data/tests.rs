use super::*;
use crate::output::{Output, Phase};
use proptest::prelude::*;
use std::io::Write;

fn port(dims: &[usize]) -> Port {
    Port { name: "x".into(), shape: dims.to_vec(), batched: true }
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, dims.len() as u8];
    out.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
    out.extend(data);
    out
}

fn picture(width: u32, height: u32, color: ::png::ColorType, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut out, width, height);
    encoder.set_color(color);
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    out
}

fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in members {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn error(name: &str, bytes: &[u8]) -> String {
    Dataset::parse(name, bytes).unwrap_err().to_string()
}

#[test]
fn npy_round_trips() {
    let bytes = npy::write(&[2, 3], &[1.0, -2.5, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!((bytes.len() - 24) % 64, 0, "the header is padded to 64 bytes");
    let array = &Dataset::parse("x.npy", &bytes).unwrap().arrays[0];
    assert_eq!((array.dims.as_slice(), array.values[1]), (&[2, 3][..], -2.5));
}

#[test]
fn npy_of_other_types_and_orders() {
    let file = |header: &str, data: &[u8]| {
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend((header.len() as u16).to_le_bytes());
        out.extend(header.as_bytes());
        out.extend(data);
        out
    };
    let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 2), }\n";
    let bytes = file(header, &[0, 1, 0, 2, 0, 3, 0xff, 0xff]);
    assert_eq!(Dataset::parse("x.npy", &bytes).unwrap().arrays[0].values, [1.0, 3.0, 2.0, -1.0]);
    let half = file("{'descr': '<f2', 'fortran_order': False, 'shape': (1,), }", &[0, 0]);
    assert!(error("x.npy", &half).contains("save it as float32"));
    let object = file("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\x80\x04.");
    assert!(error("x.npy", &object).contains("'|O' is not supported"));
    let huge = file("{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 4000000000), }", &[]);
    assert!(error("x.npy", &huge).contains("claims to hold [4000000000, 4000000000]"));
    let short = file("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", &[0; 8]);
    assert!(error("x.npy", &short).contains("promises 12 bytes of data, it holds 8"));
}

#[test]
fn npz_arrays_are_found_by_name() {
    let bytes =
        npz(&[("x.npy", npy::write(&[1, 2], &[1.0, 2.0])), ("y.npy", npy::write(&[1], &[7.0])), ("note.txt", vec![1])]);
    let data = Dataset::parse("d.npz", &bytes).unwrap();
    assert_eq!(data.fit(&[port(&[1, 2])]).unwrap().inputs[0], [1.0, 2.0]);
    let other = Port { name: "image".into(), ..port(&[1, 2]) };
    assert!(data.fit(&[other]).unwrap_err().to_string().contains("no array named 'image' (it holds x, y)"));
}

#[test]
fn idx_pixels_are_scaled_and_labels_are_not() {
    let data = Dataset::parse("t-images-idx3-ubyte.gz", &gz(&idx(&[2, 2, 2], &[0, 255, 51, 0, 1, 2, 3, 4]))).unwrap();
    let samples = data.fit(&[port(&[1, 1, 2, 2])]).unwrap();
    assert_eq!((samples.count, &samples.inputs[0][..3]), (2, &[0.0, 1.0, 0.2][..]));
    let labels = Dataset::parse("t-labels-idx1-ubyte", &idx(&[3], &[7, 2, 1])).unwrap();
    assert_eq!(labels.labels().unwrap(), [7, 2, 1]);
    assert!(error("a.idx", &idx(&[u32::MAX, u32::MAX, 9], &[])).contains("claims to hold"));
    assert!(error("a.idx", &idx(&[4], &[1, 2])).contains("promises 4 bytes of data, it holds 2"));
}

#[test]
fn png_grey_colour_and_transparency() {
    let grey = Dataset::parse("d.png", &picture(2, 1, ::png::ColorType::Grayscale, &[0, 255])).unwrap();
    assert_eq!(grey.fit(&[port(&[1, 1, 1, 2])]).unwrap().inputs[0], [0.0, 1.0]);
    let red = Dataset::parse("d.png", &picture(1, 1, ::png::ColorType::Rgb, &[255, 0, 0])).unwrap();
    assert_eq!(red.fit(&[port(&[1, 1, 1, 1])]).unwrap().inputs[0], [0.299]);
    assert_eq!(red.fit(&[port(&[1, 3, 1, 1])]).unwrap().inputs[0], [1.0, 0.0, 0.0]);
    let opaque = Dataset::parse("d.png", &picture(1, 1, ::png::ColorType::GrayscaleAlpha, &[51, 255])).unwrap();
    assert_eq!(opaque.fit(&[port(&[1, 1, 1, 1])]).unwrap().inputs[0], [0.2]);
    assert!(error("d.png", &picture(1, 1, ::png::ColorType::GrayscaleAlpha, &[9, 8])).contains("transparent"));
}

#[test]
fn png_of_another_size_is_refused_with_both_sizes() {
    let wide = Dataset::parse("d.png", &picture(4, 1, ::png::ColorType::Grayscale, &[0; 4])).unwrap();
    let text = wide.fit(&[port(&[1, 1, 2, 2])]).unwrap_err().to_string();
    assert!(text.contains("a picture of 4 x 1 pixels") && text.contains("takes [N, 1, 2, 2]"), "{text}");
}

#[test]
fn csv_headers_are_skipped_and_mistakes_are_not() {
    let table = |text: &str| Dataset::parse("t.csv", text.as_bytes()).map(|d| d.arrays[0].dims.clone());
    assert_eq!(table("1,2\n3,4\n").unwrap(), [2, 2]);
    assert_eq!(table("a,b\n3,4\n").unwrap(), [1, 2]);
    assert_eq!(table("569,30,malignant,benign\n1,2,0\n3,4,1\n").unwrap(), [2, 3]);
    assert_eq!(table("\u{feff}a;b\r\n3;4\r\n").unwrap(), [1, 2]);
    let message = |text: &str| table(text).unwrap_err().to_string();
    assert!(message("1,2o\n3,4\n").contains("line 1, column 2 is no number: '2o'"));
    assert!(message("1,2\n3\n").contains("line 2 has 1 columns where the first has 2"));
    assert!(message("1\n2,3\n").contains("line 2 has 2 columns where the first has 1"));
    assert!(message("1,\n3,4\n").contains("line 1, column 2 is empty"));
    assert!(message("a,b\n").contains("holds no numbers"));
    assert!(message("").contains("holds no numbers"));
}

#[test]
fn a_last_column_beyond_the_features_is_the_label() {
    let data = Dataset::parse("t.csv", b"1,2,0\n3,4,1\n").unwrap();
    let samples = data.fit(&[port(&[1, 2])]).unwrap();
    assert_eq!(samples, Samples { inputs: vec![vec![1.0, 2.0, 3.0, 4.0]], count: 2, labels: Some(vec![0, 1]) });
    assert_eq!(data.fit(&[port(&[1, 3])]).unwrap().labels, None);
    let text = data.fit(&[port(&[1, 9])]).unwrap_err().to_string();
    assert!(text.contains("holds 3 columns, but input 'x' takes [N, 9]"), "{text}");
    let odd = Dataset::parse("t.csv", b"1,2,0.5\n").unwrap();
    assert!(odd.fit(&[port(&[1, 2])]).unwrap_err().to_string().contains("label of sample 1 is no whole number"));
}

#[test]
fn one_sample_needs_no_batch_axis() {
    let data = Dataset::parse("x.npy", &npy::write(&[2, 2], &[1.0; 4])).unwrap();
    assert_eq!(data.fit(&[port(&[1, 1, 2, 2])]).unwrap().count, 1);
    assert_eq!(data.fit(&[port(&[1, 2])]).unwrap().count, 2);
    assert!(data.fit(&[port(&[1, 3])]).is_err());
}

#[test]
fn damaged_files_say_so() {
    assert!(error("x.npz", b"PK\x03\x04rest").contains("no zip archive"));
    assert!(error("x.png", b"\x89PNG\r\n").contains("damaged or cut short"));
    assert!(error("x.csv.gz", &gz(b"1,2,3\n")[..12]).contains("damaged or cut short"));
    assert!(error("x.gz", b"plain").contains("is not gzipped"));
    assert!(error("x.bin", &[0xff, 0xfe, 0x00]).contains("no known format"));
}

/// A gibibyte and more of zeros packs to a megabyte: unpacking stops at the limit.
#[test]
fn archives_cannot_unpack_without_end() {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeros = vec![0u8; 1 << 24];
    (0..65).for_each(|_| writer.write_all(&zeros).unwrap());
    assert!(error("x.csv.gz", &writer.finish().unwrap()).contains("more than 1 GiB"));
}

fn output() -> Output {
    Output {
        model: "m".into(),
        via: crate::Via::Plain,
        labels_only: false,
        samples: 2,
        ports: vec![port(&[1, 2])],
        values: vec![vec![0.25, 0.5, 3.0, -1.0]],
        setup: Phase::default(),
        batches: Vec::new(),
    }
}

#[test]
fn outputs_are_saved_whole_in_each_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["y.npy", "y.json", "y.csv"] {
        save::output(path(name), &output()).unwrap();
    }
    let array = Dataset::read(path("y.npy")).unwrap().arrays.remove(0);
    assert_eq!((array.dims, array.values), (vec![2, 2], output().values[0].clone()));
    let csv = std::fs::read_to_string(path("y.csv")).unwrap();
    assert_eq!(csv, "sample,label,output_0,output_1\n0,1,0.25,0.5\n1,0,3,-1\n");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path("y.json")).unwrap()).unwrap();
    assert_eq!(json["values"][0][2], 3.0);
    assert!(save::output(path("y.txt"), &output()).is_err());
    assert!(save::output(path("none/y.npy"), &output()).unwrap_err().to_string().contains("cannot write"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "no part files are left");
}

/// A valid file of each format.
fn valid() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a.npy", npy::write(&[2, 2], &[1.0, 2.0, 3.0, 4.0])),
        ("a.npz", npz(&[("x.npy", npy::write(&[1, 2], &[1.0, 2.0]))])),
        ("a.png", picture(2, 2, ::png::ColorType::Rgb, &[7; 12])),
        ("a.idx", idx(&[1, 2, 2], &[1, 2, 3, 4])),
        ("a.csv", b"a,b,c\n1,2,0\n3,4,1\n".to_vec()),
        ("a.csv.gz", gz(b"1,2,0\n3,4,1\n")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is done to a file, reading and fitting it ends in samples or an error.
    #[test]
    fn mutated_files_never_panic(
        which in 0usize..6,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let (name, mut bytes) = valid().swap_remove(which);
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(data) = Dataset::parse(name, &bytes) {
            let _ = data.labels();
            if let Ok(samples) = data.fit(&[port(&[1, 1, 2, 2])]) {
                prop_assert_eq!(samples.inputs[0].len(), samples.count * 4);
            }
        }
    }

    #[test]
    fn npy_keeps_any_values(values in prop::collection::vec(any::<f32>(), 1..40)) {
        let bytes = npy::write(&[values.len()], &values);
        let read = npy::parse(&bytes).unwrap();
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&read.values), bits(&values));
    }
}
