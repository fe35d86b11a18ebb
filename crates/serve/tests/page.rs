//! The page at `/`: all that it names is there, and nothing comes from elsewhere.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use std::collections::BTreeSet;
use subrosa_serve::Limits;
use support::{Reply, Running, start};

fn policy(reply: &Reply) -> String {
    let line = reply.head.lines().find(|line| line.starts_with("content-security-policy:"));
    line.unwrap_or_else(|| panic!("no policy: {}", reply.head)).to_owned()
}

/// The paths that a text of the page names between quotes, as seen from the root.
fn named(at: &str, text: &str) -> BTreeSet<String> {
    let folder: Vec<&str> = at.rsplit_once('/').map_or(Vec::new(), |(folder, _)| folder.split('/').collect());
    // Every piece, as an apostrophe in a comment is a quote, too.
    let pieces = text.split(['"', '\'']).filter(|piece| !piece.contains(char::is_whitespace));
    let path = |name: &str| {
        let mut path = if name.starts_with('.') { folder.clone() } else { Vec::new() };
        for part in name.split('/') {
            match part {
                "." => {}
                ".." => drop(path.pop()),
                part => path.push(part),
            }
        }
        path.join("/")
    };
    let ends = [".js", ".css", ".svg", ".wasm"];
    pieces.filter(|name| ends.iter().any(|end| name.ends_with(end))).map(path).collect()
}

/// Everything that the page loads, from what it says itself.
fn closure(server: &Running) -> BTreeSet<String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![String::new()]);
    while let Some(path) = open.pop() {
        let reply = server.get(&format!("/{path}"));
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.head.contains("x-content-type-options: nosniff"), "{path}");
        assert!(policy(&reply).contains("default-src 'self'; script-src 'self' 'wasm-unsafe-eval'"), "{path}");
        let kind = match path.rsplit_once('.').map(|(_, end)| end) {
            None => "text/html",
            Some("js") => "text/javascript",
            Some("css") => "text/css",
            Some("svg") => "image/svg+xml",
            Some("wasm") => "application/wasm",
            Some(end) => panic!("{path} is a file of unknown kind {end}"),
        };
        assert!(reply.head.contains(&format!("content-type: {kind}")), "{path}: {}", reply.head);
        if kind == "application/wasm" {
            assert!(reply.body.starts_with(b"\0asm"));
        } else {
            assert!(!reply.text().contains("https://"), "{path} names another host");
            open.extend(named(&path, &reply.text()).into_iter().filter(|path| found.insert(path.clone())));
        }
    }
    found
}

#[test]
fn the_page_and_all_its_parts_come_from_this_server() {
    let server = start(Limits::default(), None);
    let parts = closure(&server);
    for part in ["web/page/page.css", "web/page/pad.js", "web/src/worker.js", "web/dist/subrosa.wasm"] {
        assert!(parts.contains(part), "the page does not use {part}: {parts:?}");
    }
    for none in ["/web/", "/web/package.json", "/web/src/../page/page.js", "/web/src/index.d.ts"] {
        assert_eq!(server.get(none).status, 404, "{none}");
    }
}

#[test]
fn a_copy_that_is_still_good_is_not_sent_again() {
    let server = start(Limits::default(), None);
    let first = server.get("/web/src/index.js");
    let tag = first.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let again = server.ask(&format!("GET /web/src/index.js HTTP/1.1\r\nif-none-match: {tag}"), b"");
    assert!(again.status == 304 && again.body.is_empty(), "{}", again.head);
    let other = server.ask("GET /web/src/index.js HTTP/1.1\r\nif-none-match: \"0\"", b"");
    assert!(other.status == 200 && other.body == first.body);
}

#[test]
fn the_page_is_told_what_it_can_ask() {
    let server = start(Limits::default(), None);
    let about: serde_json::Value = serde_json::from_slice(&server.get("/page.json").body).unwrap();
    let model = serde_json::json!({
        "name": "mlp", "via": "plain", "input_shape": [-1, 1, 28, 28], "output_shape": [-1, 10] });
    assert_eq!(about["models"][0], model);
    assert_eq!(about["models"].as_array().unwrap().len(), 2, "a model's versions are one model");
    let learns = about["protections"][0]["learns"].as_array().unwrap();
    assert!(learns.iter().any(|line| line.as_str().unwrap().contains("learns")), "{about}");
}
