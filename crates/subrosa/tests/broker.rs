//! A broker on this machine, and programs that ask it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use subrosa::Result;
use subrosa::attest::{BrokerConfig, BrokerServer, Trust, seal_model, sign_policy};
use subrosa::deploy::{Identity, Validity};
use tempfile::TempDir;

fn model() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/mlp.onnx")).to_owned()
}

/// A policy that trusts no hardware that there is, and one simulator.
fn policy(folder: &Path, simulator: &str) -> String {
    let simulated = format!("allow_simulated = true\nsimulators = [\"{simulator}\"]\n");
    let text = format!(
        "version = 1\nname = \"owner\"\nserial = 1\n{}[nitro.pcr]\n0 = [\"{x}\"]\n1 = [\"{x}\"]\n2 = [\"{x}\"]\n",
        if simulator.is_empty() { String::new() } else { simulated },
        x = "07".repeat(48),
    );
    std::fs::write(folder.join("policy.toml"), text).unwrap();
    std::fs::write(folder.join("owner.key"), [5; 32]).unwrap();
    sign_policy(&folder.join("policy.toml"), &folder.join("owner.key"), &folder.join("signed.toml")).unwrap()
}

fn identity(folder: &Path, name: &str) -> Identity {
    let identity = Identity::create(name, Validity::days(1)).unwrap();
    identity.save(&folder.join(name), false).unwrap();
    identity
}

/// Seals mlp in versions 1 and 2, and writes a configuration.
fn scene(simulator: &str, key_use: &str, oldest: u64) -> (TempDir, BrokerConfig) {
    let folder = tempfile::tempdir().unwrap();
    let signer = policy(folder.path(), simulator);
    let trust = Trust::read(&folder.path().join("signed.toml"), std::slice::from_ref(&signer), 0, false).unwrap();
    let mut models = String::new();
    for version in [1, 2] {
        let at = |end: &str| folder.path().join(version.to_string()).join(format!("mlp.{end}"));
        std::fs::create_dir(folder.path().join(version.to_string())).unwrap();
        seal_model(&model(), version, &trust, &at("sealed"), &at("key")).unwrap();
        if version >= oldest {
            models += &format!(
                "[[model]]\nname = \"mlp\"\nsealed = \"{version}/mlp.sealed\"\nkey = \"{version}/mlp.key\"\n\
                 policy = \"signed.toml\"\nuse = \"{key_use}\"\noldest = {oldest}\n"
            );
        }
    }
    let server = identity(folder.path(), "server").fingerprint();
    let text = format!("signers = [\"{signer}\"]\n[[client]]\nname = \"server\"\nfingerprint = \"{server}\"\n{models}");
    std::fs::write(folder.path().join("broker.toml"), text).unwrap();
    let config = BrokerConfig::read(&folder.path().join("broker.toml")).unwrap();
    (folder, config)
}

fn start(folder: &Path, config: &BrokerConfig, flag: bool) -> Result<BrokerServer> {
    let identity = Identity::create("broker", Validity::days(1)).unwrap();
    BrokerServer::new(config, identity, &folder.join("state.json"), flag)
}

#[test]
fn versions_never_come_back() {
    let (folder, mut config) = scene("", "production", 0);
    assert!(start(folder.path(), &config, false).is_ok());
    config.models[1].oldest = 2;
    // The retired version's key is refused at once, and after a restart that has forgotten why.
    let error = start(folder.path(), &config, false).err().unwrap().to_string();
    assert!(error.contains("version 1 of the model is refused: 2 is the oldest"), "{error}");
    config.models[1].oldest = 0;
    assert!(start(folder.path(), &config, false).is_err());
    config.models.remove(0);
    assert!(start(folder.path(), &config, false).is_ok());
    std::fs::write(folder.path().join("state.json"), "{").unwrap();
    let error = start(folder.path(), &config, false).err().unwrap().to_string();
    assert!(error.contains("no broker's state"), "a state that cannot be read is not a new one: {error}");
}

#[test]
fn a_state_is_one_brokers_and_is_never_taken_for_none() {
    let (folder, config) = scene("", "production", 0);
    let first = start(folder.path(), &config, false).unwrap();
    let error = start(folder.path(), &config, false).err().unwrap().to_string();
    assert!(error.contains("another broker has the state"), "{error}");
    drop(first);
    assert!(start(folder.path(), &config, false).is_ok());
    // A name that leads nowhere is not a state that is not there yet.
    let state = folder.path().join("state.json");
    std::fs::remove_file(&state).unwrap();
    std::os::unix::fs::symlink(folder.path().join("unmounted"), &state).unwrap();
    assert!(start(folder.path(), &config, false).is_err());
}

#[test]
fn keys_and_models_that_do_not_belong_together_are_found_at_the_start() {
    let (folder, mut config) = scene("", "production", 0);
    config.models[0].key = config.models[1].key.clone();
    let error = start(folder.path(), &config, false).err().unwrap().to_string();
    assert!(error.contains("mlp.sealed") && error.contains("has another key"), "{error}");
    let (folder, config) = scene("", "production", 0);
    let kept = seal_model(&model(), 3, &trust(folder.path(), &config), &folder.path().join("x"), &config.models[0].key);
    assert!(kept.unwrap_err().to_string().contains("exists already"), "no key is ever overwritten");
    let mode = std::fs::metadata(&config.models[0].key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn trust(folder: &Path, config: &BrokerConfig) -> Trust {
    Trust::read(&folder.join("signed.toml"), &config.signers, 0, false).unwrap()
}

#[cfg(not(feature = "simulation"))]
#[test]
fn this_build_has_no_simulation_to_allow() {
    let (folder, config) = scene(&"07".repeat(32), "trial", 0);
    let error = start(folder.path(), &config, true).err().unwrap().to_string();
    assert!(error.contains("this build has no simulation"), "{error}");
}

#[cfg(feature = "simulation")]
mod simulated {
    use super::*;
    use std::net::TcpListener;
    use subrosa::Model;
    use subrosa::attest::{Attester, BrokerAt, simulator_public_key};
    use subrosa::deploy::Fingerprint;

    fn simulator(folder: &Path) -> (Attester, String) {
        let key = folder.join("simulator.key");
        std::fs::write(&key, [9; 32]).unwrap();
        (Attester::simulated(&key).unwrap(), simulator_public_key(&key).unwrap())
    }

    /// What a program gets that asks for version `version`.
    fn ask(key_use: &str, oldest: u64, flag: bool, allowed: bool, version: u64) -> std::result::Result<u64, String> {
        let keys = tempfile::tempdir().unwrap();
        let (attester, public) = simulator(keys.path());
        let (folder, config) = scene(if allowed { &public } else { "" }, key_use, oldest);
        let server = start(folder.path(), &config, flag).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let fingerprint = server.fingerprint();
        std::thread::spawn(move || server.serve(&listener, &|_| ()));
        let identity = Identity::load(&folder.path().join("server")).unwrap();
        let at = BrokerAt { address, fingerprint, identity };
        let sealed = folder.path().join(version.to_string()).join("mlp.sealed");
        match at.open(&sealed, &attester, b"service") {
            Ok((model, version, _)) => {
                assert_eq!(model.sha256(), Model::open(super::model()).unwrap().sha256());
                Ok(version)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_trial_key_goes_to_a_simulated_program_where_both_switches_are_on() {
        assert_eq!(ask("trial", 0, true, true, 2), Ok(2));
        for (flag, allowed) in [(false, true), (true, false), (false, false)] {
            let refused = ask("trial", 0, flag, allowed, 2).unwrap_err();
            assert!(refused.contains("SIMULATED"), "{refused}");
        }
    }

    #[test]
    fn no_production_key_goes_to_a_simulated_program() {
        let refused = ask("production", 0, true, true, 2).unwrap_err();
        assert!(refused.contains("the key is a production key"), "{refused}");
    }

    #[test]
    fn no_old_version_is_given_out() {
        assert_eq!(ask("trial", 1, true, true, 1), Ok(1));
        let refused = ask("trial", 2, true, true, 1).unwrap_err();
        assert!(refused.contains("version 1 of the model is refused: 2 is the oldest"), "{refused}");
    }

    #[test]
    fn strangers_are_not_answered() {
        let keys = tempfile::tempdir().unwrap();
        let (attester, public) = simulator(keys.path());
        let (folder, config) = scene(&public, "trial", 0);
        let server = start(folder.path(), &config, true).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let fingerprint = server.fingerprint();
        std::thread::spawn(move || server.serve(&listener, &|_| ()));
        let sealed = folder.path().join("2/mlp.sealed");
        let stranger = Identity::create("stranger", Validity::days(1)).unwrap();
        let at = BrokerAt { address: address.clone(), fingerprint, identity: stranger };
        assert!(at.open(&sealed, &attester, b"").is_err());
        // And somebody else's broker is not asked.
        let identity = Identity::load(&folder.path().join("server")).unwrap();
        let at = BrokerAt { address, fingerprint: Fingerprint([1; 32]), identity };
        assert!(at.open(&sealed, &attester, b"").is_err());
    }
}
