//! The models and images that come with the program: in the current directory, or in the
//! source tree it was built from.

use crate::failure::Result;
use std::path::{Path, PathBuf};
use subrosa::{Error, Model};

const MODELS: [&str; 4] = ["mlp", "cnn", "lenet", "lenet5"];

/// Names of the image files.
pub(super) const IMAGES: &str = "t10k-images-idx3-ubyte.gz";
pub(super) const CALIBRATION: &str = "train-first1000-images-idx3-ubyte.gz";

/// Values of a sample of MNIST.
const PIXELS: usize = 28 * 28;

pub(super) fn models() -> Result<Vec<PathBuf>> {
    MODELS.iter().map(|name| find(&format!("models/{name}.onnx"))).collect()
}

/// One of them, by name.
pub(super) fn model(name: &str) -> Result<PathBuf> {
    find(&format!("models/{name}.onnx"))
}

/// The folder of other libraries' adapters.
pub(super) fn peers() -> Result<PathBuf> {
    let readme = find("peers/README.md")?;
    Ok(readme.parent().map(Path::to_path_buf).unwrap_or_default())
}

pub(super) fn images() -> Result<PathBuf> {
    find(&format!("data/mnist/{IMAGES}"))
}

pub(super) fn labels() -> Result<PathBuf> {
    find("data/mnist/t10k-labels-idx1-ubyte.gz")
}

/// What the shipped models of digits are calibrated on, if `model` at `path` stands where one of them
/// does, beside the data.
pub(crate) fn calibration_for(model: &Model, path: &Path) -> Option<PathBuf> {
    let images = path.parent()?.join("../data/mnist").join(CALIBRATION);
    (check_inputs(std::slice::from_ref(model)).is_ok() && images.is_file()).then_some(images)
}

pub(super) fn calibration() -> Result<PathBuf> {
    find(&format!("data/mnist/{CALIBRATION}"))
}

/// The shipped images only fit models of 28 x 28 pixels.
pub(super) fn check_inputs(models: &[Model]) -> Result<()> {
    let fits = |m: &&Model| matches!(m.inputs(), [port] if port.sample_len() == PIXELS);
    match models.iter().find(|m| !fits(m)) {
        None => Ok(()),
        Some(model) => Err(Error::Misuse {
            message: format!("the shipped MNIST images do not fit model '{}'", model.name()),
            hint: Some("give its samples: --data FILE, and --labels FILE if known".to_owned()),
        }
        .into()),
    }
}

fn find(relative: &str) -> Result<PathBuf> {
    let source_tree = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let places = [Path::new("."), source_tree];
    let found = places.iter().map(|place| place.join(relative)).find(|path| path.is_file());
    found.map(|path| path.strip_prefix("./").map(Path::to_path_buf).unwrap_or(path)).ok_or_else(|| {
        Error::Misuse {
            message: format!("{relative} is neither here nor in the source tree"),
            hint: Some("run in the repository, or give --model FILE and --data FILE".to_owned()),
        }
        .into()
    })
}
