use super::*;
use subrosa_core::{Absent, Machine, Terms, Trust};

fn row(model: &str, backend: &str, slowdown: f64) -> Row {
    Row {
        model: model.into(),
        backend: backend.into(),
        claim: "claim".into(),
        images: 1000,
        correct: Some(987),
        accuracy: Some(0.987),
        plain_accuracy: Some(0.987),
        agreement: 1.0,
        max_abs_err: Some(1e-3),
        batch: 128,
        latency_ms_p50: 2.0 * slowdown,
        latency_ms_p95: 3.0 * slowdown,
        throughput_per_s: 64_000.0 / slowdown,
        slowdown_vs_plain: slowdown,
        setup_ms: 1.0,
        offline_ms: 0.5 * slowdown,
        bytes_offline: if backend == "plain" { 0 } else { 1_000_000 },
        bytes_online: if backend == "plain" { 0 } else { 2_000_000 },
        bytes_up: None,
        bytes_down: None,
        bytes_keys: None,
        rounds: 10,
        peak_rss_mb: 50.0,
        parties: 3,
        threads: 1,
        network: "in-process".into(),
        security_bits: 128,
        insecure: Vec::new(),
        terms: Terms {
            trust: if backend == "plain" { Trust::Machine } else { Trust::Majority },
            trusted: format!("whom {backend} trusts"),
            ..Terms::default()
        },
    }
}

fn sample_page() -> String {
    let rows = vec![
        row("mlp", "plain", 1.0),
        row("mlp", "rep3", 25.0),
        row("<cnn>", "plain", 1.0),
        row("<cnn>", "rep3", 140.0),
    ];
    let context = Context { command: "subrosa compare".into(), date: utc(0), data: "a & b".into() };
    page(&Report { machine: Machine::default(), rows, ..Report::default() }, &context)
}

#[test]
fn every_plot_is_there_with_its_values() {
    let page = sample_page();
    for id in ["slowdown", "latency", "throughput", "bytes", "accuracy", "gap"] {
        let start = page.find(&format!("<figure id=\"{id}\">")).unwrap_or_else(|| panic!("no plot {id}"));
        let figure = &page[start..start + page[start..].find("</figure>").unwrap()];
        assert!(figure.contains("class=\"mark s1\"") && figure.contains("mlp, batch 128"), "{id}: {figure}");
    }
    for value in ["25.0 x", "140 x", "98.70 %", "7.81 kB", "15.6 kB"] {
        assert!(page.contains(value), "{value}");
    }
}

/// One figure's part of a page.
fn figure<'a>(page: &'a str, id: &str) -> &'a str {
    let start = page.find(&format!("<figure id=\"{id}\">")).unwrap();
    &page[start..start + page[start..].find("</figure>").unwrap()]
}

#[test]
fn other_libraries_stand_under_whom_they_trust() {
    let rows = vec![
        row("mlp", "plain", 1.0),
        row("mlp", "rep3", 25.0),
        row("mlp", "spu-aby3", 5000.0),
        Row { terms: Terms { trust: Trust::Key, ..Terms::default() }, ..row("mlp_square", "tenseal", 50_000.0) },
    ];
    let absent = vec![Absent { model: Some("mlp".into()), backend: "tenseal".into(), why: "Relu is <none>".into() }];
    let found = "3 of 4 & more".to_owned();
    let findings = vec![Finding { claim: "fast".into(), verdict: Verdict::Fails, found }];
    let context = Context { command: "c".into(), date: utc(0), data: "d".into() };
    let page = page(&Report { rows, absent, findings, ..Report::default() }, &context);

    let trust = figure(&page, "trust");
    let places: Vec<_> =
        ["servers: none collude", ">rep3<", ">spu-aby3<", "nobody: the client has the key", ">tenseal<"]
            .map(|text| trust.find(text).unwrap_or_else(|| panic!("{text}: {trust}")))
            .into();
    assert!(places.is_sorted(), "{trust}");
    assert!(trust.contains("class=\"label ours\"") && !trust.contains("mlp_square"), "a twin is its network: {trust}");
    // Several series share a mark: each value has its name.
    let slowdown = figure(&page, "slowdown");
    assert!(slowdown.contains("spu-aby3 5,000 x") && slowdown.contains("another library"), "{slowdown}");
    assert!(page.contains("<td>whom spu-aby3 trusts</td>"));
    assert!(page.contains("Relu is &lt;none&gt;") && page.contains("does not hold here. 3 of 4 &amp; more"));
}

#[test]
fn what_a_library_does_not_tell_is_not_shown() {
    let terms = Terms { unmeasured: vec!["bytes_online".into(), "rounds".into()], ..row("m", "tfe", 1.0).terms };
    let rows = vec![row("m", "plain", 1.0), Row { terms, rounds: 7777, ..row("m", "tf-encrypted", 9.0) }];
    let context = Context { command: "c".into(), date: utc(0), data: "d".into() };
    let page = page(&Report { rows, ..Report::default() }, &context);
    assert!(!figure(&page, "bytes").contains("tf-encrypted online") && !page.contains("7,777"));
}

#[test]
fn what_a_party_dealt_for_itself_is_claimed_for_nothing() {
    let context = Context { command: "c".into(), date: utc(0), data: "d".into() };
    let of = |row: Row| page(&Report { rows: vec![row], ..Report::default() }, &context);
    let sound = of(row("mlp", "beaver", 25.0));
    assert!(sound.contains("128-bit computational security") && !sound.contains("SELF-DEALT"));
    let dealt = of(Row { insecure: vec!["self-dealer".into()], ..row("mlp", "beaver", 25.0) });
    assert!(dealt.contains("NO PROTECTION FROM PARTY 0") && dealt.contains("party 0, by --insecure-self-dealer"));
    assert!(!dealt.contains("128-bit") && !dealt.contains("a dealer that sees no data"), "{dealt}");
}

#[test]
fn the_page_stands_alone() {
    let page = sample_page();
    for outside in ["<script", "<link", "src=", "url(", "@import", "http://"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("Who learns what") && page.contains("subrosa compare"));
}

#[test]
fn names_cannot_break_out() {
    let page = sample_page();
    assert!(!page.contains("<cnn>") && page.contains("&lt;cnn&gt;") && page.contains("a &amp; b"));
}

#[test]
fn dates_are_right() {
    assert_eq!(utc(0), "1970-01-01 00:00 UTC");
    assert_eq!(utc(951_827_696), "2000-02-29 12:34 UTC");
    assert_eq!(utc(1_735_689_600), "2025-01-01 00:00 UTC");
    assert_eq!(utc(1_798_761_599), "2026-12-31 23:59 UTC");
}

#[test]
fn places_follow_the_scale() {
    let plot = |scale, value| {
        let point = Point { series: "a".into(), mark: 0, value, shown: "v".into(), high: None };
        Plot::of("p", "t", "u", scale).with(vec![Group { label: "g".into(), points: vec![point] }]).figure()
    };
    // A value on a power of ten starts the axis; 98 % lies inside it.
    assert!(plot(Scale::Log, 100.0).contains("cx=\"150.0\""));
    assert!(plot(Scale::Log, 0.0).contains("<circle"), "zero has no logarithm, and is drawn at the edge");
    assert!(plot(Scale::Linear, 0.98).contains("98.0 %"));
}
