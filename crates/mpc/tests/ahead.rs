//! Sessions without their dealer: what it dealt ahead of time, in files, is as good as being there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subrosa_core::Phase;
use subrosa_graph::{InputRange, LowerOptions, Lowered, Model, Reveal, lower, oracle};
use subrosa_mpc::ahead::{Purpose, deal};
use subrosa_mpc::roles::{deal_model, give_inputs, hear_told, take_outputs};
use subrosa_mpc::{Error, Job, ModelShare, Options, Party, ProtocolKind, Seats, predict};
use subrosa_net::{Opening, Recorder, Recording, Session, recorded_bytes};

const HEAD: &[u8] = b"a test";
const BATCH: usize = 3;

fn lowered(name: &str, range: f64) -> Lowered {
    let path = format!("{}/../../models/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
    let model = Model::from_bytes(&std::fs::read(path).unwrap()).unwrap();
    let inputs = vec![InputRange { lo: -range, hi: range }];
    lower(model.graph(), &LowerOptions { ring: None, inputs, reveal: Reveal::Logits, ..LowerOptions::default() })
        .unwrap()
}

/// One batch in files, one a server.
fn dealt(folder: &Path, purpose: &Purpose, share: &[u8], number: usize) -> Vec<PathBuf> {
    let bytes = purpose.bytes(BATCH).unwrap();
    let predicted = predict(purpose.kind, &purpose.program, BATCH, &purpose.options).unwrap();
    assert_eq!(predicted.dealt_ahead, bytes);
    let paths: Vec<PathBuf> = (0..bytes.len()).map(|server| folder.join(format!("{server}-{number}"))).collect();
    let begin = |(path, &bytes): (&PathBuf, &u64)| Recorder::begin(File::create(path).unwrap(), HEAD, bytes).unwrap();
    let recorders: Vec<Recorder> = paths.iter().zip(&bytes).map(begin).collect();
    let links = recorders.iter().map(Recorder::link).collect();
    let names: Vec<String> = (0..bytes.len()).map(|i| format!("server {i}")).collect();
    deal(purpose, BATCH, share, &names, links).unwrap();
    for ((recorder, path), bytes) in recorders.into_iter().zip(&paths).zip(bytes) {
        // Fails if the plan announced another number of bytes than were said.
        recorder.finish(|_| Ok(vec![])).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().len(), recorded_bytes(HEAD.len(), bytes, 0));
    }
    paths
}

fn recording(path: &Path) -> Box<Recording> {
    Box::new(Opening::read(File::open(path).unwrap(), "keys", 0).unwrap().complete().unwrap())
}

/// A session without the dealer: its parties' ends, data owner's and receiver's.
fn sessions(kind: ProtocolKind) -> (Vec<Session>, [Session; 2]) {
    let parties = kind.parties();
    let names: Vec<String> = (0..parties + 2).map(|i| format!("endpoint {i}")).collect();
    let mut ends = subrosa_net::local(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let roles = ends.split_off(parties).try_into().unwrap();
    ends.truncate(kind.online());
    (ends, roles)
}

#[test]
fn batches_dealt_ahead_compute_what_the_oracle_says() {
    let folder = tempfile::tempdir().unwrap();
    let lowered = lowered("breast_cancer_mlp", 4.0);
    let program = Arc::new(lowered.program.clone());
    for kind in [ProtocolKind::Fss, ProtocolKind::Beaver2, ProtocolKind::Beaver3] {
        let secret = Options { threads: 1, ..Options::default() };
        for options in [secret, Options { public_weights: true, ..secret }, Options { exact: true, ..secret }] {
            let shares = deal_model(kind, &program, &lowered.weights, &options).unwrap();
            let sharing = [5; 32];
            let purpose = Purpose { kind, program: program.clone(), options, sharing };
            let files: Vec<Vec<PathBuf>> =
                (0..2).map(|number| dealt(folder.path(), &purpose, shares.last().unwrap(), number)).collect();
            let (ends, [mut owner, mut receiver]) = sessions(kind);
            let seats = Seats { data_owner: kind.parties(), receiver: kind.parties() + 1 };
            let job = Job { program: program.clone(), options, sharing, context: [0; 32], seats, dealt_ahead: true };
            std::thread::scope(|scope| {
                for (server, session) in ends.into_iter().enumerate() {
                    let (job, shares, files) = (job.clone(), &shares, &files);
                    scope.spawn(move || {
                        let share = ModelShare::Kept(&shares[server]);
                        let mut party = Party::join(kind, session, job, share).unwrap();
                        for batch in files {
                            party.prepare_from(BATCH, recording(&batch[server])).unwrap();
                            party.run(BATCH).unwrap();
                        }
                    });
                }
                owner.set_phase(Phase::Online);
                for round in 0..2 {
                    let samples = |n: usize| (0..n).map(|i| ((i * 7919 + round * 31) % 800) as f32 / 100.0 - 4.0);
                    let input: Vec<f32> = samples(program.insts[program.inputs[0]].shape.len() * BATCH).collect();
                    let inputs = vec![lowered.encode(0, &input).unwrap()];
                    let told = hear_told(kind, &mut owner, &program).unwrap();
                    give_inputs(kind, &mut owner, &program, &inputs, BATCH, told).unwrap();
                    let got = take_outputs(kind, &mut receiver, &program, BATCH).unwrap();
                    let expected = oracle::run(&program, &lowered.weights, &inputs, BATCH).unwrap();
                    let worst = got[0].iter().zip(&expected[0]).map(|(g, e)| g.abs_diff(*e)).max().unwrap();
                    let allowed = if options.exact { 0 } else { lowered.output_ulps[0].unwrap() };
                    assert!(worst <= allowed, "{} {options:?}: {worst} units off", kind.name());
                }
            });
        }
    }
}

/// What fills a batch up is computed, and opened to nobody.
#[test]
fn of_a_batch_that_was_filled_up_the_first_samples_alone_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let lowered = lowered("breast_cancer_mlp", 4.0);
    let program = Arc::new(lowered.program.clone());
    let (options, sharing) = (Options { threads: 1, exact: true, ..Options::default() }, [5; 32]);
    for kind in [ProtocolKind::Fss, ProtocolKind::Beaver2, ProtocolKind::Beaver3] {
        let shares = deal_model(kind, &program, &lowered.weights, &options).unwrap();
        let purpose = Purpose { kind, program: program.clone(), options, sharing };
        let files = dealt(folder.path(), &purpose, shares.last().unwrap(), kind.parties());
        let (ends, [mut owner, mut receiver]) = sessions(kind);
        let seats = Seats { data_owner: kind.parties(), receiver: kind.parties() + 1 };
        let job = Job { program: program.clone(), options, sharing, context: [0; 32], seats, dealt_ahead: true };
        std::thread::scope(|scope| {
            for (server, session) in ends.into_iter().enumerate() {
                let (job, shares, files) = (job.clone(), &shares, &files);
                scope.spawn(move || {
                    let mut party = Party::join(kind, session, job, ModelShare::Kept(&shares[server])).unwrap();
                    party.prepare_from(BATCH, recording(&files[server])).unwrap();
                    assert!(matches!(party.run_filled(BATCH, BATCH + 1), Err(Error::Misuse(_))));
                    party.run_filled(BATCH, 1).unwrap();
                });
            }
            let len = program.insts[program.inputs[0]].shape.len();
            let input: Vec<f32> = (0..len * BATCH).map(|i| (i * 7919 % 800) as f32 / 100.0 - 4.0).collect();
            let inputs = vec![lowered.encode(0, &input).unwrap()];
            owner.set_phase(Phase::Online);
            let told = hear_told(kind, &mut owner, &program).unwrap();
            give_inputs(kind, &mut owner, &program, &inputs, BATCH, told).unwrap();
            // Of another length the messages would be refused.
            let got = take_outputs(kind, &mut receiver, &program, 1).unwrap();
            let first = vec![inputs[0][..len].to_vec()];
            assert_eq!(got, oracle::run(&program, &lowered.weights, &first, 1).unwrap(), "{}", kind.name());
        });
    }
}

#[test]
fn a_protocol_whose_dealer_takes_part_cannot_be_dealt_ahead() {
    let lowered = lowered("breast_cancer_logreg", 4.0);
    let program = Arc::new(lowered.program);
    for kind in [ProtocolKind::Rep3, ProtocolKind::Rep4, ProtocolKind::Rep3Malicious] {
        let purpose = Purpose { kind, program: program.clone(), options: Options::default(), sharing: [0; 32] };
        assert_eq!(purpose.bytes(1).unwrap(), Vec::<u64>::new());
        assert!(matches!(deal(&purpose, 1, &[], &[], vec![]), Err(Error::Misuse(_))));
    }
}

#[test]
fn what_is_dealt_for_differs_where_it_would_not_fit() {
    let lowered = lowered("breast_cancer_logreg", 4.0);
    let base = Purpose {
        kind: ProtocolKind::Fss,
        program: Arc::new(lowered.program),
        options: Options { threads: 1, ..Options::default() },
        sharing: [0; 32],
    };
    let others = [
        Purpose { kind: ProtocolKind::Beaver2, ..base.clone() },
        Purpose { sharing: [1; 32], ..base.clone() },
        Purpose { options: Options { exact: true, ..base.options }, ..base.clone() },
        Purpose { options: Options { public_weights: true, ..base.options }, ..base.clone() },
    ];
    others.iter().for_each(|other| assert_ne!(other.digest(), base.digest()));
    // How many threads a party has is its own affair.
    let threads = Purpose { options: Options { threads: 2, ..base.options }, ..base.clone() };
    assert_eq!(threads.digest(), base.digest());
}

#[test]
fn one_recording_is_for_one_batch() {
    let folder = tempfile::tempdir().unwrap();
    let lowered = lowered("breast_cancer_mlp", 4.0);
    let (kind, options, sharing) = (ProtocolKind::Fss, Options { threads: 1, ..Options::default() }, [0; 32]);
    let program = Arc::new(lowered.program.clone());
    let shares = deal_model(kind, &program, &lowered.weights, &options).unwrap();
    let purpose = Purpose { kind, program: program.clone(), options, sharing };
    let files = dealt(folder.path(), &purpose, shares.last().unwrap(), 0);
    let (ends, _roles) = sessions(kind);
    let seats = Seats { data_owner: 3, receiver: 4 };
    let job = Job { program, options, sharing, context: [0; 32], seats, dealt_ahead: true };
    // The first to fail ends the session of both.
    let prepared = std::sync::Barrier::new(ends.len());
    std::thread::scope(|scope| {
        for (server, session) in ends.into_iter().enumerate() {
            let (job, shares, files, prepared) = (job.clone(), &shares, &files, &prepared);
            scope.spawn(move || {
                let mut party = Party::join(kind, session, job, ModelShare::Kept(&shares[server])).unwrap();
                assert!(matches!(party.prepare(BATCH), Err(Error::Misuse(_))), "no keys");
                party.prepare_from(BATCH, recording(&files[server])).unwrap();
                prepared.wait();
                // A larger batch than was dealt for asks for more than there is, and is refused.
                assert!(party.prepare_from(BATCH + 1, recording(&files[server])).is_err());
                assert!(party.run(BATCH + 1).is_err() && party.run(BATCH).is_err(), "nothing can be consumed");
            });
        }
    });
}
