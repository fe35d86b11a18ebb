//! Crates import only from lower floors (see `docs/architecture.md`).

#![expect(clippy::unwrap_used, reason = "metadata of another form fails the test")]

use serde_json::{Value, json};
use std::process::Command;

/// Every crate that may exist in the workspace, and its floor.
const FLOORS: [(&str, u32); 14] = [
    ("subrosa-core", 0),
    ("subrosa-graph", 1),
    ("subrosa-ring", 1),
    ("subrosa-lattice", 1),
    ("subrosa-net", 1),
    ("subrosa-mpc", 2),
    ("subrosa-he", 2),
    ("subrosa-tee", 2),
    ("subrosa", 3),
    ("subrosa-serve", 4),
    ("subrosa-py", 4),
    ("subrosa-web", 4),
    ("subrosa-bench", 4),
    ("subrosa-cli", 5),
];

/// Development only: it may import anything, and nothing may import it.
const TOOLS: [&str; 1] = ["subrosa-bench"];

/// Blind to each other even in tests.
const FAMILIES: [&str; 3] = ["subrosa-mpc", "subrosa-he", "subrosa-tee"];

#[test]
fn crates_import_only_from_lower_floors() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata = serde_json::from_slice(&output.stdout).unwrap();
    assert!(packages(&metadata).len() >= 8, "the workspace was not read");
    assert_eq!(breaches(&metadata), Vec::<String>::new());
}

#[test]
fn each_kind_of_breach_is_found() {
    let found = |packages: Value| breaches(&json!({ "packages": packages }));
    let package = |name: &str, dependency: &str, kind: Value| json!([{ "name": name, "dependencies": [{ "name": dependency, "kind": kind }] }]);
    assert_eq!(found(package("subrosa", "subrosa-core", Value::Null)).len(), 0);
    assert_eq!(found(package("subrosa-core", "aes", Value::Null)).len(), 0, "crates of others are not our floors");
    assert_eq!(found(package("subrosa-core", "subrosa-graph", json!("dev"))).len(), 0);
    assert_eq!(found(package("subrosa-bench", "subrosa-cli", Value::Null)).len(), 0);

    assert_eq!(found(package("subrosa-core", "subrosa-graph", Value::Null)).len(), 1, "upwards");
    assert_eq!(found(package("subrosa-graph", "subrosa-ring", Value::Null)).len(), 1, "same floor");
    assert_eq!(found(package("subrosa-graph", "subrosa-ring", json!("build"))).len(), 1, "build dependency");
    assert_eq!(found(package("subrosa-he", "subrosa-mpc", json!("dev"))).len(), 1, "family, in tests");
    assert_eq!(found(package("subrosa-cli", "subrosa-bench", json!("dev"))).len(), 1, "a tool imported");
    assert_eq!(found(package("subrosa-common", "aes", Value::Null)).len(), 1, "unknown crate");
    assert_eq!(found(package("subrosa-cli", "subrosa-common", Value::Null)).len(), 1, "unknown import");
}

/// One sentence for each breach.
fn breaches(metadata: &Value) -> Vec<String> {
    packages(metadata).iter().flat_map(package_breaches).collect()
}

fn package_breaches(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap();
    let Some(own) = floor(name) else {
        return vec![format!("{name} has no floor: give it one in this test and in docs/architecture.md")];
    };
    let dependencies = package["dependencies"].as_array().unwrap();
    dependencies.iter().filter_map(|d| dependency_breach(name, own, d)).collect()
}

fn dependency_breach(name: &str, own: u32, dependency: &Value) -> Option<String> {
    let imported = dependency["name"].as_str().unwrap();
    if !imported.starts_with("subrosa") {
        return None;
    }
    let Some(floor) = floor(imported) else {
        return Some(format!("{name} imports {imported}, which has no floor"));
    };
    if TOOLS.contains(&imported) {
        return Some(format!("{name} imports {imported}, which is for development only"));
    }
    if name != imported && FAMILIES.contains(&name) && FAMILIES.contains(&imported) {
        return Some(format!("{name} imports {imported}: the families of protection are blind to each other"));
    }
    let dev = dependency["kind"].as_str() == Some("dev");
    let allowed = dev || TOOLS.contains(&name) || floor < own;
    (!allowed).then(|| format!("{name} (floor {own}) imports {imported} (floor {floor})"))
}

fn packages(metadata: &Value) -> &Vec<Value> {
    metadata["packages"].as_array().unwrap()
}

fn floor(name: &str) -> Option<u32> {
    FLOORS.iter().find(|(n, _)| *n == name).map(|(_, floor)| *floor)
}
