//! API keys: who is let in, and how often.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use std::time::Duration;
use subrosa::Secret;
use subrosa::client::Client;
use subrosa_serve::{ApiKeys, Limits, NewKey};
use support::{Reply, Running, mlps, serve_as};

/// A server for clients with one of these keys.
fn start(keys: &[&NewKey], rate: Option<f64>) -> Running {
    let limits = Limits::default();
    let keys = read(keys, rate);
    serve_as(mlps(None, &limits), limits, |server| server.only_for(keys))
}

fn read(keys: &[&NewKey], rate: Option<f64>) -> ApiKeys {
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: String = keys.iter().map(|key| key.line.clone() + "\n").collect();
    std::fs::write(file.path(), lines).unwrap();
    ApiKeys::read(file.path(), rate).unwrap()
}

fn get(server: &Running, path: &str, key: &str) -> Reply {
    server.ask(&format!("GET {path} HTTP/1.1\r\nauthorization: Bearer {key}"), b"")
}

#[test]
fn who_has_no_key_is_told_so_and_health_is_open() {
    let (alice, bob) = (NewKey::make("alice").unwrap(), NewKey::make("bob").unwrap());
    let server = start(&[&alice], None);
    for path in ["/v2/health/live", "/v2/health/ready", "/"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let nobody = server.get("/v2/models/mlp");
    assert!(nobody.status == 401 && nobody.head.contains("www-authenticate: bearer"), "{}", nobody.head);
    for path in ["/v2", "/metrics", "/v2/models/mlp", "/v2/models/mlp/ready", "/v2/keys/00", "/v2/models/none"] {
        assert_eq!(server.get(path).status, 401, "{path}");
        let stranger = get(&server, path, &bob.key);
        assert!(stranger.status == 401 && stranger.head.contains("invalid_token"), "{path}: {}", stranger.head);
        assert_ne!(get(&server, path, &alice.key).status, 401, "{path}");
    }
    assert_eq!(server.get("/page.json").status, 401, "the page asks for the key");
    assert_eq!(get(&server, "/page.json", &alice.key).status, 200);
    let long = server.ask("POST /v2/models/mlp/infer HTTP/1.1\r\ncontent-length: 1000000000", b"");
    assert_eq!(long.status, 401, "before anything of it is read");
    // The library's client.
    let client = |key: &str| {
        let client = Client::new(&server.url(), None, Duration::from_secs(20)).unwrap();
        client.with_api_key(&Secret::new(key.to_owned())).unwrap()
    };
    assert!(client(&alice.key).model("mlp", None).is_ok());
    assert!(client(&bob.key).model("mlp", None).unwrap_err().to_string().contains("refuses (401)"));
    let metrics = get(&server, "/metrics", &alice.key).text();
    let count = "subrosa_serve_key_requests_total{standing=\"plain\",key=\"alice\",status=\"200\"}";
    assert!(metrics.contains(count) && !metrics.contains(&alice.key), "{metrics}");
    // Other keys, while it runs.
    server.handle.admit_only(read(&[&bob], None));
    assert_eq!((get(&server, "/v2", &alice.key).status, get(&server, "/v2", &bob.key).status), (401, 200));
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again() {
    let (alice, bob) = (NewKey::make("alice").unwrap(), NewKey::make("bob").unwrap());
    // One request, and the next after a hundred seconds.
    let server = start(&[&alice, &bob], Some(0.01));
    assert_eq!(get(&server, "/v2", &alice.key).status, 200);
    let refused = get(&server, "/v2", &alice.key);
    assert_eq!(refused.status, 429);
    let after = refused.head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((1..=100).contains(&after.parse::<u64>().unwrap()), "{after}");
    assert_eq!(get(&server, "/v2", &bob.key).status, 200, "another's key is another's");
    assert_eq!(server.get("/v2/health/live").status, 200);
}
