//! An adapter as a child process: its output bounded, its time limited, and all that it
//! started ended with it.

use crate::machine::meminfo;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// The most that an adapter may print on standard output (bytes): rows are a kilobyte each.
const MAX_OUTPUT: u64 = 1 << 20;
/// The longest line of its standard error that is kept (bytes).
const MAX_LINE: u64 = 1 << 12;
/// How many of its last lines are kept: a Python error's cause stands in the last few.
const LAST_LINES: usize = 8;
/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(20);
/// How many glances lie between two looks at the machine's memory.
const MEMORY_EVERY: u32 = 10;
/// The least that must be left of it (MiB).
const LEFT_MIB: u64 = 1024;
/// How long its pipes may take to close after its end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running adapter; ended, with everything in its process group, when dropped.
pub(super) struct Child {
    process: std::process::Child,
    /// Standard output, once it is closed or over the bound.
    output: Receiver<io::Result<Vec<u8>>>,
    /// Lines of standard error.
    words: Receiver<String>,
    started: Instant,
    reaped: bool,
}

/// How it ended.
pub(super) enum Ended {
    /// By itself, with this on standard output.
    Well(Vec<u8>),
    /// In another way, told in one sentence.
    Badly(String),
    /// By us, at the limit.
    TooLong(String),
}

impl Child {
    /// Starts `python` with these arguments, in a process group of its own.
    pub(super) fn start(python: &Path, arguments: &[OsString]) -> io::Result<Self> {
        let mut command = Command::new(python);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A peer is measured with the libraries of its own environment.
        command.env_remove("PYTHONPATH").env_remove("PYTHONHOME");
        own_group(&mut command);
        let mut process = command.spawn()?;
        let (give, output) = mpsc::channel();
        if let Some(stdout) = process.stdout.take() {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                // One byte more than allowed tells that it is too much.
                let read = stdout.take(MAX_OUTPUT + 1).read_to_end(&mut bytes);
                // Nobody listens any more if the adapter was ended.
                let _ = give.send(read.map(|_| bytes));
            });
        }
        // Bounded: who complains faster than is read must wait.
        let (tell, words) = mpsc::sync_channel(LAST_LINES);
        if let Some(stderr) = process.stderr.take() {
            thread::spawn(move || {
                let mut lines = BufReader::new(stderr);
                while let Some(line) = line(&mut lines) {
                    if tell.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { process, output, words, started: Instant::now(), reaped: false })
    }

    /// Waits for its end, at most `limit` after its start.
    pub(super) fn watch(mut self, limit: Duration, progress: &mut dyn FnMut(&str)) -> io::Result<Ended> {
        let mut last = VecDeque::new();
        let mut output = None;
        for glance in 1u32.. {
            if is_over(&mut self.process)? {
                break;
            }
            match self.words.recv_timeout(GLANCE) {
                Ok(line) => {
                    progress(&line);
                    keep(&mut last, line);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => thread::sleep(GLANCE),
            }
            if self.started.elapsed() >= limit {
                return Ok(Ended::TooLong(format!("ended after {} s, the limit for one row", limit.as_secs())));
            }
            if glance.is_multiple_of(MEMORY_EVERY) && meminfo("MemAvailable").is_some_and(|kib| kib >> 10 < LEFT_MIB) {
                let message = format!("ended: it left less than {LEFT_MIB} MiB of this machine's memory");
                return Ok(Ended::Badly(message));
            }
            output = output.or_else(|| self.output.try_recv().ok());
            if output.as_ref().is_some_and(too_much) {
                return Ok(Ended::Badly(format!("ended: it printed more than {MAX_OUTPUT} bytes")));
            }
        }
        // Before it is reaped, while its number is still its own: what it left behind would
        // keep the pipes open.
        end_group(&self.process);
        let status = self.process.wait()?;
        self.reaped = true;
        let output = output.or_else(|| self.output.recv_timeout(LAST_WORDS).ok());
        while let Ok(line) = self.words.recv_timeout(GLANCE) {
            keep(&mut last, line);
        }
        if !status.success() {
            return Ok(Ended::Badly(cause(status, &last)));
        }
        match output {
            None => Ok(Ended::Badly("it left a process behind that holds its standard output".to_owned())),
            Some(read) if too_much(&read) => Ok(Ended::Badly(format!("it printed more than {MAX_OUTPUT} bytes"))),
            Some(read) => read.map(Ended::Well),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        end_group(&self.process);
        // Nobody is left to be told; a process that was killed is reaped at once.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn too_much(read: &io::Result<Vec<u8>>) -> bool {
    read.as_ref().is_ok_and(|bytes| bytes.len() as u64 > MAX_OUTPUT)
}

fn keep(last: &mut VecDeque<String>, line: String) {
    if line.trim().is_empty() {
        return;
    }
    if last.len() == LAST_LINES {
        last.pop_front();
    }
    last.push_back(line);
}

/// The exit, and the last thing it said.
fn cause(status: ExitStatus, last: &VecDeque<String>) -> String {
    match last.back() {
        Some(line) => format!("it failed ({status}): {}", line.trim()),
        None => format!("it failed ({status}) without a word"),
    }
}

/// The next line, cut at [`MAX_LINE`]; none at the end or when the pipe breaks.
fn line(from: &mut impl BufRead) -> Option<String> {
    let mut bytes = Vec::new();
    let read = from.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes).ok()?;
    (read > 0).then(|| printable(&String::from_utf8_lossy(&bytes)))
}

/// Without what could steer a terminal.
fn printable(text: &str) -> String {
    text.trim_end().chars().filter(|c| !c.is_control()).collect()
}

#[cfg(unix)]
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

/// Whether it has ended; it is not reaped.
#[cfg(unix)]
fn is_over(process: &mut std::process::Child) -> io::Result<bool> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let Some(pid) = group(process) else { return Ok(true) };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(pid), options)?.is_some())
}

#[cfg(unix)]
fn end_group(process: &std::process::Child) {
    use rustix::process::{Signal, kill_process_group};
    if let Some(pid) = group(process) {
        // It may be gone already, which is what is wanted.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

#[cfg(unix)]
fn group(process: &std::process::Child) -> Option<rustix::process::Pid> {
    i32::try_from(process.id()).ok().and_then(rustix::process::Pid::from_raw)
}

#[cfg(not(unix))]
fn own_group(_: &mut Command) {}

#[cfg(not(unix))]
fn is_over(process: &mut std::process::Child) -> io::Result<bool> {
    Ok(process.try_wait()?.is_some())
}

#[cfg(not(unix))]
fn end_group(_: &std::process::Child) {}
