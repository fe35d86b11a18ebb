//! Owners who are no clients of a deployment, and a gateway between them and the parties that they do not
//! trust.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

mod support;

use std::sync::Arc;
use subrosa::deploy::{ClusterConfig, Gateway, OpenOptions, Outline, Passed, Relay};
use subrosa::{Dataset, InputSpec, Model, Plan, PlanOptions, Reveal, Via};
use support::{Deployment, PARTIES};

const DIGITS: usize = 6;

fn asset(path: &str) -> String {
    format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))
}

fn plan(via: Via, reveal: Reveal) -> Plan {
    let model = Model::open(asset("models/mlp.onnx")).unwrap();
    let input = InputSpec::given(0.0, 1.0).unwrap();
    model.plan(&PlanOptions { via, input, reveal, ..PlanOptions::default() }).unwrap()
}

fn digits(n: usize) -> Vec<Vec<f32>> {
    let model = Model::open(asset("models/mlp.onnx")).unwrap();
    let mut samples =
        Dataset::read(asset("data/mnist/t10k-images-idx3-ubyte.gz")).unwrap().fit(model.inputs()).unwrap();
    samples.keep(n);
    samples.inputs
}

/// Parties that hold the model, and a gateway before them.
struct Scene {
    deployment: Deployment,
    gateway: Arc<Gateway>,
    plan: Plan,
}

impl Scene {
    fn new(via: Via, parties: usize, reveal: Reveal) -> Self {
        let deployment = Deployment::via(via.name(), parties, "deadline_s = 10\nbatch = 8").all_started();
        let plan = plan(via, reveal);
        deployment.client("clinic").provision(&plan, "digits").unwrap();
        let gateway = Arc::new(Gateway::new(deployment.client("clinic")).unwrap());
        Self { deployment, gateway, plan }
    }

    fn rep3() -> Self {
        Self::new(Via::Rep3, 3, Reveal::Logits)
    }

    fn relay(&self) -> Relay {
        self.gateway.relay("digits", None, 1024).unwrap()
    }

    /// What an owner knows who checks the offer.
    fn offered(&self, relay: &Relay) -> (Outline, Vec<[u8; 32]>) {
        let offer = self.gateway.offer(relay.outline()).unwrap();
        offer.check(&self.deployment.parsed().parties).unwrap()
    }

    fn request(&self, relay: &Relay, samples: usize) -> Vec<u8> {
        let (outline, keys) = self.offered(relay);
        outline.ask(&keys, &digits(samples)).unwrap().0
    }

    /// An honest request is answered, rightly.
    fn works(&self, relay: &mut Relay) {
        let (outline, keys) = self.offered(relay);
        let inputs = digits(DIGITS);
        let (request, asked) = outline.ask(&keys, &inputs).unwrap();
        let Passed::Answered { bytes, samples, .. } = relay.pass(&request).unwrap() else { panic!("refused") };
        assert_eq!(samples, DIGITS);
        let found = asked.read(&outline, &bytes).unwrap();
        let expected = self.plan.simulate().unwrap().run(&inputs).unwrap();
        assert_eq!(found[0].len(), expected.values[0].len());
        for (got, expected) in found[0].iter().zip(&expected.values[0]) {
            assert!((got - expected).abs() < 0.05, "{got} for {expected}");
        }
    }
}

fn refused(passed: subrosa::Result<Passed>) -> String {
    match passed.unwrap() {
        Passed::Refused(why) => why.to_string(),
        Passed::Answered { .. } => panic!("it was computed"),
    }
}

#[test]
fn owners_get_what_the_parties_compute_and_the_meter_is_the_plans() {
    for (via, parties) in [(Via::Rep3, 3), (Via::Rep3Malicious, 3), (Via::Rep4, 4)] {
        let scene = Scene::new(via, parties, Reveal::Logits);
        let mut relay = scene.relay();
        relay.rest();
        scene.works(&mut relay);
        // In the same session, in one opened anew, and prepared ahead.
        scene.works(&mut relay);
        relay.close();
        scene.works(&mut relay);
        let (outline, keys) = scene.offered(&relay);
        relay.rest();
        let (request, asked) = outline.ask(&keys, &digits(1)).unwrap();
        let Passed::Answered { online, bytes, .. } = relay.pass(&request).unwrap() else { panic!("refused") };
        asked.read(&outline, &bytes).unwrap();
        let direct = scene.plan.open().unwrap().run(&digits(1)).unwrap().batches[0].online.cost;
        // But for what the owner says, which is sealed and said to the gateway.
        let said: u64 = outline.sharing.input_bytes(outline.ring, 784).iter().map(|&bytes| 16 + bytes as u64).sum();
        assert_eq!((online.rounds, online.bytes + said), (direct.rounds, direct.bytes), "{via}");
    }
}

#[test]
fn labels_alone_are_opened_where_the_model_owner_wants_it() {
    let scene = Scene::new(Via::Rep3, 3, Reveal::Label);
    let mut relay = scene.relay();
    let (outline, keys) = scene.offered(&relay);
    assert!(outline.labels_only);
    let (request, asked) = outline.ask(&keys, &digits(DIGITS)).unwrap();
    let Passed::Answered { bytes, .. } = relay.pass(&request).unwrap() else { panic!("refused") };
    assert_eq!(asked.read(&outline, &bytes).unwrap(), [[7.0, 2.0, 1.0, 0.0, 4.0, 1.0]]);
}

#[test]
fn a_gateway_that_mixes_repeats_or_changes_boxes_has_nothing_computed() {
    for (via, parties) in [(Via::Rep3, 3), (Via::Rep4, 4)] {
        let scene = Scene::new(via, parties, Reveal::Logits);
        let mut relay = scene.relay();
        let outline = relay.outline().clone();
        let owners = scene.relay();
        let one = || outline.parcels(&scene.request(&owners, 2), 8).unwrap().1;

        // Boxes of two requests, each sound.
        for odd in 0..parties {
            let (mut mixed, mut other) = (one(), one());
            std::mem::swap(&mut mixed[odd], &mut other[odd]);
            let mut relay = scene.relay();
            assert!(
                refused(relay.pass_parcels(2, mixed.clone())).contains("boxes of different requests"),
                "{via} {odd}"
            );
            assert!(refused(scene.relay().pass_parcels(2, other.clone())).contains("different requests"));
            // Nothing of them was used. Put right they are computed, and then never again.
            std::mem::swap(&mut mixed[odd], &mut other[odd]);
            for right in [mixed, other] {
                assert!(matches!(relay.pass_parcels(2, right.clone()).unwrap(), Passed::Answered { .. }));
                assert!(refused(scene.relay().pass_parcels(2, right)).contains("opened before"));
            }
        }
        // The keys of one request over the box of another.
        let (sound, other) = (one(), one());
        let keys = parties * 32;
        let grafted: Vec<Vec<u8>> = sound.iter().zip(&other).map(|(a, b)| [&a[..keys], &b[keys..]].concat()).collect();
        assert!(refused(relay.pass_parcels(2, grafted)).contains("does not open"));
        // A bit of one box, of its own key, of another party's key.
        for at in [0, 32, 64, keys, keys + 5] {
            let mut changed = one();
            changed[1][at] ^= 1;
            assert!(refused(relay.pass_parcels(2, changed)).contains("does not open"), "{via} byte {at}");
        }
        // Nonsense in place of one.
        let mut nonsense = one();
        nonsense[0].iter_mut().for_each(|byte| *byte = 0x5a);
        assert!(refused(relay.pass_parcels(2, nonsense)).contains("does not open"));
        // A box of its own making beside honest ones: it opens only under keys that name it.
        let (mut sound, own) = (one(), one());
        sound[0].clone_from(&own[0]);
        assert!(refused(relay.pass_parcels(2, sound)).contains("different requests"));
        // A whole request again.
        let again = one();
        assert!(matches!(relay.pass_parcels(2, again.clone()).unwrap(), Passed::Answered { .. }));
        assert!(refused(relay.pass_parcels(2, again.clone())).contains("opened before"));
        assert!(refused(scene.relay().pass_parcels(2, again)).contains("opened before"));
        // In all this no session ended.
        scene.works(&mut relay);
        assert!(!scene.deployment.logged().contains("failed:"), "{}", scene.deployment.logged());
    }
}

/// Owners who ask at the same time are computed at once, of as many samples as each gives, and each reads its own.
#[test]
fn several_owners_are_computed_at_once_each_for_itself() {
    for (via, parties, reveal) in
        [(Via::Rep3, 3, Reveal::Logits), (Via::Rep3Malicious, 3, Reveal::Label), (Via::Rep4, 4, Reveal::Logits)]
    {
        let scene = Scene::new(via, parties, reveal);
        let mut relay = scene.relay();
        let (outline, keys) = scene.offered(&relay);
        let all = digits(12);
        let expected = scene.plan.simulate().unwrap().run(&all).unwrap().values.remove(0);
        let each = expected.len() / 12;
        // Seven of one sample, then three of two and one of ten, which is more than the parties grant.
        let counts = [1, 2, 1, 1, 10, 1, 2, 1, 1, 2, 1];
        let mut owners = Vec::new();
        for (number, count) in counts.into_iter().enumerate() {
            let first = number % (12 - count + 1);
            let inputs = vec![all[0][first * 784..(first + count) * 784].to_vec()];
            owners.push((first, count, outline.ask(&keys, &inputs).unwrap()));
        }
        let mut requests: Vec<Vec<u8>> = owners.iter().map(|(_, _, (request, _))| request.clone()).collect();
        // The last one's box was changed on its way, and the first one's request comes twice.
        let end = requests[10].len();
        requests[10][end - 1] ^= 1;
        requests.push(requests[0].clone());
        let requests: Vec<&[u8]> = requests.iter().map(Vec::as_slice).collect();
        let mut passed = relay.pass_together(&requests);
        assert_eq!(passed.len(), 12);
        assert!(refused(passed.pop().unwrap()).contains("opened before"), "{via}");
        assert!(refused(passed.pop().unwrap()).contains("does not open"), "{via}");
        for ((first, count, (_, asked)), passed) in owners.into_iter().zip(passed) {
            if count == 10 {
                assert!(passed.err().unwrap().to_string().contains("too many"));
                continue;
            }
            let Passed::Answered { bytes, samples, .. } = passed.unwrap() else { panic!("{via}: refused") };
            let found = asked.read(&outline, &bytes).unwrap().remove(0);
            assert_eq!((samples, found.len()), (count, count * each), "{via}");
            for (got, expected) in found.iter().zip(&expected[first * each..]) {
                assert!((got - expected).abs() < 0.05, "{via}: {got} for {expected}");
            }
        }
        // And without anything wrong all at once: as many rounds as for one.
        let fine: Vec<_> =
            (0..4).map(|at| outline.ask(&keys, &[all[0][at * 784..][..784].to_vec()]).unwrap()).collect();
        let requests: Vec<&[u8]> = fine.iter().map(|(request, _)| request.as_slice()).collect();
        let rounds = |passed: &subrosa::Result<Passed>| match passed.as_ref().unwrap() {
            Passed::Answered { online, .. } => online.rounds,
            Passed::Refused(why) => panic!("{via}: {why}"),
        };
        let together: Vec<u64> = relay.pass_together(&requests).iter().map(rounds).collect();
        let alone = rounds(&relay.pass(&scene.request(&relay, 1)));
        assert_eq!(together, [alone; 4], "{via}");
    }
}

#[test]
fn boxes_for_another_party_count_or_length_are_refused_and_named() {
    let scene = Scene::new(Via::Rep3Malicious, 3, Reveal::Logits);
    let mut relay = scene.relay();
    let outline = relay.outline().clone();
    let parcels = |samples| outline.parcels(&scene.request(&scene.relay(), samples), 8).unwrap().1;
    // These two have one length.
    let mut swapped = parcels(2);
    swapped.swap(0, 1);
    assert!(refused(relay.pass_parcels(2, swapped)).contains("does not open"));
    scene.works(&mut relay);
    // What is longer or shorter than the plan says ends the session, with a reason, and nothing else.
    for (samples, count) in [(2, 3), (3, 2)] {
        let error = relay.pass_parcels(count, parcels(samples)).err().unwrap().to_string();
        assert!(PARTIES[..3].iter().any(|party| error.contains(party)) && error.contains("bytes"), "{error}");
        scene.works(&mut relay);
    }
    let mut cut = parcels(2);
    cut[2].pop();
    let error = relay.pass_parcels(2, cut).err().unwrap().to_string();
    assert!(error.contains("regulator") && error.contains("bytes"), "{error}");
    scene.works(&mut relay);
    // More than a party grants.
    let error = relay.pass_parcels(9, parcels(2)).err().unwrap().to_string();
    assert!(error.contains("limit of 8"), "{error}");
    scene.works(&mut relay);
}

#[test]
fn what_is_no_request_does_not_reach_the_parties() {
    let scene = Scene::rep3();
    let mut relay = scene.relay();
    let request = scene.request(&relay, 1);
    let mut others: Vec<Vec<u8>> = vec![vec![], b"SROGREQ1".to_vec(), request[..request.len() - 1].to_vec()];
    others.push([request.as_slice(), &[0]].concat());
    for count in [0u32, 2, 9, u32::MAX] {
        let mut other = request.clone();
        other[8..12].copy_from_slice(&count.to_le_bytes());
        others.push(other);
    }
    others.push(scene.request(&relay, 8)[..100].to_vec());
    for other in others {
        let error = relay.pass(&other).err().unwrap();
        assert!(matches!(error, subrosa::Error::Input { .. }), "{error}");
    }
    let nine = {
        let (outline, keys) = scene.offered(&relay);
        outline.ask(&keys, &digits(9)).unwrap().0
    };
    assert!(relay.pass(&nine).err().unwrap().to_string().contains("too many"));
    scene.works(&mut relay);
}

#[test]
fn an_offer_that_the_parties_do_not_vouch_for_is_refused() {
    let scene = Scene::rep3();
    let parties = scene.deployment.parsed().parties;
    let offer = scene.gateway.offer(scene.relay().outline()).unwrap();
    let refused = |offer: &subrosa::deploy::Offer| offer.check(&parties).err().unwrap().to_string();
    assert!(offer.check(&parties).is_ok());
    let mut other = offer.clone();
    // The gateway's own key, under the party's signature.
    other.parties[1].key = "11".repeat(32);
    assert!(refused(&other).contains("vendor does not vouch"));
    let mut other = offer.clone();
    other.parties[2].until += 1;
    assert!(refused(&other).contains("regulator does not vouch"));
    let mut other = offer.clone();
    other.parties.swap(0, 1);
    assert!(refused(&other).contains("hospital does not vouch"));
    let mut other = offer.clone();
    let signature = other.parties[1].signature.clone();
    other.parties[0].signature = signature;
    assert!(refused(&other).contains("hospital does not vouch"));
    let mut other = offer.clone();
    other.parties.pop();
    assert!(refused(&other).contains("2 parties"));
    for broken in ["", "zz", "5352"] {
        let mut other = offer.clone();
        other.outline = broken.to_owned();
        assert!(other.check(&parties).is_err());
    }
    // Another model than the parties hold, or one said to take other values: no owner encodes an input for it.
    let (outline, keys) = offer.check(&parties).unwrap();
    let mut others = vec![outline.clone(); 4];
    others[0].dealing[0] ^= 1;
    others[1].inputs[0].hi = 0.5;
    others[2].model = "faces".to_owned();
    others[3].outputs[0].frac -= 1;
    for changed in others {
        let mut other = offer.clone();
        other.outline = changed.encode().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(refused(&other).contains("hospital does not vouch"));
        // Nor do the parties sign it.
        let error = scene.gateway.offer(&changed).err().unwrap().to_string();
        assert!(error.contains("hospital") || error.contains("kept"), "{error}");
    }
    // And who does all the same has nothing computed.
    let mut relay = scene.relay();
    let mut outline = outline;
    outline.dealing[0] ^= 1;
    let (request, _) = outline.ask(&keys, &digits(1)).unwrap();
    assert!(self::refused(relay.pass(&request)).contains("does not open"));
    // Other parties than the owner knows.
    let strangers: ClusterConfig = Deployment::new("").parsed();
    assert!(offer.check(&strangers.parties).is_err());
}

#[test]
fn a_party_that_starts_anew_costs_a_request_and_no_more() {
    let mut scene = Scene::rep3();
    let mut relay = scene.relay();
    relay.rest();
    scene.works(&mut relay);
    let before = scene.request(&relay, 1);
    scene.deployment.stop(1);
    scene.deployment.start(1);
    // Its session is gone, or its key: sealed to the old one, a request opens no more.
    let error = match relay.pass(&before) {
        Err(error) => error.to_string(),
        Ok(Passed::Refused(why)) => why.to_string(),
        Ok(Passed::Answered { .. }) => "answered by the session that goes on".to_owned(),
    };
    println!("{error}");
    scene.gateway.doubt(relay.outline());
    relay.close();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    scene.gateway.doubt(relay.outline());
    scene.works(&mut relay);
}

#[test]
fn a_gateway_stands_before_parties_that_need_to_tell_owners_nothing_and_may_do_so() {
    let fss = Deployment::via("fss", 3, "");
    let error = Gateway::new(fss.client("clinic")).err().unwrap().to_string();
    assert!(error.contains("fss") && error.contains("rep3"), "{error}");
    let rep3 = Deployment::new("");
    for client in ["laboratory", "ministry"] {
        let error = Gateway::new(rep3.client(client)).err().unwrap().to_string();
        assert!(error.contains("data-owner and receiver"), "{error}");
    }
}

#[test]
fn requests_of_several_owners_are_computed_side_by_side() {
    let scene = Scene::rep3();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut relay = scene.relay();
                (0..3).for_each(|_| scene.works(&mut relay));
            });
        }
    });
    // A data owner with an identity of its own is served as before.
    let clinic = scene.deployment.client("clinic");
    let mut remote = clinic.open("digits", None, &OpenOptions { batch: 4, ..OpenOptions::default() }).unwrap();
    assert_eq!(remote.run_watched(&digits(DIGITS), &mut |_, _| ()).unwrap().samples, DIGITS);
}
