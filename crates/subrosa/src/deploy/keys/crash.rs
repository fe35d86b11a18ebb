//! Programs that stop between any two steps of using up keys.

use super::journal::{Step, Used};
use super::tests::{Bench, DEALING, PAYLOAD, take};
use super::{Stock, Wanted};
use std::io;
use std::process::Command;

/// Called before each step; whatever it returns is what happens.
pub(super) type Watch = Box<dyn Fn(Step) -> io::Result<()> + Send + Sync>;

const STEPS: [Step; 7] =
    [Step::Write, Step::Sync, Step::Rename, Step::SyncFolder, Step::Unlink, Step::SyncKeys, Step::Read];

/// Set in a child: where its stock is, and the step before which it is killed.
const FOLDER: &str = "SUBROSA_TEST_CRASH_FOLDER";
const STEP: &str = "SUBROSA_TEST_CRASH_STEP";

/// Not a test of its own: what the child of the next one does. Killed by SIGKILL, it can tidy
/// nothing up.
#[test]
fn child_that_uses_keys() {
    let (Some(folder), Ok(step)) = (std::env::var_os(FOLDER), std::env::var(STEP)) else { return };
    let bench = Bench::at(folder.as_ref());
    let (stock, fatal) = (bench.stock(), step.clone());
    stock.journal().watch = Box::new(move |now| {
        if format!("{now:?}") == fatal {
            let me = std::process::id().to_string();
            let _ = Command::new("kill").args(["-KILL", &me]).status();
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
        Ok(())
    });
    let (_, claim) = take(&stock, &bench.wanted()).unwrap();
    drop(claim.open().unwrap());
    panic!("it was to be killed before {step:?}");
}

#[test]
fn after_a_kill_at_any_step_no_key_is_used_twice_and_the_next_one_works() {
    use std::os::unix::process::ExitStatusExt;
    for (number, step) in STEPS.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::at(folder.path());
        bench.deal(3);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "deploy::keys::crash::child_that_uses_keys", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(STEP, format!("{step:?}"))
            .output()
            .unwrap();
        assert_eq!(child.status.signal(), Some(9), "{step:?}: {}", String::from_utf8_lossy(&child.stdout));

        let stock = bench.stock();
        // Marked when it was renamed, and not before: nothing had been read then.
        let marked = number > 2;
        assert_eq!(bench.files(), if marked { vec![1, 2] } else { vec![0, 1, 2] }, "{step:?}: half-used files go");
        let (index, claim) = take(&stock, &bench.wanted()).unwrap();
        assert_eq!(index, u64::from(marked), "{step:?}");
        assert_eq!(claim.open().unwrap().left(), PAYLOAD, "{step:?}");
        assert_eq!(take(&stock, &bench.wanted()).unwrap().0, 1 + u64::from(marked));
    }
}

#[test]
fn keys_are_marked_on_the_disk_and_removed_before_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder.path());
    bench.deal(1);
    let stock = bench.stock();
    let (sender, steps) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    stock.journal().watch = Box::new(move |step| {
        sender.lock().unwrap().send(step).unwrap();
        Ok(())
    });
    take(&stock, &bench.wanted()).unwrap().1.open().unwrap();
    drop(stock);
    assert_eq!(steps.iter().collect::<Vec<_>>(), STEPS);
}

#[test]
fn a_disk_that_fails_gives_no_keys() {
    for failing in STEPS {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::at(folder.path());
        bench.deal(2);
        let stock = bench.stock();
        stock.journal().watch = Box::new(move |step| match step == failing {
            true => Err(io::Error::other("no space")),
            false => Ok(()),
        });
        let wanted: Wanted = bench.wanted();
        let offer = stock.offer(DEALING, 0, &wanted, &|_| {}).unwrap().unwrap();
        let opened = offer.take(&Used::default()).and_then(|claim| claim.open());
        let error = opened.err().unwrap();
        assert!(matches!(error, crate::Error::Io { .. }), "{failing:?}: {error}");
        // The same program does not offer it again, marked on the disk or not.
        stock.journal().watch = Box::new(|_| Ok(()));
        assert_eq!(take(&stock, &wanted).unwrap().0, 1, "{failing:?}");
    }
}

#[test]
fn two_programs_do_not_use_up_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder.path());
    let stock = bench.stock();
    let second = Stock::open(&bench.keys(), &bench.state(), &bench.config(), 0).err().unwrap();
    assert!(second.to_string().contains("another program"), "{second}");
    drop(stock);
    bench.stock();
}
