use super::super::control::{Order, Totals, refusal, refused};
use super::super::party::{Lie, Shared};
use super::super::{Gateway, OpenOptions, Passed};
use crate::deploy::support::{self, Deployment};
use crate::{InputSpec, Model, PlanOptions, Via};
use std::sync::Arc;
use std::time::Duration;
use subrosa_mpc::Load;
use subrosa_mpc::relayed::Refused;
use subrosa_net::EndpointId;

const SOON: Duration = Duration::from_secs(10);
const ONE: Load = Load { parts: 1, samples: 1 };
const RUN: Order = Order::Run { samples: 1, opened: 1 };

/// A lying party at last tells the party of the highest number that it refuses, and all others what it should.
pub(super) fn perhaps_lying(shared: &Shared, mut sends: Vec<(EndpointId, Vec<u8>)>) -> Vec<(EndpointId, Vec<u8>)> {
    if shared.lies.get() == Some(&Lie::Verdict)
        && let Some((_, told)) = sends.last_mut()
    {
        told.fill(refusal(Some(Refused::Closed)));
    }
    sends
}

/// Parties that hold a model, of which the first lies or not, and a sound request of one sample.
fn scene(via: Via, parties: usize, lies: bool) -> (Deployment, Vec<Vec<u8>>) {
    let (deployment, mut sound) = scene_of(via, parties, lies, 1);
    (deployment, sound.remove(0))
}

/// The same, and so many requests.
fn scene_of(via: Via, parties: usize, lies: bool, requests: usize) -> (Deployment, Vec<Vec<Vec<u8>>>) {
    let mut deployment = Deployment::via(via.name(), parties, "deadline_s = 10");
    for party in 0..parties {
        deployment.start_as(party, |server| {
            if lies && party == 0 {
                server.lie(Lie::Verdict);
            }
        });
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/mlp.onnx");
    let input = InputSpec::given(0.0, 1.0).unwrap();
    let plan = Model::open(path).unwrap().plan(&PlanOptions { via, input, ..PlanOptions::default() }).unwrap();
    deployment.client("clinic").provision(&plan, "digits").unwrap();
    let gateway = Arc::new(Gateway::new(deployment.client("clinic")).unwrap());
    let relay = gateway.relay("digits", None, 8).unwrap();
    let offer = gateway.offer(relay.outline()).unwrap();
    let (outline, keys) = offer.check(&deployment.parsed().parties).unwrap();
    let ask = |_| outline.parcels(&outline.ask(&keys, &[vec![0.5; 784]]).unwrap().0, 8).unwrap().1;
    (deployment, (0..requests).map(ask).collect())
}

#[test]
fn what_was_prepared_for_a_request_that_was_refused_is_used_for_nothing() {
    let orders = [RUN, Order::RunRelayed(ONE), Order::Prepare(ONE)];
    for (via, parties) in [(Via::Rep3, 3), (Via::Rep3Malicious, 3), (Via::Rep4, 4)] {
        let (deployment, sound) = scene(via, parties, false);
        for order in orders {
            let mut remote = deployment.client("clinic").open("digits", None, &OpenOptions::default()).unwrap();
            let outline = remote.model.outline(remote.dealing).unwrap();
            let answers: Vec<usize> = (0..parties).map(|p| outline.answer_bytes(p, 1)).collect();
            let lane = &mut remote.lanes[0];
            lane.prepare(ONE, SOON).unwrap();
            let mut changed = sound.clone();
            changed[1][100] ^= 1;
            assert!(lane.relay(ONE, changed, &answers, SOON).unwrap().is_err());
            // A party may have ended the session before all have the order.
            let ordered = lane.order(order, SOON);
            let error = ordered.and_then(|()| lane.listen(SOON)).err().unwrap().to_string();
            assert!(error.contains("end its session"), "{via}, {order:?}: {error}");
        }
    }
}

/// One party lies, so that of two that do not one computes and the other refuses: with what it still has it
/// must not compute on anything else.
#[test]
fn a_party_that_lies_and_a_gateway_do_not_get_masks_used_twice() {
    for (via, parties) in [(Via::Rep3Malicious, 3), (Via::Rep4, 4)] {
        let (deployment, sound) = scene(via, parties, true);
        let mut remote = deployment.client("clinic").open("digits", None, &OpenOptions::default()).unwrap();
        let lane = &mut remote.lanes[0];
        lane.prepare(ONE, SOON).unwrap();
        lane.order(Order::RunRelayed(ONE), SOON).unwrap();
        lane.session.control(sound.into_iter().enumerate().collect(), &[], SOON).unwrap();
        let expected: Vec<_> = (0..parties).map(|p| (p, 1)).collect();
        let told = lane.session.control(vec![], &expected, SOON).unwrap();
        let told: Vec<_> = told.iter().map(|party| refused(party[0])).collect();
        let last = parties - 1;
        assert!(told[..last].iter().all(Option::is_none) && told[last] == Some(Refused::Elsewhere));
        // It is the only one that still follows orders.
        lane.session.control(vec![], &[(last, Totals::BYTES)], SOON).unwrap();
        lane.session.control(vec![(last, RUN.encode())], &[], SOON).unwrap();
        let error = lane.session.control(vec![], &[(last, Totals::BYTES)], SOON).err().unwrap().to_string();
        assert!(error.contains(support::PARTIES[last]) && error.contains("end its session"), "{via}: {error}");
    }
}

/// A gateway that gives the parties the same requests in another order, or one of them twice, would have one
/// owner's share computed with another's.
#[test]
fn requests_at_once_are_the_same_in_the_same_order_at_all_parties() {
    for (via, parties) in [(Via::Rep3, 3), (Via::Rep4, 4)] {
        let (deployment, sound) = scene_of(via, parties, false, 2);
        let two = Load { parts: 2, samples: 1 };
        let pass = |parcels: Vec<Vec<u8>>| {
            let mut remote = deployment.client("clinic").open("digits", None, &OpenOptions::default()).unwrap();
            let outline = remote.model.outline(remote.dealing).unwrap();
            let answers: Vec<usize> = (0..parties).map(|p| 2 * outline.answer_bytes(p, 1)).collect();
            remote.lanes[0].prepare(two, SOON).unwrap();
            remote.lanes[0].relay(two, parcels, &answers, SOON).unwrap()
        };
        let of = |[first, second]: [usize; 2], party: usize| [&sound[first][party][..], &sound[second][party]].concat();
        let right = |party| of([0, 1], party);
        let (mixed, replayed) = (Some(Refused::Mixed), Some(Refused::Replayed));
        for odd in 0..parties {
            let turned = (0..parties).map(|party| if party == odd { of([1, 0], party) } else { right(party) });
            assert_eq!(pass(turned.collect()).err(), Some(vec![mixed; 2]), "{via}: {odd}");
            let twice = (0..parties).map(|party| if party == odd { of([0, 0], party) } else { right(party) });
            assert_eq!(pass(twice.collect()).err(), Some(vec![None, replayed]), "{via}: {odd}");
        }
        let both = |parts: [usize; 2]| (0..parties).map(|party| of(parts, party)).collect();
        assert_eq!(pass(both([1, 1])).err(), Some(vec![None, replayed]));
        assert!(pass(both([0, 1])).is_ok(), "{via}: none of that used them up");
        assert_eq!(pass(both([1, 0])).err(), Some(vec![replayed; 2]));
    }
}

/// An owner that deals two parties different things where they get the same: its neighbours in the batch are as
/// they were, and nobody computes on its own request.
#[test]
fn an_owner_who_deals_inconsistently_is_refused_alone() {
    for (via, parties) in [(Via::Rep3Malicious, 3), (Via::Rep4, 4)] {
        let (deployment, sound) = scene_of(via, parties, false, 2);
        let gateway = Arc::new(Gateway::new(deployment.client("clinic")).unwrap());
        let mut relay = gateway.relay("digits", None, 8).unwrap();
        let offer = gateway.offer(relay.outline()).unwrap();
        let (outline, keys) = offer.check(&deployment.parsed().parties).unwrap();
        for odd in 0..3 {
            let mut dealt = outline.deal(&[vec![0.5; 784]]).unwrap();
            // Seeds and words are told apart by neither party alone.
            let (at, next) = (dealt[odd].clone(), &dealt[(odd + 1) % 3]);
            let common = outline.sharing.common(outline.ring, odd, (odd + 1) % 3, 784, &at);
            assert!(next.windows(common.len()).any(|window| window == common));
            let place = at.windows(common.len()).position(|window| window == common).unwrap();
            dealt[odd][place] ^= 1;
            let bad = outline.seal(&keys, 1, dealt).unwrap().0;
            let good = outline.ask(&keys, &[vec![0.25; 784]]).unwrap();
            let mut passed = relay.pass_together(&[&good.0, &bad]);
            let Passed::Refused(why) = passed.pop().unwrap().unwrap() else { panic!("{via}: computed") };
            assert_eq!(why, Refused::Contradictory, "{via}: {odd}");
            let Passed::Answered { bytes, .. } = passed.pop().unwrap().unwrap() else { panic!("{via}: refused") };
            good.1.read(&outline, &bytes).unwrap();
        }
        let mut remote = deployment.client("clinic").open("digits", None, &OpenOptions::default()).unwrap();
        let answers: Vec<usize> = (0..parties).map(|p| outline.answer_bytes(p, 1)).collect();
        remote.lanes[0].prepare(ONE, SOON).unwrap();
        assert!(remote.lanes[0].relay(ONE, sound[0].clone(), &answers, SOON).unwrap().is_ok());
        assert!(!deployment.logged().contains("deviates"), "{}", deployment.logged());
    }
}

/// More at once than a party grants is passed on in parts.
#[test]
fn what_is_too_much_at_once_is_passed_on_in_halves() {
    let mut deployment = Deployment::via("rep3", 3, "deadline_s = 10\nbatch = 3");
    (0..3).for_each(|party| deployment.start_as(party, |_| ()));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/mlp.onnx");
    let input = InputSpec::given(0.0, 1.0).unwrap();
    let plan =
        Model::open(path).unwrap().plan(&PlanOptions { via: Via::Rep3, input, ..PlanOptions::default() }).unwrap();
    deployment.client("clinic").provision(&plan, "digits").unwrap();
    let mut cluster = deployment.client("clinic");
    cluster.config.limits.batch = 100;
    let gateway = Arc::new(Gateway::new(cluster).unwrap());
    let mut relay = gateway.relay("digits", None, 100).unwrap();
    let (outline, keys) = gateway.offer(relay.outline()).unwrap().check(&deployment.parsed().parties).unwrap();
    for _ in 0..2 {
        let asked: Vec<_> = (0..7).map(|_| outline.ask(&keys, &[vec![0.5; 784]]).unwrap()).collect();
        let requests: Vec<&[u8]> = asked.iter().map(|(request, _)| request.as_slice()).collect();
        let passed = relay.pass_together(&requests);
        assert!(passed.into_iter().all(|passed| matches!(passed, Ok(Passed::Answered { .. }))));
    }
}

#[test]
fn a_session_is_for_inputs_or_for_boxes() {
    let (deployment, sound) = scene(Via::Rep3, 3, false);
    let open = || deployment.client("clinic").open("digits", None, &OpenOptions::default()).unwrap();
    let mut remote = open();
    let outline = remote.model.outline(remote.dealing).unwrap();
    let answers: Vec<usize> = (0..3).map(|p| outline.answer_bytes(p, 1)).collect();
    let lane = &mut remote.lanes[0];
    lane.prepare(ONE, SOON).unwrap();
    assert!(lane.relay(ONE, sound, &answers, SOON).unwrap().is_ok());
    let error = remote.run_watched(&[vec![0.5; 784]], &mut |_, _| ()).err().unwrap().to_string();
    assert!(error.contains("inputs and boxes"), "{error}");
    let mut remote = open();
    remote.run_watched(&[vec![0.5; 784]], &mut |_, _| ()).unwrap();
    let lane = &mut remote.lanes[0];
    let ordered = lane.order(Order::RunRelayed(ONE), SOON);
    let error = ordered.and_then(|()| lane.listen(SOON)).err().unwrap().to_string();
    assert!(error.contains("inputs and boxes"), "{error}");
}

/// A card lies with its share, which may be large: whoever asks what a party vouches for has it read once.
#[test]
fn what_a_party_vouches_for_is_read_once() {
    let (deployment, _) = scene(Via::Rep3, 3, false);
    let gateway = Arc::new(Gateway::new(deployment.client("clinic")).unwrap());
    let relay = gateway.relay("digits", None, 8).unwrap();
    std::fs::remove_file(deployment.state(0).join("models/digits/1.share")).unwrap();
    assert!(gateway.offer(relay.outline()).is_ok(), "it was asked before");
    let mut other = relay.outline().clone();
    other.dealing = [7; 32];
    assert!(gateway.offer(&other).is_err(), "which is kept nowhere");
}
