//! Files of keys: refused when they are not what they should be, used once whatever happens,
//! and agreed upon by servers that remember different things.

use super::agree::agree;
use super::journal::{Journal, Used};
use super::name::{Dealing, Head};
use super::{SIGNED, Stock, Wanted, key_file_bytes};
use crate::deploy::ClusterConfig;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
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
        Stock::open(&self.keys(), &self.state(), &self.config(), self.party).unwrap()
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
        let path = self.keys().join(DEALING.file(index));
        let recorder = Recorder::begin(fs::File::create(&path).unwrap(), &head.encode(), payload).unwrap();
        recorder.link().send(Frame::data(0, vec![index as u8; payload as usize])).unwrap();
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

#[test]
fn a_file_has_the_length_that_is_predicted_and_is_gone_when_it_was_used() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder.path());
    bench.deal(2);
    let path = bench.keys().join(DEALING.file(0));
    assert_eq!(fs::metadata(&path).unwrap().len(), key_file_bytes(PAYLOAD));
    let copy = fs::read(&path).unwrap();
    let stock = bench.stock();
    assert_eq!(stock.dealings(&bench.wanted()).unwrap(), [DEALING]);
    assert!(stock.dealings(&Wanted { batch: 1, ..bench.wanted() }).unwrap().is_empty());
    let claim = stock.claim(DEALING, 0).unwrap().unwrap();
    assert_eq!((claim.index, claim.open(&bench.wanted()).unwrap().left()), (0, PAYLOAD));
    assert_eq!(bench.files(), [1]);
    // Put back from a backup, it is not given out, now or later, and goes when the party starts.
    fs::write(&path, &copy).unwrap();
    assert_eq!(stock.claim(DEALING, 0).unwrap().unwrap().index, 1);
    assert!(stock.claim(DEALING, 0).unwrap().is_none());
    assert!(stock.journal().use_up(DEALING, 0).unwrap_err().to_string().contains("used before"));
    drop(stock);
    bench.stock();
    assert_eq!(bench.files(), Vec::<u64>::new());
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_refused_by_name_and_the_next_works() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder.path());
    let other = Identity::create("somebody", Validity::days(1)).unwrap();
    let head = |index| bench.head(index);
    let whole = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    // Number 0 is what the dealing's purpose is read from; it is used up first.
    bench.put(0, &head(0), PAYLOAD, &bench.dealer);
    bench.put(1, &Head { party: 1, ..head(1) }, PAYLOAD, &bench.dealer);
    bench.put(2, &Head { batch: 8, ..head(2) }, PAYLOAD, &bench.dealer);
    bench.put(3, &Head { purpose: [8; 32], ..head(3) }, PAYLOAD, &bench.dealer);
    bench.put(4, &Head { cluster: [8; 32], ..head(4) }, PAYLOAD, &bench.dealer);
    bench.put(5, &head(6), PAYLOAD, &bench.dealer);
    bench.put(6, &head(6), PAYLOAD, &other);
    bench.put(7, &head(7), PAYLOAD - 1, &bench.dealer);
    whole(&bench.put(8, &head(8), PAYLOAD, &bench.dealer), &|bytes| bytes.truncate(bytes.len() - 1));
    whole(&bench.put(9, &head(9), PAYLOAD, &bench.dealer), &|bytes| bytes.truncate(9));
    whole(&bench.put(10, &head(10), PAYLOAD, &bench.dealer), &|bytes| bytes.push(0));
    // A head that was changed under the dealer's signature.
    whole(&bench.put(11, &Head { batch: 8, ..head(11) }, PAYLOAD, &bench.dealer), &|bytes| bytes[20 + 28] = 16);
    bench.put(12, &head(12), PAYLOAD, &bench.dealer);
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
    ];
    let stock = bench.stock();
    assert!(stock.claim(DEALING, 0).unwrap().unwrap().open(&bench.wanted()).is_ok());
    for (i, reason) in reasons.into_iter().enumerate() {
        let claim = stock.claim(DEALING, 0).unwrap().unwrap();
        let (index, name) = (claim.index, claim.name());
        let error = claim.open(&bench.wanted()).err().unwrap();
        assert_eq!(index, i as u64 + 1);
        assert!(matches!(error, crate::Error::Input { .. }) && error.to_string().contains(&name), "{error}");
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
    assert!(stock.claim(DEALING, 0).unwrap().unwrap().open(&bench.wanted()).is_ok());
    assert_eq!(bench.files(), Vec::<u64>::new());
}

#[test]
fn the_folder_of_another_server_is_refused_and_nothing_of_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder.path());
    (0..2).for_each(|index| drop(bench.put(index, &Head { party: 1, ..bench.head(index) }, 5, &bench.dealer)));
    let stock = bench.stock();
    for _ in 0..2 {
        let error = stock.claim(DEALING, 0).err().unwrap();
        assert!(error.to_string().contains("it is vendor's, not hospital's"), "{error}");
    }
    assert!(stock.journal().used(DEALING).unwrap() == Used::default() && bench.files() == [0, 1]);
}

#[test]
fn a_damaged_journal_refuses_its_dealing() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder.path());
    bench.deal(3);
    bench.stock().claim(DEALING, 0).unwrap().unwrap();
    let path = bench.state().join(format!("keys/{DEALING}.used"));
    let whole = fs::read(&path).unwrap();
    for change in 0..=whole.len() {
        let mut bytes = whole.clone();
        match bytes.get_mut(change) {
            Some(byte) => *byte ^= 4,
            None => bytes.truncate(change - 1),
        }
        fs::write(&path, bytes).unwrap();
        let error = bench.stock().claim(DEALING, 0).err().unwrap();
        assert!(error.to_string().contains("damaged"), "byte {change}: {error}");
    }
    // While the party runs, it remembers more than a journal that was set back.
    fs::write(&path, &whole).unwrap();
    let stock = bench.stock();
    assert_eq!(stock.claim(DEALING, 0).unwrap().unwrap().index, 1);
    fs::write(&path, &whole).unwrap();
    assert_eq!(stock.claim(DEALING, 0).unwrap().unwrap().index, 2);
}

/// Both servers of a session agree on keys; none if they cannot.
fn agreed(stocks: [&Stock; 2], wanted: &Wanted) -> [Option<(Dealing, u64)>; 2] {
    let sessions = subrosa_net::local(&["hospital", "vendor"]);
    let ends = stocks.into_iter().zip(sessions);
    std::thread::scope(|scope| {
        let side = |(stock, mut session): (_, Session)| {
            scope.spawn(move || {
                let claim = agree(&mut session, 2, stock, wanted, Duration::from_secs(10));
                let claim = claim.inspect_err(|e| session.stop(&e.to_string()));
                claim.ok().map(|claim| (claim.dealing, claim.index))
            })
        };
        let sides: Vec<_> = ends.map(side).collect();
        let mut results = sides.into_iter().map(|side| side.join().unwrap());
        [results.next().unwrap(), results.next().unwrap()]
    })
}

fn two(folder: &Path, count: u64) -> [Bench; 2] {
    // The dealer's identity is made once.
    let benches = [Bench::of(folder, 0), Bench::of(folder, 1)];
    for bench in &benches {
        for index in 0..count {
            let head = bench.head(index).encode();
            let file = fs::File::create(bench.keys().join(DEALING.file(index))).unwrap();
            Recorder::begin(file, &head, 0).unwrap().finish(|d| Ok(bench.dealer.sign(SIGNED, d).unwrap())).unwrap();
        }
    }
    benches
}

#[test]
fn sessions_at_the_same_time_use_every_batch_once() {
    let folder = tempfile::tempdir().unwrap();
    let benches = two(folder.path(), 24);
    let (stocks, wanted) = (benches.each_ref().map(Bench::stock), benches[0].wanted());
    let used = std::sync::Mutex::new(BTreeSet::new());
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
fn files_that_one_server_lacks_are_passed_over_and_dealings_follow_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let benches = two(folder.path(), 6);
    for (bench, missing) in [(0, 0), (1, 1), (1, 2), (0, 4)] {
        fs::remove_file(benches[bench].keys().join(DEALING.file(missing))).unwrap();
    }
    // A second dealing, of which one server has one file and the other two.
    let second = Dealing([0xff; 16]);
    for (bench, indices) in benches.iter().zip([0..1, 0..2]) {
        for index in indices {
            let head = Head { dealing: second, ..bench.head(index) }.encode();
            let file = fs::File::create(bench.keys().join(second.file(index))).unwrap();
            Recorder::begin(file, &head, 0).unwrap().finish(|d| Ok(bench.dealer.sign(SIGNED, d).unwrap())).unwrap();
        }
    }
    let (stocks, wanted) = (benches.each_ref().map(Bench::stock), benches[0].wanted());
    for expected in [Some((DEALING, 3)), Some((DEALING, 5)), Some((second, 0)), None] {
        assert_eq!(agreed(stocks.each_ref(), &wanted), [expected, expected]);
    }
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
    fn whatever_one_server_forgets_no_batch_is_used_twice(events in vec(event(), 1..16)) {
        let folder = tempfile::tempdir().unwrap();
        let benches = two(folder.path(), 20);
        let backup = |server: usize| folder.path().join(format!("backup-{server}"));
        let save = |server: usize| {
            copy(&benches[server].keys(), &backup(server).join("keys"));
            copy(&benches[server].state(), &backup(server).join("state"));
        };
        (0..2).for_each(save);
        let mut stocks = benches.each_ref().map(|bench| Some(bench.stock()));
        let mut used = BTreeSet::new();
        // Set back both, and nobody is left who remembers: that is the one thing which is not detected.
        let may_forget = std::cell::Cell::new(None);
        for event in events {
            match event {
                Event::Session => {
                    let [a, b] = agreed(stocks.each_ref().map(|s| s.as_ref().unwrap()), &benches[0].wanted());
                    prop_assert_eq!(a, b);
                    if let Some(batch) = a {
                        prop_assert!(used.insert(batch), "{:?} was used twice", batch);
                    }
                }
                Event::Lost(server) => {
                    let _ = stocks[server].as_ref().unwrap().claim(DEALING, 0).unwrap();
                }
                Event::Restart(server) => {
                    stocks[server] = None;
                    stocks[server] = Some(benches[server].stock());
                }
                Event::Backup(server) => save(server),
                Event::Restore(server) => {
                    if may_forget.get().is_some_and(|other| other != server) {
                        continue;
                    }
                    may_forget.set(Some(server));
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

    /// The journal against a plain set: what was used stays used, in every order, and what was
    /// not, within the window, does not.
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
            prop_assert_eq!(journal.use_up(DEALING, number).is_err(), refused);
            set.insert(number);
            let after = journal.used(DEALING).unwrap();
            let highest = set.last().copied().unwrap();
            for n in 0..300u64 {
                prop_assert!(!before.has(n) || after.has(n), "{} was used, and is no more", n);
                let expected = set.contains(&n) || n + 64 <= highest;
                prop_assert_eq!(after.has(n), expected, "number {}", n);
            }
        }
    }
}
