//! How fast the way to a party is.

use super::control::{Measured, PATIENCE, Reply, Request, as_numbers, hear, network, say};
use crate::{Error, Result};
use std::time::{Duration, Instant};
use subrosa_net::Network;
use subrosa_net::tcp::{Channel, Endpoint, Fingerprint};

/// Small messages there and back; the median is reported.
const PINGS: usize = 21;

/// Bytes of the bulk message, sent twice; the faster one is reported.
const BULK: u32 = 4 << 20;

/// The most bytes that are taken from somebody who measures.
const MAX_BULK: u32 = 16 << 20;

/// Questions that one connection may ask.
const MAX_REQUESTS: usize = 64;

/// How long a party may take to answer at all.
const REACH: Duration = Duration::from_secs(5);

/// Measures the way to a party, imitating a network if one is given.
pub(super) fn measure(
    endpoint: &Endpoint,
    name: &str,
    address: &str,
    print: Fingerprint,
    network: Option<Network>,
) -> Measured {
    let dialed = endpoint.dial(name, address, print, Instant::now() + REACH).map_err(Error::from);
    let measured = dialed.and_then(|channel| shaped(channel, network)).and_then(timed);
    Measured { peer: name.to_owned(), result: measured.map_err(|e| e.to_string()) }
}

fn shaped(mut channel: Channel, network: Option<Network>) -> Result<Channel> {
    let Some(network) = network else { return Ok(channel) };
    let (rtt, bandwidth) = as_numbers(network);
    say(&mut channel, &Request::Shape { rtt, bandwidth })?;
    pong(&mut channel)?;
    Ok(channel.shape(network))
}

fn timed(mut channel: Channel) -> Result<(u64, f64)> {
    let mut trips = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let start = Instant::now();
        say(&mut channel, &Request::Ping)?;
        pong(&mut channel)?;
        trips.push(start.elapsed());
    }
    trips.sort_unstable();
    let trip = trips.get(PINGS / 2).copied().unwrap_or_default();
    let mut fastest = Duration::MAX;
    for _ in 0..2 {
        let start = Instant::now();
        say(&mut channel, &Request::Bulk { bytes: BULK })?;
        channel.send(vec![0; BULK as usize])?;
        pong(&mut channel)?;
        fastest = fastest.min(start.elapsed().saturating_sub(trip));
    }
    let seconds = fastest.as_secs_f64().max(1e-9);
    Ok((u64::try_from(trip.as_nanos()).unwrap_or(u64::MAX), f64::from(BULK) / seconds))
}

fn pong(channel: &mut Channel) -> Result<()> {
    match hear::<Reply>(channel, PATIENCE)? {
        Reply::Pong => Ok(()),
        Reply::Status(_) | Reply::Probed(_) | Reply::Go { .. } | Reply::Done { .. } | Reply::SealingKey(_) => {
            Err(Error::Peer { message: format!("{} answers another question than was asked", channel.peer()) })
        }
    }
}

/// The other end: answers until the caller hangs up.
pub(super) fn answer(mut channel: Channel, first: Request) -> Result<()> {
    let (mut request, mut shaped) = (first, false);
    for _ in 0..MAX_REQUESTS {
        let mut imitated = None;
        match request {
            Request::Ping => {}
            // Once: each shaping would lie on top of the one before.
            Request::Shape { rtt, bandwidth } if !shaped => {
                imitated = network((rtt, bandwidth));
                shaped = true;
            }
            Request::Bulk { bytes } if bytes <= MAX_BULK => {
                channel.recv(bytes as usize, Instant::now() + PATIENCE)?;
            }
            Request::Bulk { .. }
            | Request::Shape { .. }
            | Request::Status
            | Request::Probe { .. }
            | Request::Provision { .. }
            | Request::Remove { .. }
            | Request::Open(_)
            | Request::Join { .. }
            | Request::SealingKey { .. } => {
                return Err(Error::Peer { message: format!("{} does not just measure", channel.peer()) });
            }
        }
        say(&mut channel, &Reply::Pong)?;
        if let Some(network) = imitated {
            channel = channel.shape(network);
        }
        // Hanging up is how it ends.
        match hear::<Request>(&mut channel, PATIENCE) {
            Ok(next) => request = next,
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}
