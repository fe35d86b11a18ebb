//! Inference on ciphertexts over HTTP: the whole way, what is refused, and how much is kept.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use std::io::{Read, Write};
use std::time::{Duration, Instant};
use subrosa::ckks::roles;
use subrosa::ckks::service::KeysId;
use subrosa::client::Client;
use subrosa::{Dataset, InputSpec, Model, Plan, PlanOptions, Samples, Via};
use subrosa_serve::{Catalogue, Entry, Limits};
use support::{Running, model, reply, serve};

/// Rows of the table that the models take.
fn rows(count: usize) -> Samples {
    let table = model("../data/breast_cancer/standardised_test.csv");
    let mut samples = Dataset::read(table).unwrap().fit(logreg().inputs()).unwrap();
    samples.keep(count);
    samples
}

fn logreg() -> Model {
    Model::open(model("breast_cancer_logreg.onnx")).unwrap()
}

/// A plan of the model on inputs within plus and minus `range`.
fn plan(range: f64) -> Plan {
    plan_of(range, 1)
}

fn plan_of(range: f64, batch: usize) -> Plan {
    let input = InputSpec::given(-range, range).unwrap();
    logreg().plan(&PlanOptions { via: Via::Ckks, input, batch, ..PlanOptions::default() }).unwrap()
}

fn entry(plans: Vec<Plan>) -> Entry {
    Entry { model: logreg(), name: "risk".to_owned(), version: 1, policy: None, plans }
}

fn start(limits: Limits) -> Running {
    let mut catalogue = Catalogue::encrypted();
    catalogue.add(entry(vec![plan(16.0)]), 1, &limits).unwrap();
    serve(catalogue, limits)
}

/// A client and its files, made from the plan that the server hands out.
struct Owner {
    folder: tempfile::TempDir,
    keys: Vec<u8>,
    id: String,
    request: Vec<u8>,
}

impl Owner {
    fn of(server: &Running) -> Self {
        Self::from_plan(&server.get("/v2/models/risk/encryption-plan").body)
    }

    fn from_plan(plan: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("plan"), plan).unwrap();
        let written = roles::keygen(&at("plan"), &at("secret"), &at("keys")).unwrap();
        roles::encrypt(&at("secret"), &rows(1), &at("request")).unwrap();
        let (keys, request) = (std::fs::read(at("keys")).unwrap(), std::fs::read(at("request")).unwrap());
        Self { folder, keys, id: written.keys, request }
    }

    fn path(&self) -> String {
        format!("/v2/keys/{}", self.id)
    }

    /// Nothing where the answer is not for these keys.
    fn decrypt(&self, answer: &[u8]) -> Option<Vec<f32>> {
        let at = |name: &str| self.folder.path().join(name);
        std::fs::write(at("answer"), answer).unwrap();
        Some(roles::decrypt(&at("secret"), &at("answer"), None).ok()?.values.remove(0))
    }
}

/// What tract says of the rows.
fn plain(count: usize) -> Vec<f32> {
    let plan = logreg().plan(&PlanOptions { batch: count, ..PlanOptions::default() }).unwrap();
    plan.open().unwrap().run(&rows(count).inputs).unwrap().values.remove(0)
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-2)
}

const INFER: &str = "/v2/models/risk/encrypted-infer";

#[test]
fn a_client_is_answered_on_ciphertexts() {
    let server = start(Limits::default());
    for path in ["/v2", "/v2/models/risk"] {
        assert!(server.get(path).text().contains("subrosa_encrypted_inference"), "{path}");
    }
    let handed_out = server.get("/v2/models/risk/versions/1/encryption-plan");
    let saved = tempfile::NamedTempFile::new().unwrap();
    roles::save_plan(&plan(16.0), saved.path()).unwrap();
    assert!(handed_out.status == 200 && handed_out.body == std::fs::read(saved.path()).unwrap());
    let tag = handed_out.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    assert!(tag.len() == 66 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    let again = "GET /v2/models/risk/encryption-plan HTTP/1.1\r\nif-none-match: ";
    let again = server.ask(&format!("{again}{tag}"), b"");
    assert!(again.status == 304 && again.body.is_empty());

    let owner = Owner::of(&server);
    let early = server.post(INFER, &owner.request);
    assert!(early.status == 409 && early.text().contains("PUT them"), "{}", early.text());
    assert_eq!(server.get(&owner.path()).status, 404);
    let put = server.put(&owner.path(), &owner.keys);
    let about = serde_json::json!({ "id": owner.id, "model": "risk", "bytes": owner.keys.len() });
    assert_eq!((put.status, serde_json::from_slice::<serde_json::Value>(&put.body).unwrap()), (201, about.clone()));
    assert_eq!(server.put(&owner.path(), &owner.keys).status, 200);
    let found = server.get(&owner.path());
    assert_eq!((found.status, serde_json::from_slice::<serde_json::Value>(&found.body).unwrap()), (200, about));
    let answer = server.post(INFER, &owner.request);
    assert!(answer.status == 200 && answer.head.contains("content-type: application/octet-stream"), "{}", answer.head);
    let took = answer.head.lines().find_map(|line| line.strip_prefix("subrosa-compute-ms: ")).unwrap();
    assert!(took.parse::<f64>().unwrap() > 0.0);
    assert!(close(&owner.decrypt(&answer.body).unwrap(), &plain(1)));
    assert!(server.get("/metrics").text().contains("samples_total{standing=\"encrypted\",model=\"risk\"} 1"));

    assert_eq!(server.delete(&owner.path()).status, 204);
    assert_eq!((server.get(&owner.path()).status, server.delete(&owner.path()).status), (404, 204));
    assert_eq!(server.post(INFER, &owner.request).status, 409);
}

#[test]
fn what_is_no_request_and_no_key_is_refused_and_the_server_lives() {
    let server = start(Limits::default());
    let owner = Owner::of(&server);
    let stranger = Owner::of(&server);
    let other_plan = tempfile::NamedTempFile::new().unwrap();
    roles::save_plan(&plan(8.0), other_plan.path()).unwrap();
    let elsewhere = Owner::from_plan(&std::fs::read(other_plan.path()).unwrap());
    let named = |bytes: &[u8]| format!("/v2/keys/{}", KeysId::of(bytes));
    let cut = &owner.keys[..owner.keys.len() - 1];
    let damaged = |at: usize| {
        let mut bytes = owner.keys.clone();
        bytes[at] ^= 0x80;
        bytes
    };
    // The last residue becomes one that is none, or another: then these are other keys.
    let (in_plan, in_magic) = (damaged(60), damaged(0));
    for (reply, status, said) in [
        (server.put(&stranger.path(), &owner.keys), 400, "not those that the path names"),
        (server.put(&owner.path().to_uppercase().replace("/V2/KEYS", "/v2/keys"), &owner.keys), 400, "lower case"),
        (server.put("/v2/keys/00", &owner.keys), 400, "64 hexadecimal digits"),
        (server.put(&elsewhere.path(), &elsewhere.keys), 404, "no model here has the plan"),
        (server.put(&named(&in_plan), &in_plan), 404, "no model here has the plan"),
        (server.put(&named(&in_magic), &in_magic), 404, "no model here has the plan"),
        (server.put(&named(cut), cut), 400, "cut off"),
        (server.put(&owner.path(), b""), 404, "no model here has the plan"),
        (server.get("/v2/keys"), 404, "no such endpoint"),
        (server.post(INFER, b""), 400, "not valid"),
        (server.post(INFER, &owner.request[..40]), 400, "cut off"),
        (server.post(INFER, &owner.keys[..1000]), 400, "it is a evaluation key file"),
        (server.post(INFER, &elsewhere.request[..200]), 400, "of another plan"),
        (server.post(INFER, &[&owner.request[..], b"0"].concat()), 413, "longer than"),
        (server.post("/v2/models/risk/infer", b"{}"), 403, "encrypted requests only"),
        (server.post("/v2/models/risk/sealed-infer", b"{}"), 403, "no attested channel"),
    ] {
        assert!(reply.status == status && reply.text().contains(said), "{status}: {} {}", reply.status, reply.text());
    }
    // Longer than any model's keys: told before it is sent.
    let mut stream = server.connect();
    let length = owner.keys.len() + 1;
    let head = format!("PUT {} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n", owner.path());
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 413"));

    assert_eq!(server.put(&owner.path(), &owner.keys).status, 201);
    assert_eq!(server.post(INFER, &owner.request[..owner.request.len() - 1]).status, 400);
    for at in (0..owner.request.len()).step_by(owner.request.len() / 64) {
        let mut bytes = owner.request.clone();
        bytes[at] ^= 0xff;
        let status = server.post(INFER, &bytes).status;
        assert!([200, 400, 409].contains(&status), "byte {at}: {status}");
    }
    // Another's request, under keys that are not its own.
    let mut borrowed = stranger.request.clone();
    borrowed[48..80].copy_from_slice(&owner.request[48..80]);
    let answer = server.post(INFER, &borrowed);
    assert!(answer.status == 200 && stranger.decrypt(&answer.body).is_none_or(|values| !close(&values, &plain(1))));
    assert_eq!(server.post(INFER, &owner.request).status, 200);
}

#[test]
fn keys_beyond_the_cache_make_way_and_clients_give_them_again() {
    let probe = start(Limits::default());
    let memory = {
        let owner = Owner::of(&probe);
        assert_eq!(probe.put(&owner.path(), &owner.keys).status, 201);
        let metrics = probe.get("/metrics").text();
        let line = metrics.lines().find(|line| line.starts_with("subrosa_serve_key_bytes{")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let server = start(Limits { key_cache: memory * 3 / 2, ..Limits::default() });
    let (first, second) = (Owner::of(&server), Owner::of(&server));
    assert_eq!(server.put(&first.path(), &first.keys).status, 201);
    assert_eq!(server.put(&second.path(), &second.keys).status, 201);
    assert_eq!(server.post(INFER, &first.request).status, 409);
    assert_eq!(server.post(INFER, &second.request).status, 200);

    let client = Client::new(&server.url(), None, Duration::from_secs(20)).unwrap();
    let served = client.model("risk", None).unwrap();
    let encryption = client.encryption(&served, 3).unwrap();
    // Between its samples somebody else's keys come.
    let mut evict = |done: usize, _: usize| {
        if done == 1 {
            assert_eq!(server.put(&first.path(), &first.keys).status, 201);
        }
    };
    let output = client.run_encrypted(&served, &encryption, &rows(3), &mut evict).unwrap();
    assert!(output.samples == 3 && close(&output.values[0], &plain(3)));
    let bytes = |i: usize| output.batches[i].online.cost.bytes;
    assert!(bytes(1) > bytes(0) + encryption.key_bytes() as u64 && bytes(0) == bytes(2));
    assert!(output.setup.cost.bytes > encryption.key_bytes() as u64);
    let mut wrong = rows(3);
    wrong.inputs[0][5] = 1e6;
    let error = client.run_encrypted(&served, &encryption, &wrong, &mut |_, _| ()).unwrap_err().to_string();
    assert!(error.contains("outside the range"), "{error}");
}

#[test]
fn a_client_with_many_samples_sends_them_at_once() {
    let limits = Limits::default();
    let mut catalogue = Catalogue::encrypted();
    catalogue.add(entry(vec![plan_of(16.0, 64), plan(16.0)]), 1, &limits).unwrap();
    let server = serve(catalogue, limits);
    let sought = |query: &str| server.get(&format!("/v2/models/risk/encryption-plan{query}"));
    let (one, many) = (sought(""), sought("?samples=64"));
    assert!(one.status == 200 && many.status == 200 && one.body != many.body);
    assert!(sought("?samples=63").body == one.body && sought("?x=1&samples=9999999").body == many.body);
    for wrong in ["?samples=x", "?samples=-1", "?samples=", "?samples=99999999999999999999999"] {
        let refused = sought(wrong);
        assert!(refused.status == 400 && refused.text().contains("?samples=N"), "{wrong}: {}", refused.text());
    }
    // Requests and keys go by the plan that they name.
    let (single, bulk) = (Owner::from_plan(&one.body), Owner::from_plan(&many.body));
    for owner in [&single, &bulk] {
        assert_eq!(server.post(INFER, &owner.request).status, 409);
        assert_eq!(server.put(&owner.path(), &owner.keys).status, 201);
        assert_eq!(server.get(&owner.path()).status, 200);
        let answer = server.post(INFER, &owner.request);
        assert!(answer.status == 200 && close(&owner.decrypt(&answer.body).unwrap(), &plain(1)), "{}", answer.text());
        assert_eq!(server.post(INFER, &owner.request[..owner.request.len() - 1]).status, 400);
    }
    assert_eq!(server.post(INFER, &[&single.request[..], b"0"].concat()).status, 400);
    assert_eq!(server.post(INFER, &[&bulk.request[..], b"0"].concat()).status, 413);
    let mut mixed = bulk.request.clone();
    mixed[48..80].copy_from_slice(&single.request[48..80]);
    assert_eq!(server.post(INFER, &mixed).status, 400, "keys of the other plan");

    let client = Client::new(&server.url(), None, Duration::from_secs(20)).unwrap();
    let served = client.model("risk", None).unwrap();
    for (count, requests) in [(3, 3), (100, 1)] {
        let encryption = client.encryption(&served, count).unwrap();
        let output = client.run_encrypted(&served, &encryption, &rows(count), &mut |_, _| ()).unwrap();
        assert_eq!((output.samples, output.batches.len()), (count, requests));
        assert!(close(&output.values[0], &plain(count)), "{count}");
    }
    assert!(server.get("/metrics").text().contains("samples_total{standing=\"encrypted\",model=\"risk\"} 105"));
}

#[test]
fn many_clients_share_what_there_is() {
    let server = start(Limits { requests: 4, ..Limits::default() });
    let owner = Owner::of(&server);
    assert_eq!(server.put(&owner.path(), &owner.keys).status, 201);
    let answered = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let answer = server.post(INFER, &owner.request);
                assert!([200, 503].contains(&answer.status), "{}", answer.status);
                answered.fetch_add(usize::from(answer.status == 200), std::sync::atomic::Ordering::Relaxed);
            });
        }
    });
    assert!(answered.into_inner() >= 4, "those that had a place");
    assert_eq!(server.post(INFER, &owner.request).status, 200);
}

#[test]
fn keys_end_with_the_plan_that_they_are_for() {
    let server = start(Limits::default());
    let owner = Owner::of(&server);
    assert_eq!(server.put(&owner.path(), &owner.keys).status, 201);
    let mut same = server.handle.catalogue().alike();
    assert!(same.keep(&server.handle.catalogue(), "risk", 1, logreg().sha256(), None));
    server.handle.replace(same);
    assert_eq!(server.post(INFER, &owner.request).status, 200, "what has not changed goes on");
    let mut other = server.handle.catalogue().alike();
    other.add(entry(vec![plan(8.0)]), 1, &Limits::default()).unwrap();
    server.handle.replace(other);
    assert_eq!(server.get(&owner.path()).status, 404);
    let refused = server.post(INFER, &owner.request);
    assert!(refused.status == 400 && refused.text().contains("of another plan"), "{}", refused.text());
    assert!(server.get("/metrics").text().contains("key_bytes{standing=\"encrypted\"} 0"));
}

#[test]
fn keys_that_come_while_their_plan_goes_are_not_kept() {
    let server = start(Limits::default());
    let owner = Owner::of(&server);
    let (most, last) = owner.keys.split_at(owner.keys.len() - 1);
    let length = owner.keys.len();
    let head =
        format!("PUT {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n", owner.path());
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(most).unwrap();
    while !server.get("/metrics").text().contains("requests_active{standing=\"encrypted\"} 1") {
        std::thread::yield_now();
    }
    let mut other = server.handle.catalogue().alike();
    other.add(entry(vec![plan(8.0)]), 1, &Limits::default()).unwrap();
    server.handle.replace(other);
    stream.write_all(last).unwrap();
    let refused = reply(&mut stream);
    assert!(refused.status == 404 && refused.text().contains("fetch the plan again"), "{}", refused.text());
    assert!(server.get("/metrics").text().contains("key_bytes{standing=\"encrypted\"} 0"));
}

#[test]
fn uploads_that_stand_still_make_way_for_others() {
    let second = Duration::from_secs(1);
    let server = start(Limits { request: second, idle: second, ..Limits::default() });
    let owner = Owner::of(&server);
    let head = format!("PUT {} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", owner.path(), owner.keys.len());
    // As many as there may be, each with a byte now and then.
    let mut slow: Vec<_> = (0..4).map(|_| server.connect()).collect();
    let start = Instant::now();
    for stream in &mut slow {
        stream.write_all(head.as_bytes()).unwrap();
    }
    let cut = || server.get("/metrics").text().contains("endpoint=\"keys\",status=\"408\"} 4");
    let mut sent = 0;
    while !cut() {
        assert!(start.elapsed() < Duration::from_secs(60), "they are never cut");
        for stream in &mut slow {
            let _ = stream.write_all(&owner.keys[sent..=sent]);
        }
        sent += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(server.put(&owner.path(), &owner.keys).status, 201);
}

#[test]
fn a_model_beyond_the_limits_is_not_served() {
    for (limits, said) in [
        (Limits { body: 1000, ..Limits::default() }, "--max-request"),
        (Limits { key_file: 1000, ..Limits::default() }, "--max-keys"),
        (Limits { key_cache: 1000, ..Limits::default() }, "--key-cache"),
    ] {
        let error = Catalogue::encrypted().add(entry(vec![plan(16.0)]), 1, &limits).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let plans = vec![plan(16.0), plan_of(16.0, 64)];
    let limits = Limits { body: 100_000, ..Limits::default() };
    let error = Catalogue::encrypted().add(entry(plans), 1, &limits).unwrap_err().to_string();
    assert!(error.contains(" samples at once, takes 1 MiB") && error.contains("--max-request"), "{error}");
    let error = Catalogue::encrypted().add(entry(Vec::new()), 1, &Limits::default()).unwrap_err().to_string();
    assert!(error.contains("no plan via ckks"), "{error}");
}
