//! Links that behave like a slower network, for comparisons on one machine.
//!
//! The sender stamps each frame with the time at which it would have arrived, and the
//! receiver's link holds it back until then. So a computation that overlaps with a message
//! on the way costs nothing extra, as on a real network, and nobody sleeps. The stamp is
//! the monotonic clock of this machine: both ends must run on it, in one process or
//! several, in one network namespace or several.

use crate::frame::Frame;
use crate::link::{Link, LinkError};
use crate::session::Session;
use crate::wait::Wake;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// A network to imitate: the same for every pair of endpoints, each direction by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    /// Round-trip time.
    pub rtt: Duration,
    /// Bits a second, each way.
    pub bandwidth: f64,
}

impl Network {
    /// A local network: 0.2 ms round trip, 10 Gbit/s.
    pub const LAN: Self = Self { rtt: Duration::from_micros(200), bandwidth: 10e9 };
    /// Two cities: 40 ms round trip, 100 Mbit/s.
    pub const WAN: Self = Self { rtt: Duration::from_millis(40), bandwidth: 100e6 };

    /// How long `bytes` occupy the line.
    pub fn occupancy(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 * 8.0 / self.bandwidth)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, mbit) = (self.rtt.as_secs_f64() * 1e3, self.bandwidth / 1e6);
        match *self {
            Self::LAN => f.write_str("lan ")?,
            Self::WAN => f.write_str("wan ")?,
            Self { .. } => {}
        }
        write!(f, "({ms} ms round trip, {mbit} Mbit/s each way, shaped inside the links)")
    }
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no network: give lan, wan, or RTT,BANDWIDTH such as 40ms,100mbit")]
pub struct ParseNetworkError(String);

impl FromStr for Network {
    type Err = ParseNetworkError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || match text {
            "lan" => Some(Self::LAN),
            "wan" => Some(Self::WAN),
            _ => {
                let (rtt, bandwidth) = text.split_once(',')?;
                let rtt = number(rtt, &[("us", 1e-6), ("ms", 1e-3), ("s", 1.0)])?;
                let bandwidth = number(bandwidth, &[("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)])?;
                let usable = (0.0..=60.0).contains(&rtt) && (1e3..=1e13).contains(&bandwidth);
                usable.then(|| Self { rtt: Duration::from_secs_f64(rtt), bandwidth })
            }
        };
        parse().ok_or_else(|| ParseNetworkError(text.to_owned()))
    }
}

/// A number with one of these units.
fn number(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim().to_ascii_lowercase();
    units.iter().find_map(|(unit, factor)| {
        let value: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        (value.is_finite() && value >= 0.0).then_some(value * factor)
    })
}

impl Session {
    /// This session with every link imitating `network`. Every endpoint of the session has
    /// to do so.
    pub fn shaped(self, network: Network) -> Self {
        self.wrap_links(|link| shaped(link, network))
    }
}

/// `link`, imitating `network`; the other end has to do so, too.
pub fn shaped(link: Box<dyn Link>, network: Network) -> Box<dyn Link> {
    Box::new(Shaped { link, network, free_at: 0, held: None })
}

/// The longest that a frame is held back beyond the round trip: what a line this slow has
/// queued ends in a peer's deadline sooner.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes behind a payload that hold its arrival time.
const STAMP: u64 = 8;

struct Shaped {
    link: Box<dyn Link>,
    network: Network,
    /// When the outgoing line is free again, ns on [`clock`].
    free_at: u64,
    /// A frame that has come too early, and when it is due.
    held: Option<(Frame, u64)>,
}

impl Link for Shaped {
    fn send(&mut self, mut frame: Frame) -> Result<(), LinkError> {
        let bytes = frame.header.len() as u64 + frame.payload.len() as u64;
        let start = clock().max(self.free_at);
        self.free_at = start.saturating_add(nanos(self.network.occupancy(bytes)));
        let due = self.free_at.saturating_add(nanos(self.network.rtt / 2));
        frame.payload.extend(due.to_le_bytes());
        self.link.send(Frame::relabelled(frame, STAMP as i64))
    }

    fn poll(&mut self, limit: Option<u64>) -> Result<Option<Frame>, LinkError> {
        if self.held.is_none() {
            let Some(frame) = self.link.poll(limit.map(|l| l.saturating_add(STAMP)))? else { return Ok(None) };
            let (frame, due) = unstamped(frame);
            // A stamp from a peer is believed within reason.
            let latest = clock().saturating_add(nanos(self.network.rtt + PATIENCE));
            self.held = Some((frame, due.min(latest)));
        }
        Ok(self.held.take_if(|(_, due)| clock() >= *due).map(|(frame, _)| frame))
    }

    fn wake(&self) -> Wake<'_> {
        self.link.wake()
    }

    fn due(&self) -> Option<Instant> {
        let (_, due) = self.held.as_ref()?;
        Some(Instant::now() + Duration::from_nanos(due.saturating_sub(clock())))
    }

    fn received(&self) -> u64 {
        self.link.received()
    }

    fn close(&mut self) {
        self.link.close();
    }

    fn is_flushed(&self) -> bool {
        self.link.is_flushed()
    }
}

/// A frame without its stamp, and the stamp. One too short for a stamp came from an
/// endpoint that does not shape; it is due at once and fails the session's own checks.
fn unstamped(mut frame: Frame) -> (Frame, u64) {
    let Some(at) = frame.payload.len().checked_sub(STAMP as usize) else { return (frame, 0) };
    let due = frame.payload.split_off(at).first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    (Frame::relabelled(frame, -(STAMP as i64)), due)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds on a clock that every process of this machine sees alike.
#[cfg(unix)]
fn clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(not(unix))]
fn clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::in_threads;

    #[test]
    fn networks_are_read_and_printed() {
        assert_eq!("lan".parse(), Ok(Network::LAN));
        assert_eq!("wan".parse(), Ok(Network::WAN));
        let custom: Network = "1.5ms, 200Mbit".parse().unwrap();
        assert_eq!((custom.rtt, custom.bandwidth), (Duration::from_micros(1500), 200e6));
        assert_eq!(Network::WAN.to_string(), "wan (40 ms round trip, 100 Mbit/s each way, shaped inside the links)");
        for bad in ["", "slow", "40ms", "40,100", "-1ms,1mbit", "1ms,0mbit", "nanms,1mbit", "1ms,1mbit,"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    fn connect(names: &[&str]) -> Vec<Session> {
        let network = Network { rtt: Duration::from_micros(400), bandwidth: 1e9 };
        crate::local(names).into_iter().map(|s| s.shaped(network)).collect()
    }

    mod local {
        crate::link_conformance!(super::connect);
    }

    #[cfg(unix)]
    mod tls {
        fn shaped(names: &[&str]) -> Vec<crate::Session> {
            crate::tcp::loopback::loopback(names).into_iter().map(|s| s.shaped(crate::shape::Network::LAN)).collect()
        }
        crate::link_conformance!(shaped);
    }

    /// Ten round trips take ten round-trip times, 2 MB take their time on the line, and
    /// both directions at once no longer.
    #[test]
    fn round_trips_and_bulk_take_the_time_they_should() {
        let network = Network { rtt: Duration::from_millis(20), bandwidth: 80e6 };
        let sessions: Vec<Session> = crate::local(&["alice", "bob"]).into_iter().map(|s| s.shaped(network)).collect();
        let times = in_threads(sessions, |mut s| {
            let (start, peer) = (Instant::now(), 1 - s.id());
            for _ in 0..10 {
                match s.id() {
                    0 => {
                        s.round(vec![(peer, vec![1])], &[]).unwrap();
                        s.round(vec![], &[(peer, 1)]).unwrap();
                    }
                    _ => {
                        s.round(vec![], &[(peer, 1)]).unwrap();
                        s.round(vec![(peer, vec![1])], &[]).unwrap();
                    }
                }
            }
            let small = start.elapsed();
            let start = Instant::now();
            s.round(vec![(peer, vec![0; 2 << 20])], &[(peer, 2 << 20)]).unwrap();
            (small, start.elapsed())
        });
        let (small, bulk) = times[0];
        // 2 MiB at 10 MB/s are 209.7 ms; bob, who sent half a round trip before alice got
        // his last answer, makes up for the half round trip of his message. The upper ends
        // allow for a busy machine.
        assert!((200..800).contains(&small.as_millis()), "{small:?}");
        assert!((209..900).contains(&bulk.as_millis()), "{bulk:?}");
    }
}
