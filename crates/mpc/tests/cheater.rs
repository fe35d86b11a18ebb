//! A party that deviates somewhere in mlp or lenet, under protocols whose claim is malicious: the
//! right result, or an error about a peer. Where and how is drawn anew in every run, and
//! stated on failure. (`conformance::cheater` tries every message, on small vectors.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;
use subrosa_core::{Adversary, Prg, Seed};
use subrosa_graph::{InputRange, LowerOptions, Lowered, Model, Reveal, lower, oracle};
use subrosa_mpc::cluster::endpoint_names;
use subrosa_mpc::robust::{Attempt, infer};
use subrosa_mpc::{Error, LocalCluster, Options, ProtocolKind, predict};
use subrosa_net::fault::Fault;

fn shipped(name: &str) -> Lowered {
    let path = format!("{}/../../models/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
    let model = Model::from_bytes(&std::fs::read(path).unwrap()).unwrap();
    let options = LowerOptions {
        ring: None,
        inputs: vec![InputRange { lo: 0.0, hi: 1.0 }],
        reveal: Reveal::Logits,
        ..LowerOptions::default()
    };
    lower(model.graph(), &options).unwrap()
}

fn below(prg: &mut Prg, n: usize) -> usize {
    (prg.u64s(1)[0] % n as u64) as usize
}

fn deviate(name: &str, times: usize) {
    let lowered = shipped(name);
    let program = Arc::new(lowered.program.clone());
    let n = program.insts[program.inputs[0]].shape.len();
    let pixels: Vec<f32> = (0..n).map(|i| (i * 7919 % 256) as f32 / 255.0).collect();
    let inputs = [lowered.encode(0, &pixels).unwrap()];
    let expected = oracle::run(&program, &lowered.weights, &inputs, 1).unwrap();
    let seed = Seed::random().unwrap();
    let mut prg = seed.stream("cheater");
    let options = Options { threads: 1, ..Options::default() };
    for &kind in ProtocolKind::ALL.iter().filter(|kind| kind.claim().adversary == Adversary::MaliciousAbort) {
        let cost = predict(kind, &program, 1, &options).unwrap();
        let rounds = (cost.setup.rounds + cost.offline.rounds + cost.online.rounds) as usize;
        let (mut wrong_ends, names) = (0, endpoint_names(kind, &options));
        for _ in 0..times {
            let cheater = below(&mut prg, kind.parties());
            let to = (cheater + 1 + below(&mut prg, kind.parties() - 1)) % kind.parties();
            // No link has a message in every round.
            let frame = below(&mut prg, rounds / 2);
            let fault = match below(&mut prg, 5) {
                0 => Fault::Cut { frames: frame },
                1 => Fault::Truncate { frame, to: 1 },
                2 => Fault::Duplicate { frame },
                _ => Fault::Flip { frame, byte: 16 + below(&mut prg, 64), mask: 1 << below(&mut prg, 8) },
            };
            let at = format!("{name} under {}: {cheater} to {to}, {fault:?}, seed {:02x?}", kind.name(), seed.expose());
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let sessions = subrosa_net::local(&names).into_iter();
            let sessions = sessions.map(|s| if s.id() == cheater { s.with_fault(to, fault) } else { s }).collect();
            let cluster = LocalCluster::over(sessions, kind, program.clone(), &lowered.weights, &options);
            match cluster.and_then(|mut cluster| cluster.infer(&inputs, 1)) {
                Ok(got) => {
                    let worst = got.outputs[0].iter().zip(&expected[0]).map(|(g, e)| g.abs_diff(*e)).max().unwrap();
                    assert!(worst <= lowered.output_ulps[0].unwrap(), "{at}: {worst} units off");
                }
                Err(Error::Peer(_)) => wrong_ends += 1,
                Err(other) => panic!("{at}: {other}"),
            }
        }
        let seed = seed.expose();
        assert!(wrong_ends > 0, "{name}: none of {times} deviations was noticed, seed {seed:02x?}");
    }
}

/// For attempts of honest parties, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A party that deviates in every attempt in which it takes part: robust mode gives the right result.
fn robust(name: &str, times: usize) {
    let lowered = shipped(name);
    let program = Arc::new(lowered.program.clone());
    let n = program.insts[program.inputs[0]].shape.len();
    let pixels: Vec<f32> = (0..n).map(|i| (i * 7919 % 256) as f32 / 255.0).collect();
    let inputs = [lowered.encode(0, &pixels).unwrap()];
    let expected = oracle::run(&program, &lowered.weights, &inputs, 1).unwrap();
    let seed = Seed::random().unwrap();
    let mut prg = seed.stream("robust");
    let options = Options { threads: 1, ..Options::default() };
    let mut excluded = 0;
    for _ in 0..times {
        let (cheater, to) = (below(&mut prg, 4), below(&mut prg, 3));
        let draws: Vec<usize> = (0..4).map(|_| below(&mut prg, 1 << 16)).collect();
        let connect = |attempt: Attempt| {
            let names = attempt.endpoints(&options);
            let sessions = subrosa_net::local(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let Some(at) = attempt.parties().iter().position(|&party| party == cheater) else { return sessions };
            let parties = attempt.parties().len();
            let cost = predict(attempt.kind(), &program, 1, &options).unwrap();
            let rounds = (cost.setup.rounds + cost.offline.rounds + cost.online.rounds) as usize;
            let (frame, to) = (draws[0] % (rounds / 2), (at + 1 + to % (parties - 1)) % parties);
            let fault = match draws[1] % 4 {
                0 => Fault::Cut { frames: frame },
                1 => Fault::Truncate { frame, to: 1 },
                _ => Fault::Flip { frame, byte: 16 + draws[2] % 64, mask: 1 << (draws[3] % 8) },
            };
            sessions.into_iter().map(|s| if s.id() == at { s.with_fault(to, fault) } else { s }).collect()
        };
        let at = format!("{name}: {cheater}, {to}, {draws:?}, seed {:02x?}", seed.expose());
        let (got, attempt) = infer(connect, &program, &lowered.weights, &options, &inputs, 1, PATIENCE)
            .unwrap_or_else(|error| panic!("{at}: no result: {error}"));
        let worst = got.outputs[0].iter().zip(&expected[0]).map(|(g, e)| g.abs_diff(*e)).max().unwrap();
        assert!(worst <= lowered.output_ulps[0].unwrap(), "{at}: {worst} units off");
        excluded += usize::from(attempt != Attempt::All);
    }
    assert!(excluded > 0, "{name}: nobody was left out in {times} runs, seed {:02x?}", seed.expose());
}

#[test]
fn robust_mode_gives_the_result_of_mlp() {
    robust("mlp", 20);
}

/// A party that takes a second for every message is left out when the attempts with it have
/// reached their limit; and what the caller got wrong ends at once.
#[test]
fn robust_mode_leaves_a_slow_party_out() {
    let lowered = shipped("mlp");
    let program = Arc::new(lowered.program.clone());
    let n = program.insts[program.inputs[0]].shape.len();
    let inputs = [lowered.encode(0, &vec![0.5; n]).unwrap()];
    let expected = oracle::run(&program, &lowered.weights, &inputs, 1).unwrap();
    let options = Options { threads: 1, ..Options::default() };
    let slow = 1;
    let mut attempts = vec![];
    let mut connect = |attempt: Attempt| {
        attempts.push(attempt);
        let names = attempt.endpoints(&options);
        let sessions = subrosa_net::local(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let Some(at) = attempt.parties().iter().position(|&party| party == slow) else { return sessions };
        let delay = Fault::Delay { by: Duration::from_secs(1) };
        let to = (at + 1) % attempt.parties().len();
        sessions.into_iter().map(|s| if s.id() == at { s.with_fault(to, delay) } else { s }).collect()
    };
    let limit = Duration::from_secs(3);
    let (got, attempt) = infer(&mut connect, &program, &lowered.weights, &options, &inputs, 1, limit).unwrap();
    let worst = got.outputs[0].iter().zip(&expected[0]).map(|(g, e)| g.abs_diff(*e)).max().unwrap();
    assert!(worst <= lowered.output_ulps[0].unwrap(), "{worst} units off");
    assert_eq!(attempt, Attempt::Without(slow));
    let wrong = infer(&mut connect, &program, &lowered.weights, &options, &[vec![]], 1, limit).err();
    assert!(matches!(wrong, Some(Error::Misuse(_))), "{wrong:?}");
    assert_eq!(attempts, [Attempt::All, Attempt::Without(0), Attempt::Without(slow)]);
}

#[test]
fn mlp_is_right_or_ends() {
    deviate("mlp", 60);
}

#[test]
fn lenet_is_right_or_ends() {
    deviate("lenet", 12);
}
