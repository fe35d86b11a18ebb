//! Files of keys: refused when they are not what they should be, used once whatever happens,
//! and agreed upon by servers that remember different things.

use super::agree::agree;
use super::journal::{Journal, Used};
use super::name::{Dealing, Head, MOST};
use super::{Claim, SIGNED, Stock, Wanted, key_file_bytes};
use crate::deploy::ClusterConfig;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use subrosa_net::tcp::{Fingerprint, Identity, Validity};
use subrosa_net::{Frame, Recorder, Session};

pub(super) const DEALING: Dealing = Dealing([0xd7; 16]);
pub(super) const PAYLOAD: u64 = (1 << 20) + 77;
const BATCH: u32 = 16;
const PURPOSE: [u8; 32] = [9; 32];

/// One server's folders, and a dealer.
pub(super) struct Bench {
    folder: PathBuf,
    dealer: Identity,
    party: usize,
}

impl Bench {
    pub(super) fn at(folder: &Path) -> Self {
        Self::of(folder, 0)
    }

    fn of(folder: &Path, party: usize) -> Self {
        let kept = folder.join("dealer");
        let dealer = Identity::load(&kept).unwrap_or_else(|_| {
            let dealer = Identity::create("dealer", Validity::days(1)).unwrap();
            dealer.save(&kept, false).unwrap();
            dealer
        });
        let bench = Self { folder: folder.to_owned(), dealer, party };
        fs::create_dir_all(bench.keys()).unwrap();
        fs::create_dir_all(bench.state()).unwrap();
        bench
    }

    pub(super) fn keys(&self) -> PathBuf {
        self.folder.join(format!("keys-{}", self.party))
    }

    pub(super) fn state(&self) -> PathBuf {
        self.folder.join(format!("state-{}", self.party))
    }

    pub(super) fn config(&self) -> ClusterConfig {
        let party = |name: &str, print: Fingerprint| {
            format!("[[party]]\nname = \"{name}\"\naddress = \"{name}:1\"\nfingerprint = \"{print}\"\n")
        };
        let parties = [
            party("hospital", Fingerprint([1; 32])),
            party("vendor", Fingerprint([2; 32])),
            party("dealer", self.dealer.fingerprint()),
        ];
        ClusterConfig::parse(&format!("backend = \"fss\"\ndealer = \"offline\"\n{}", parties.concat())).unwrap()
    }

    pub(super) fn stock(&self) -> Stock {
        let open = || Stock::open(&self.keys(), &self.state(), &self.config(), self.party);
        // A child of another test has this process' locks from its fork to its exec.
        let moment = || std::thread::sleep(Duration::from_millis(20));
        (0..50).find_map(|_| open().inspect_err(|_| moment()).ok()).unwrap_or_else(|| open().unwrap())
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted { purpose: PURPOSE, batch: BATCH, payload: PAYLOAD }
    }

    fn head(&self, index: u64) -> Head {
        let (party, cluster) = (self.party as u32, self.config().digest());
        Head { dealing: DEALING, index, party, batch: BATCH, cluster, purpose: PURPOSE }
    }

    /// A file under the name of number `index`.
    fn put(&self, index: u64, head: &Head, payload: u64, signer: &Identity) -> PathBuf {
        let path = self.keys().join(head.dealing.file(index));
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        let recorder = Recorder::begin(file, &head.encode(), payload).unwrap();
        if payload > 0 {
            recorder.link().send(Frame::data(0, vec![index as u8; payload as usize])).unwrap();
        }
        recorder.finish(|digest| Ok(signer.sign(SIGNED, digest).unwrap())).unwrap();
        path
    }

    pub(super) fn deal(&self, count: u64) {
        (0..count).for_each(|index| drop(self.put(index, &self.head(index), PAYLOAD, &self.dealer)));
    }

    /// Numbers of the files that are there.
    pub(super) fn files(&self) -> Vec<u64> {
        let names = fs::read_dir(self.keys()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut numbers: Vec<u64> = names.filter_map(|name| Some(Dealing::of_file(&name)?.1)).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// The first file that can be used, with its number, taken.
pub(super) fn take<'a>(stock: &'a Stock, wanted: &Wanted) -> Option<(u64, Claim<'a>)> {
    let offer = stock.offer(DEALING, 0, wanted, &|line| panic!("{line}")).unwrap()?;
    Some((offer.index(), offer.take(&Used::default()).unwrap()))
}

/// The number of the first file that is offered, and what was told of others.
fn offered(stock: &Stock, wanted: &Wanted) -> (Option<u64>, Vec<String>) {
    let told = Mutex::new(Vec::new());
    let tell = |line: &str| told.lock().unwrap().push(line.to_owned());
    let number = stock.offer(DEALING, 0, wanted, &tell).unwrap().map(|offer| offer.index());
    (number, told.into_inner().unwrap())
}

fn nobody() -> BTreeSet<u64> {
    BTreeSet::new()
}

#[test]
fn a_file_has_the_length_that_is_predicted_and_is_gone_when_it_was_used() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder.path());
    bench.deal(2);
    let path = bench.keys().join(DEALING.file(0));
    assert_eq!(fs::metadata(&path).unwrap().len(), key_file_bytes(PAYLOAD));
    let copy = fs::read(&path).unwrap();
    let stock = bench.stock();
    let wanted = bench.wanted();
    assert_eq!(stock.dealings().unwrap().into_iter().collect::<Vec<_>>(), [DEALING]);
    let (index, claim) = take(&stock, &wanted).unwrap();
    assert_eq!((index, claim.open().unwrap().left()), (0, PAYLOAD));
    assert_eq!(bench.files(), [1]);
    assert_eq!(offered(&stock, &Wanted { batch: 1, ..wanted }), (None, vec![]), "a dealing for something else");
    // Put back from a backup, it is not given out, now or later, and goes when the party starts.
    fs::write(&path, &copy).unwrap();
    drop(take(&stock, &wanted).unwrap());
    assert_eq!(bench.files(), [0], "what was taken and not opened goes too");
    assert!(take(&stock, &wanted).is_none());
    let again = stock.journal().use_up(DEALING, 0, &Used::default(), &nobody());
    assert!(again.unwrap_err().to_string().contains("used before"));
    drop(stock);
    bench.stock();
    assert_eq!(bench.files(), Vec::<u64>::new());
}

#[test]
fn what_others_have_used_is_used_here_too_but_for_what_is_being_agreed_on() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder.path());
    bench.deal(6);
    let (stock, wanted) = (bench.stock(), bench.wanted());
    let offer = |from| stock.offer(DEALING, from, &wanted, &|_| {}).unwrap().unwrap();
    let (first, second) = (offer(0), offer(0));
    assert_eq!((first.index(), second.index()), (0, 1), "each is offered in one session");
    let mut theirs = Used::default();
    [1, 2, 4, MOST - 1].into_iter().for_each(|index| theirs.add(index));
    assert_eq!(first.take(&theirs).unwrap().open().unwrap().left(), PAYLOAD, "swept with the others, it is open");
    assert_eq!(bench.files(), [1, 3, 5]);
    let (third, fourth) = (offer(0), offer(4));
    assert_eq!((third.index(), fourth.index()), (3, 5));
    drop((third, fourth));
    drop(second.take(&Used::default()).unwrap());
    assert_eq!(offer(0).index(), 3, "let go of, it is there again");
    let refused = offer(3).take(&{
        let mut theirs = Used::default();
        theirs.add(3);
        theirs
    });
    assert!(refused.err().unwrap().to_string().contains("used before"), "they had offered it");
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_passed_over_and_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder.path());
    let other = Identity::create("somebody", Validity::days(1)).unwrap();
    let head = |index| bench.head(index);
    let whole = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    bench.put(1, &Head { party: 1, ..head(1) }, PAYLOAD, &bench.dealer);
    bench.put(2, &Head { batch: 8, ..head(2) }, PAYLOAD, &bench.dealer);
    bench.put(3, &Head { purpose: [8; 32], ..head(3) }, PAYLOAD, &bench.dealer);
    bench.put(4, &Head { cluster: [8; 32], ..head(4) }, PAYLOAD, &bench.dealer);
    bench.put(5, &head(6), PAYLOAD, &bench.dealer);
    bench.put(6, &head(6), PAYLOAD, &other);
    bench.put(7, &head(7), PAYLOAD - 1, &bench.dealer);
    // As one that is still being copied.
    whole(&bench.put(8, &head(8), PAYLOAD, &bench.dealer), &|bytes| bytes.truncate(bytes.len() - 1));
    whole(&bench.put(9, &head(9), PAYLOAD, &bench.dealer), &|bytes| bytes.truncate(9));
    whole(&bench.put(10, &head(10), PAYLOAD, &bench.dealer), &|bytes| bytes.push(0));
    // A head that was changed under the dealer's signature.
    whole(&bench.put(11, &Head { batch: 8, ..head(11) }, PAYLOAD, &bench.dealer), &|bytes| bytes[20 + 28] = 16);
    let readable = bench.put(12, &head(12), PAYLOAD, &bench.dealer);
    fs::set_permissions(&readable, fs::Permissions::from_mode(0o640)).unwrap();
    let elsewhere = bench.put(13, &head(13), PAYLOAD, &bench.dealer);
    fs::hard_link(&elsewhere, folder.path().join("another name")).unwrap();
    symlink(folder.path().join("nothing"), bench.keys().join(DEALING.file(14))).unwrap();
    fs::create_dir(bench.keys().join(DEALING.file(15))).unwrap();
    // A bit of the keys themselves, which no length shows.
    let rotten = bench.put(16, &head(16), PAYLOAD, &bench.dealer);
    let flip = || whole(&rotten, &|bytes| bytes[20 + Head::BYTES + (1 << 20) + 3] ^= 1);
    flip();
    bench.put(17, &head(17), PAYLOAD, &bench.dealer);
    let reasons = [
        "it is vendor's, not hospital's",
        "batch of 8, not 16",
        "another model",
        "another subrosa.toml",
        "under another name",
        "not signed by dealer",
        "not 1048653",
        "cut off",
        "ends within its first bytes",
        "cut off, or something was added",
        "not signed by dealer",
        "others may read it",
        "no plain file with one name",
        "os error",
        "no plain file with one name",
        "its piece 1 was changed",
    ];
    let (stock, wanted) = (bench.stock(), bench.wanted());
    let (number, told) = offered(&stock, &wanted);
    assert_eq!((number, told.len()), (Some(17), reasons.len()), "{told:?}");
    for (i, (line, reason)) in told.iter().zip(reasons).enumerate() {
        assert!(line.contains(&DEALING.file(i as u64 + 1)) && line.contains(reason), "{reason}: {line}");
    }
    assert_eq!(offered(&stock, &wanted), (Some(17), vec![]), "told once");
    let used = stock.used(DEALING).unwrap();
    assert!(used == Used::default() && bench.files() == (1..=17).collect::<Vec<_>>(), "and left alone");
    // Mended, each is offered.
    flip();
    assert_eq!(offered(&stock, &wanted).0, Some(16));
    fs::set_permissions(&readable, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(offered(&stock, &wanted).0, Some(12));
}

#[test]
fn a_file_that_gets_another_name_while_it_is_taken_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder.path());
    bench.deal(2);
    let (stock, wanted) = (bench.stock(), bench.wanted());
    let (_, claim) = take(&stock, &wanted).unwrap();
    fs::hard_link(bench.keys().join(DEALING.file(0)), folder.path().join("kept")).unwrap();
    let error = claim.open().err().unwrap();
    assert!(error.to_string().contains("another name"), "{error}");
    assert_eq!(take(&stock, &wanted).unwrap().0, 1);
}

#[test]
fn a_damaged_journal_takes_its_dealing_out_of_use_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder.path());
    bench.deal(3);
    let second = Dealing([0xff; 16]);
    bench.put(0, &Head { dealing: second, ..bench.head(0) }, PAYLOAD, &bench.dealer);
    let wanted = bench.wanted();
    take(&bench.stock(), &wanted).unwrap();
    let path = bench.state().join(format!("keys/{DEALING}.used"));
    let whole = fs::read(&path).unwrap();
    for change in 0..=whole.len() {
        let mut bytes = whole.clone();
        match bytes.get_mut(change) {
            Some(byte) => *byte ^= 4,
            None => bytes.truncate(change - 1),
        }
        fs::write(&path, bytes).unwrap();
        let stock = bench.stock();
        let (number, told) = offered(&stock, &wanted);
        assert!(number.is_none() && told.len() == 1 && told[0].contains("damaged"), "byte {change}: {told:?}");
        assert_eq!(stock.offer(second, 0, &wanted, &|_| {}).unwrap().unwrap().index(), 0);
    }
    // While the party runs, it remembers more than a journal that was set back.
    fs::write(&path, &whole).unwrap();
    let stock = bench.stock();
    assert_eq!(take(&stock, &wanted).unwrap().0, 1);
    fs::write(&path, &whole).unwrap();
    assert_eq!(take(&stock, &wanted).unwrap().0, 2);
}

/// Both servers of a session agree on keys; none if they cannot.
fn agreed(stocks: [&Stock; 2], wanted: &Wanted) -> [Option<(Dealing, u64)>; 2] {
    let sessions = subrosa_net::local(&["hospital", "vendor"]);
    let ends = stocks.into_iter().zip(sessions);
    std::thread::scope(|scope| {
        let side = |(stock, mut session): (_, Session)| {
            scope.spawn(move || {
                let claim = agree(&mut session, 2, stock, wanted, Duration::from_secs(10), &|_| {});
                let claim = claim.inspect_err(|e| session.stop(&e.to_string()));
                claim.ok().and_then(|claim| Dealing::of_file(&claim.name()))
            })
        };
        let sides: Vec<_> = ends.map(side).collect();
        let mut results = sides.into_iter().map(|side| side.join().unwrap());
        [results.next().unwrap(), results.next().unwrap()]
    })
}

/// Two servers with files of no payload.
fn two(folder: &Path, count: u64) -> ([Bench; 2], Wanted) {
    // The dealer's identity is made once.
    let benches = [Bench::of(folder, 0), Bench::of(folder, 1)];
    for bench in &benches {
        (0..count).for_each(|index| drop(bench.put(index, &bench.head(index), 0, &bench.dealer)));
    }
    let wanted = Wanted { payload: 0, ..benches[0].wanted() };
    (benches, wanted)
}

#[test]
fn sessions_at_the_same_time_use_every_batch_once() {
    let folder = tempfile::tempdir().unwrap();
    let (benches, wanted) = two(folder.path(), 24);
    let stocks = benches.each_ref().map(Bench::stock);
    let used = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..6 {
                    let [a, b] = agreed(stocks.each_ref(), &wanted);
                    assert!(a.is_some() && a == b);
                    assert!(used.lock().unwrap().insert(a.unwrap().1), "used twice");
                }
            });
        }
    });
    assert_eq!(used.into_inner().unwrap().len(), 24);
    assert_eq!(agreed(stocks.each_ref(), &wanted), [None, None]);
}

#[test]
fn files_that_one_server_lacks_are_passed_over_unused_and_dealings_follow_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let (benches, wanted) = two(folder.path(), 6);
    for (bench, missing) in [(0, 0), (1, 1), (1, 2), (0, 4)] {
        fs::remove_file(benches[bench].keys().join(DEALING.file(missing))).unwrap();
    }
    // Before it in order, a dealing that was brought to one server only; after it, one of which one
    // server has one file and the other two.
    let (early, second) = (Dealing([0; 16]), Dealing([0xff; 16]));
    for (bench, indices) in benches.iter().zip([0..1, 0..2]) {
        indices.for_each(|index| {
            bench.put(index, &Head { dealing: second, ..bench.head(index) }, 0, &bench.dealer);
        });
    }
    (0..3).for_each(|index| {
        benches[0].put(index, &Head { dealing: early, ..benches[0].head(index) }, 0, &benches[0].dealer);
    });
    let stocks = benches.each_ref().map(Bench::stock);
    for expected in [Some((DEALING, 3)), Some((DEALING, 5)), Some((second, 0)), None] {
        assert_eq!(agreed(stocks.each_ref(), &wanted), [expected, expected]);
    }
    assert!(stocks[0].used(early).unwrap() == Used::default());
    for (bench, left) in benches.iter().zip([[0, 1, 1, 2, 2].as_slice(), &[0, 1, 4]]) {
        assert_eq!(bench.files(), left, "what came to nothing is there");
    }
    // Brought late, the other half is of use.
    (0..3).for_each(|index| {
        benches[1].put(index, &Head { dealing: early, ..benches[1].head(index) }, 0, &benches[1].dealer);
    });
    for index in 0..3 {
        assert_eq!(agreed(stocks.each_ref(), &wanted), [Some((early, index)); 2]);
    }
}

#[test]
fn a_late_number_costs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (benches, wanted) = two(folder.path(), 0);
    for bench in &benches {
        bench.put(900, &bench.head(900), 0, &bench.dealer);
    }
    let stocks = benches.each_ref().map(Bench::stock);
    assert_eq!(agreed(stocks.each_ref(), &wanted), [Some((DEALING, 900)); 2]);
    for bench in &benches {
        bench.put(7, &bench.head(7), 0, &bench.dealer);
    }
    assert_eq!(agreed(stocks.each_ref(), &wanted), [Some((DEALING, 7)); 2]);
}

#[test]
fn words_of_a_leader_that_do_not_follow_one_another_cost_no_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (benches, wanted) = two(folder.path(), 3);
    let follower = benches[1].stock();
    let word = |index: u64, step: u32, runs: u32| {
        [&DEALING.0[..], &index.to_le_bytes(), &step.to_le_bytes(), &runs.to_le_bytes()].concat()
    };
    // Never offered; agreed without being taken; of no known kind; with more runs than there are.
    let cases =
        [vec![word(0, 1, 0)], vec![word(0, 2, 0)], vec![word(0, 3, 0)], vec![word(0, 0, 0), word(0, 1, 1 << 20)]];
    for words in cases {
        let mut sessions = subrosa_net::local(&["hospital", "vendor"]).into_iter();
        let (mut leader, mut session) = (sessions.next().unwrap(), sessions.next().unwrap());
        std::thread::scope(|scope| {
            let side = scope.spawn(|| {
                let result = agree(&mut session, 2, &follower, &wanted, Duration::from_secs(10), &|_| {});
                result.map(|claim| claim.name()).inspect_err(|e| session.stop(&e.to_string()))
            });
            for word in words {
                // It may have ended already.
                let _ = leader.control(vec![(1, word)], &[], Duration::from_secs(10));
            }
            let error = side.join().unwrap().unwrap_err();
            assert!(matches!(error, crate::Error::Peer { .. }), "{error}");
        });
        assert!(follower.used(DEALING).unwrap() == Used::default());
    }
    assert_eq!(benches[1].files(), [0, 1, 2]);
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A session prepares a batch.
    Session,
    /// A server takes keys for a session that comes to nothing.
    Lost(usize),
    /// A server's program ends and is started again.
    Restart(usize),
    /// A server's files and journal are kept elsewhere.
    Backup(usize),
    /// A server is set back to the last of these, or to its very first state.
    Restore(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let server = 0..2usize;
    prop_oneof![
        4 => Just(Event::Session),
        1 => server.clone().prop_map(Event::Lost),
        1 => server.clone().prop_map(Event::Restart),
        1 => server.clone().prop_map(Event::Backup),
        2 => server.prop_map(Event::Restore),
    ]
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_one_server_forgets_at_a_time_no_batch_is_used_twice(events in vec(event(), 1..16)) {
        let folder = tempfile::tempdir().unwrap();
        let (benches, wanted) = two(folder.path(), 20);
        let backup = |server: usize| folder.path().join(format!("backup-{server}"));
        let save = |server: usize| {
            copy(&benches[server].keys(), &backup(server).join("keys"));
            copy(&benches[server].state(), &backup(server).join("state"));
        };
        (0..2).for_each(save);
        let mut stocks = benches.each_ref().map(|bench| Some(bench.stock()));
        let mut used = BTreeSet::new();
        // Set back both before they have agreed on anything, and nobody is left who remembers: that is
        // the one thing which is not detected.
        let mut forgot = None;
        for event in events {
            match event {
                Event::Session => {
                    let [a, b] = agreed(stocks.each_ref().map(|s| s.as_ref().unwrap()), &wanted);
                    prop_assert_eq!(a, b);
                    if let Some(batch) = a {
                        prop_assert!(used.insert(batch), "{:?} was used twice", batch);
                        forgot = None;
                    }
                }
                Event::Lost(server) => {
                    drop(take(stocks[server].as_ref().unwrap(), &wanted));
                }
                Event::Restart(server) => {
                    stocks[server] = None;
                    stocks[server] = Some(benches[server].stock());
                }
                Event::Backup(server) => save(server),
                Event::Restore(server) => {
                    if forgot.is_some_and(|other| other != server) {
                        continue;
                    }
                    forgot = Some(server);
                    stocks[server] = None;
                    copy(&backup(server).join("keys"), &benches[server].keys());
                    copy(&backup(server).join("state"), &benches[server].state());
                    stocks[server] = Some(benches[server].stock());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The journal against a plain set: what was used stays used, in every order, and nothing else.
    #[test]
    fn the_journal_never_goes_back(numbers in vec(0..200u64, 1..40), reopened in vec(any::<bool>(), 40)) {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Some(Journal::open(folder.path()).unwrap());
        let mut set = BTreeSet::new();
        for (number, reopen) in numbers.into_iter().zip(reopened) {
            if reopen {
                drop(journal.take());
                journal = Some(Journal::open(folder.path()).unwrap());
            }
            let journal = journal.as_mut().unwrap();
            let before: Used = journal.used(DEALING).unwrap();
            let refused = before.has(number);
            let marked = journal.use_up(DEALING, number, &Used::default(), &nobody());
            prop_assert_eq!(marked.is_err(), refused);
            set.insert(number);
            let after = journal.used(DEALING).unwrap();
            for n in (0..300u64).chain([MOST]) {
                prop_assert!(!before.has(n) || after.has(n), "{} was used, and is no more", n);
                prop_assert_eq!(after.has(n), set.contains(&n) || n == MOST, "number {}", n);
            }
            prop_assert_eq!(Used::decode(&after.encode(usize::MAX)), Some(after));
        }
    }

    #[test]
    fn lists_are_merged_as_sets_are(ours in vec(0..40u64, 0..20), theirs in vec(0..40u64, 0..20), kept in vec(0..40u64, 0..5)) {
        let list = |numbers: &[u64]| {
            let mut used = Used::default();
            numbers.iter().for_each(|&number| used.add(number));
            used
        };
        let kept: BTreeSet<u64> = kept.into_iter().collect();
        let (before, other) = (list(&ours), list(&theirs));
        let mut merged = before.clone();
        let learnt = merged.merge(&other, &kept);
        for n in 0..50 {
            prop_assert_eq!(merged.has(n), before.has(n) || other.has(n) && !kept.contains(&n), "number {}", n);
        }
        prop_assert_eq!(learnt, merged != before);
    }

    #[test]
    fn what_is_no_list_is_refused(bytes in vec(any::<u8>(), 0..64)) {
        if let Some(used) = Used::decode(&bytes) {
            prop_assert_eq!(used.encode(usize::MAX), bytes);
        }
    }
}
