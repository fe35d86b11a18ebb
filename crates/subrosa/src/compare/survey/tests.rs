use super::*;
use subrosa_core::Terms;

fn row(model: &str, backend: &str, trust: Trust, latency: f64) -> Row {
    let json = serde_json::json!({
        "model": model, "backend": backend, "claim": "c", "images": 1000, "correct": 990, "accuracy": 0.99,
        "plain_accuracy": 0.99, "agreement": 1.0, "max_abs_err": 0.0, "batch": 1, "latency_ms_p50": latency,
        "latency_ms_p95": latency, "throughput_per_s": 1.0, "slowdown_vs_plain": latency / 0.01, "setup_ms": 0.0,
        "offline_ms": 0.0, "bytes_offline": 0, "bytes_online": 0, "rounds": 0, "peak_rss_mb": 0.0, "parties": 3,
        "threads": 1, "network": "n", "security_bits": 128, "insecure": [],
    });
    let row: Row = serde_json::from_value(json).unwrap();
    Row { terms: Terms { trust, ..Terms::default() }, ..row }
}

fn rows() -> Vec<Row> {
    vec![
        row("mlp", "plain", Trust::Machine, 0.01),
        row("mlp", "rep3", Trust::Majority, 1.0),
        row("mlp", "rep4", Trust::MajorityCheating, 3.0),
        row("mlp", "beaver", Trust::Dealer, 4.0),
        row("mlp_square", "ckks", Trust::Key, 20.0),
        row("mlp", "spu-aby3", Trust::Majority, 25.0),
        row("mlp", "spu-semi2k", Trust::OneDealingParty, 20.0),
        row("mlp", "spu-cheetah", Trust::OneParty, 400.0),
        row("mlp_square", "tenseal", Trust::Key, 2000.0),
    ]
}

#[test]
fn each_peer_is_set_beside_the_fastest_of_ours_at_its_trust() {
    let rows = rows();
    let found: Vec<_> = pairs(&rows)
        .iter()
        .map(|p| (p.peer.backend.as_str(), p.ours.map(|r| r.backend.as_str())))
        .map(|(a, b)| (a.to_owned(), b.map(str::to_owned)))
        .collect();
    let expected =
        [("spu-aby3", Some("rep3")), ("spu-semi2k", Some("beaver")), ("spu-cheetah", None), ("tenseal", Some("ckks"))];
    assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.map(str::to_owned))));
    assert_eq!(pairs(&rows)[0].ratio(), Some(25.0));
}

#[test]
fn less_security_or_another_batch_is_not_beside_it() {
    let mut rows = rows();
    rows.iter_mut().filter(|r| r.backend == "rep3").for_each(|r| r.security_bits = 40);
    rows.iter_mut().filter(|r| r.backend == "ckks").for_each(|r| r.batch = 128);
    let ours: Vec<_> = pairs(&rows).iter().map(|p| p.ours.map(|r| r.backend.clone())).collect();
    // rep4 asks for no more trust than rep3 does.
    assert_eq!(ours, [Some("rep4".to_owned()), Some("beaver".to_owned()), None, None]);
}

#[test]
fn a_row_that_a_party_dealt_for_itself_stands_beside_its_like_and_says_so() {
    let mut rows = rows();
    for row in rows.iter_mut().filter(|r| r.backend == "beaver" || r.backend == "spu-semi2k") {
        row.terms.trust = Trust::OneDealingParty;
        row.security_bits = 0;
    }
    rows.iter_mut().filter(|r| r.backend == "beaver").for_each(|r| r.insecure = vec!["self-dealer".to_owned()]);
    let ours: Vec<_> = standings(&rows).into_iter().map(|s| s.ours.unwrap_or_default()).collect();
    assert_eq!(ours, ["rep3", "beaver (self-dealer)", "", "ckks"]);
}

#[test]
fn the_checklist_says_what_the_rows_say() {
    let verdicts = |rows: &[Row]| findings(rows).iter().map(|f| f.verdict).collect::<Vec<_>>();
    let found = findings(&rows());
    use Verdict::{Fails, Holds, Open};
    // MPC 100 x before HE 2000 x; three of eight rows are 1000 times slower or more.
    assert_eq!(verdicts(&rows()), [Holds, Holds, Holds, Holds]);
    assert!(
        found[1].found.contains("mlp, batch 1: 100 x / 2000 x") || found[1].found.contains("100 x / 2,000 x"),
        "{}",
        found[1].found
    );
    assert!(found[3].found.contains("spu-cheetah"), "{}", found[3].found);

    let mut worse = rows();
    worse[5].accuracy = Some(0.97);
    worse[5].latency_ms_p50 = 0.5;
    worse[4].slowdown_vs_plain = 10.0;
    worse.iter_mut().for_each(|r| r.slowdown_vs_plain = r.slowdown_vs_plain.min(900.0));
    assert_eq!(verdicts(&worse), [Fails, Fails, Fails, Fails]);
    assert!(findings(&worse)[3].found.contains("mlp via spu-aby3, batch 1 (2"), "{}", findings(&worse)[3].found);

    assert_eq!(verdicts(&[]), [Open; 4]);
}

#[test]
fn few_images_say_nothing_of_accuracy() {
    let mut rows = rows();
    rows[5].images = 20;
    rows[5].accuracy = Some(0.9);
    assert_eq!(findings(&rows)[0].verdict, Verdict::Holds);
}
