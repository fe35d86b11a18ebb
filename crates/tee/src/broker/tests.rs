//! Keys go to attested programs, once a challenge, in versions that are not retired.

use super::*;
use crate::binding::Suite;
use crate::reason::Reason;
use crate::seal::seal;
use crate::synthetic::Enclave;
use crate::verify::tests::signed;

const NOW: u64 = 1_795_392_000;

struct Scene {
    enclave: Enclave,
    key: ChannelKey,
    policy: Policy,
    broker: Broker,
    sealed: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        Self::with(signed(&Enclave::rules()), KeyUse::Production)
    }

    fn with(policy: Policy, key_use: KeyUse) -> Self {
        let mut broker = Broker::new();
        let mut keep = |version| {
            let (key, sealed) = seal(b"weights", version, policy.id()).unwrap();
            let header = crate::seal::header(&sealed).unwrap();
            broker.keep("lenet", header, key, policy.clone(), key_use).unwrap();
            sealed
        };
        keep(1);
        let sealed = keep(2);
        Self { enclave: Enclave::new(), key: ChannelKey::generate().unwrap(), policy, broker, sealed }
    }

    fn ask(&mut self, version: u64) -> Ask {
        let nonce = self.broker.challenge(NOW).unwrap();
        let bound = Bound {
            role: Role::FetchKey,
            suite: Suite::X25519ChaCha20,
            channel_key: self.key.public(),
            tls_key: None,
            freshness: Freshness::Nonce(nonce),
            data_policy: None,
            model_policy: Some(self.policy.id()),
            model: crate::seal::header(&self.sealed).unwrap().model,
            configuration: [5; 32],
            exporter: None,
        };
        let stapled = self.enclave.attest(&bound, NOW);
        Ask { model: "lenet".to_owned(), version, stapled, bound }
    }

    fn release(&mut self, ask: &Ask) -> Result<Vec<u8>, Error> {
        let roots = self.enclave.roots();
        self.broker.release_under(&roots, ask, ask.bound.exporter, NOW)
    }
}

fn refused(refusal: Refusal) -> Option<Error> {
    Some(Error::NotReleased(refusal))
}

#[test]
fn an_attested_program_opens_the_model() {
    let mut scene = Scene::new();
    let ask = scene.ask(2);
    let wrapped = scene.release(&ask).unwrap();
    let key = scene.key.unwrap(&ask.bound, &wrapped).unwrap();
    let (header, model) = key.open(&scene.sealed, 2).unwrap();
    assert!(*model == b"weights" && header.version == 2);
    // Nobody else opens it, and not for another purpose.
    assert!(ChannelKey::generate().unwrap().unwrap(&ask.bound, &wrapped).is_err());
    assert!(scene.key.unwrap(&Bound { configuration: [6; 32], ..ask.bound.clone() }, &wrapped).is_err());
    for at in 0..wrapped.len() {
        let mut changed = wrapped.clone();
        changed[at] ^= 1;
        assert!(scene.key.unwrap(&ask.bound, &changed).is_err(), "byte {at}");
    }
}

#[test]
fn a_challenge_is_good_once_and_not_for_long() {
    let mut scene = Scene::new();
    let ask = scene.ask(2);
    assert!(scene.release(&ask).is_ok());
    assert_eq!(scene.release(&ask).err(), refused(Refusal::Nonce));
    let ask = scene.ask(2);
    assert_eq!(scene.broker.release(&ask, None, NOW + CHALLENGE_LASTS + 1).err(), refused(Refusal::Nonce));
    let mut own = scene.ask(2);
    own.bound.freshness = Freshness::Nonce([9; 32]);
    assert_eq!(scene.release(&own).err(), refused(Refusal::Nonce));
    own.bound.freshness = Freshness::Epoch(0);
    assert_eq!(scene.release(&own).err(), refused(Refusal::Nonce));
    while scene.broker.challenge(NOW).is_ok() {}
    assert_eq!(scene.broker.challenge(NOW).err(), refused(Refusal::Busy));
    assert!(scene.broker.challenge(NOW + CHALLENGE_LASTS + 1).is_ok(), "old ones make room");
}

#[test]
fn an_older_version_is_refused_for_ever() {
    let mut scene = Scene::new();
    let ask = scene.ask(1);
    assert!(scene.release(&ask).is_ok());
    scene.broker.retire("lenet", 2);
    scene.broker.retire("lenet", 1);
    assert_eq!(scene.broker.oldest_allowed().collect::<Vec<_>>(), [("lenet", 2)]);
    let ask = scene.ask(1);
    assert_eq!(scene.release(&ask).err(), Some(Error::Rollback { version: 1, least: 2 }));
    let (key, sealed) = seal(b"old", 1, scene.policy.id()).unwrap();
    let header = crate::seal::header(&sealed).unwrap();
    let kept = scene.broker.keep("lenet", header, key, scene.policy.clone(), KeyUse::Production);
    assert_eq!(kept, Err(Error::Rollback { version: 1, least: 2 }));
    // A broker that starts anew is told what was retired.
    let mut again = Broker::new();
    again.retire("lenet", 2);
    let (key, sealed) = seal(b"old", 1, scene.policy.id()).unwrap();
    let header = crate::seal::header(&sealed).unwrap();
    assert!(again.keep("lenet", header, key, scene.policy.clone(), KeyUse::Production).is_err());
    let ask = scene.ask(2);
    assert!(scene.release(&ask).is_ok());
}

#[test]
fn the_evidence_has_to_be_meant_for_this() {
    let mut scene = Scene::new();
    let changes: [fn(&mut Ask); 5] = [
        |a| a.bound.role = Role::Serve,
        |a| a.bound.model[0] ^= 1,
        |a| a.bound.model_policy = None,
        |a| (a.bound.data_policy, a.bound.model_policy) = (a.bound.model_policy, None),
        |a| a.bound.model_policy = Some(crate::PolicyId([0; 32])),
    ];
    for change in changes {
        let mut ask = scene.ask(2);
        change(&mut ask);
        assert_eq!(scene.release(&ask).err(), refused(Refusal::Purpose));
    }
    for (name, version) in [("lenet", 3), ("other", 2)] {
        let mut ask = scene.ask(2);
        (ask.model, ask.version) = (name.to_owned(), version);
        assert_eq!(scene.release(&ask).err(), refused(Refusal::Unknown));
    }
    let mut swapped = scene.ask(2);
    swapped.bound.channel_key = ChannelKey::generate().unwrap().public();
    assert_eq!(scene.release(&swapped).err(), refused(Refusal::Untrusted(Reason::Binding)));
    // Under the vendors' roots, a test root's evidence gets nothing.
    let ask = scene.ask(2);
    let Err(Error::NotReleased(Refusal::Untrusted(reason))) = scene.broker.release(&ask, None, NOW) else { panic!() };
    assert_eq!(reason.code(), "issuer");
}

#[test]
fn keys_are_kept_for_the_policy_that_the_model_was_sealed_for() {
    let mut scene = Scene::new();
    let (key, sealed) = seal(b"weights", 3, crate::PolicyId([0; 32])).unwrap();
    let header = crate::seal::header(&sealed).unwrap();
    let kept = scene.broker.keep("lenet", header, key, scene.policy.clone(), KeyUse::Production);
    assert!(matches!(kept, Err(Error::SealedModel(_))));
    let (key, sealed) = seal(b"weights", 2, scene.policy.id()).unwrap();
    let header = crate::seal::header(&sealed).unwrap();
    let twice = scene.broker.keep("lenet", header, key, scene.policy.clone(), KeyUse::Production);
    assert!(matches!(twice, Err(Error::SealedModel(_))));
}

#[cfg(feature = "simulation")]
mod simulated {
    use super::*;
    use crate::evidence::Collateral;
    use crate::simulation::{AllowSimulated, Simulator};

    fn scene(simulator: &Simulator, key_use: KeyUse) -> Scene {
        let key: String = simulator.public_key().iter().map(|b| format!("{b:02x}")).collect();
        let switch = format!("allow_simulated = true\nsimulators = [\"{key}\"]\n{}", Enclave::rules());
        Scene::with(signed(&switch), key_use)
    }

    fn ask(scene: &mut Scene, simulator: &Simulator) -> Ask {
        let mut ask = scene.ask(2);
        ask.stapled = Stapled { evidence: simulator.attest(&ask.bound, NOW), collateral: Collateral::Simulated };
        ask
    }

    #[test]
    fn simulated_evidence_gets_trial_keys_at_most() {
        let simulator = Simulator::generate().unwrap();
        for key_use in [KeyUse::Production, KeyUse::Trial] {
            let mut scene = scene(&simulator, key_use);
            let asked = ask(&mut scene, &simulator);
            assert_eq!(scene.release(&asked).err(), refused(Refusal::Untrusted(Reason::Simulated)));
            let asked = ask(&mut scene, &simulator);
            let released = scene.broker.release_simulated(&asked, None, AllowSimulated::by_flag(), NOW);
            match key_use {
                KeyUse::Production => assert_eq!(released.err(), refused(Refusal::Production)),
                KeyUse::Trial => assert!(scene.key.unwrap(&asked.bound, &released.unwrap()).is_ok()),
            }
        }
        // Without the line in the policy, not even those.
        let mut scene = Scene::with(signed(&Enclave::rules()), KeyUse::Trial);
        let asked = ask(&mut scene, &simulator);
        let released = scene.broker.release_simulated(&asked, None, AllowSimulated::by_flag(), NOW);
        assert_eq!(released.err(), refused(Refusal::Untrusted(Reason::Simulated)));
    }
}

#[test]
fn a_message_comes_back_and_no_cut_one_does() {
    let ask = Scene::new().ask(2);
    let bytes = ask.to_bytes();
    assert_eq!(Ask::from_bytes(&bytes), Ok(ask));
    for length in 0..bytes.len() {
        assert_eq!(Ask::from_bytes(&bytes[..length]).unwrap_err().code(), "malformed", "{length} bytes");
    }
    assert!(Ask::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_challenge_that_was_taken_back_is_none() {
    let mut scene = Scene::new();
    let ask = scene.ask(2);
    let Freshness::Nonce(nonce) = ask.bound.freshness else { unreachable!() };
    scene.broker.forget(&nonce);
    assert_eq!(scene.release(&ask).err(), refused(Refusal::Nonce));
}

#[test]
fn evidence_about_another_connection_gets_nothing() {
    for (bound_to, asked_on) in [(Some([1; 32]), Some([2; 32])), (Some([1; 32]), None), (None, Some([2; 32]))] {
        let mut scene = Scene::new();
        let mut ask = scene.ask(2);
        ask.bound.exporter = bound_to;
        ask.stapled = scene.enclave.attest(&ask.bound, NOW);
        let roots = scene.enclave.roots();
        let refused_as = scene.broker.release_under(&roots, &ask, asked_on, NOW).err();
        assert_eq!(refused_as, refused(Refusal::Purpose));
    }
    let mut scene = Scene::new();
    let mut ask = scene.ask(2);
    ask.bound.exporter = Some([1; 32]);
    ask.stapled = scene.enclave.attest(&ask.bound, NOW);
    assert!(scene.release(&ask).is_ok());
}
