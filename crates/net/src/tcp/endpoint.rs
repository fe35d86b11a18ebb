//! Dialing and accepting.

use super::channel::Channel;
use super::identity::{Fingerprint, Identity, IdentityError, inspect};
use super::pin::{CertificateFault, Expected, Pins};
use super::tls::TlsLink;
use crate::error::{Error, PeerFault};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{CipherSuite, ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// First and longest pause between attempts to reach a peer.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The longest wait for one attempt.
const ATTEMPT: Duration = Duration::from_secs(5);

/// An identity and whom it trusts. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    identity: Arc<Identity>,
    /// Names by fingerprint.
    known: Arc<BTreeMap<Fingerprint, String>>,
    provider: Arc<CryptoProvider>,
    server: Arc<ServerConfig>,
}

impl Endpoint {
    /// An endpoint that accepts the named keys.
    ///
    /// **Errors:** [`Error::Misuse`] if the identity's key cannot be used.
    pub fn new(identity: Identity, known: BTreeMap<Fingerprint, String>) -> Result<Self, Error> {
        let provider = Arc::new(CryptoProvider { cipher_suites: suites(), ..aws_lc_rs::default_provider() });
        let expected = Expected::Any(known.keys().copied().collect());
        let verifier = Arc::new(Pins { expected, provider: Arc::clone(&provider) });
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map(|b| b.with_client_cert_verifier(verifier))
            .and_then(|b| b.with_single_cert(identity.chain(), identity.private_key()))
            .map_err(|e| Error::Misuse(format!("this endpoint's identity: {e}")))?;
        let mut server = server;
        // Each connection agrees on keys of its own; nothing is resumed.
        server.send_tls13_tickets = 0;
        Ok(Self { identity: Arc::new(identity), known: Arc::new(known), provider, server: Arc::new(server) })
    }

    /// This endpoint's key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.identity.fingerprint()
    }

    /// As [`Identity::sign`].
    ///
    /// **Errors:** [`IdentityError::Generate`].
    pub fn sign(&self, purpose: &str, message: &[u8]) -> Result<Vec<u8>, IdentityError> {
        self.identity.sign(purpose, message)
    }

    /// Connects to `peer`, who listens at `address` and has the key `pinned`, trying again
    /// with growing pauses while nobody listens, until `until`.
    ///
    /// **Errors:** [`PeerFault::Unreachable`], [`PeerFault::Certificate`],
    /// [`PeerFault::RefusedUs`], [`PeerFault::Late`]; only the first is tried again.
    pub fn dial(&self, peer: &str, address: &str, pinned: Fingerprint, until: Instant) -> Result<Channel, Error> {
        let blame = |kind| Error::Peer { peer: peer.to_owned(), kind };
        let stream = connect(address, until).map_err(blame)?;
        let pins = Pins { expected: Expected::One(pinned), provider: Arc::clone(&self.provider) };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .map(|b| b.dangerous().with_custom_certificate_verifier(Arc::new(pins)))
            .and_then(|b| b.with_client_auth_cert(self.identity.chain(), self.identity.private_key()))
            .map_err(|e| Error::Misuse(format!("this endpoint's identity: {e}")))?;
        config.resumption = rustls::client::Resumption::disabled();
        // The name is not looked at: the key is.
        let name = ServerName::try_from("subrosa.invalid").map_err(|e| Error::Misuse(e.to_string()))?;
        let tls = ClientConnection::new(Arc::new(config), name).map_err(|e| Error::Misuse(e.to_string()))?;
        let link = secure(stream, Connection::Client(tls), until).map_err(blame)?;
        Ok(Channel::new(link, peer.to_owned(), pinned))
    }

    /// Takes a connection from whoever of the known peers it is, until `until`.
    ///
    /// **Errors:** as for [`Endpoint::dial`]; the peer is named by its address until it is
    /// known.
    pub fn accept(&self, stream: TcpStream, until: Instant) -> Result<Channel, Error> {
        let address = stream.peer_addr().map_or_else(|_| "a stranger".to_owned(), |a| format!("a caller at {a}"));
        let blame = |kind| Error::Peer { peer: address.clone(), kind };
        let tls = ServerConnection::new(Arc::clone(&self.server)).map_err(|e| Error::Misuse(e.to_string()))?;
        let link = secure(stream, Connection::Server(tls), until).map_err(blame)?;
        let unreadable = || blame(PeerFault::Certificate(CertificateFault::Unreadable));
        let (fingerprint, _) = link.peer_certificate().and_then(|c| inspect(c).ok()).ok_or_else(unreadable)?;
        let name = self.known.get(&fingerprint).cloned().ok_or_else(unreadable)?;
        Ok(Channel::new(link, name, fingerprint))
    }
}

/// AES-128-GCM first: 128-bit security is what everything else here has.
fn suites() -> Vec<rustls::SupportedCipherSuite> {
    const RANKED: [CipherSuite; 2] =
        [CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256];
    let rank = |suite: &rustls::SupportedCipherSuite| RANKED.iter().position(|r| *r == suite.suite());
    let mut suites: Vec<_> = aws_lc_rs::ALL_CIPHER_SUITES.iter().copied().filter(|s| rank(s).is_some()).collect();
    suites.sort_by_key(rank);
    suites
}

fn connect(address: &str, until: Instant) -> Result<TcpStream, PeerFault> {
    let mut pause = BACK_OFF.0;
    loop {
        let failed = match attempt(address, until) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        if Instant::now() + pause >= until {
            return Err(PeerFault::Unreachable { address: address.to_owned(), reason: failed.to_string() });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(BACK_OFF.1);
    }
}

fn attempt(address: &str, until: Instant) -> std::io::Result<TcpStream> {
    let mut failed = std::io::Error::new(std::io::ErrorKind::NotFound, "the address names no machine");
    for socket in address.to_socket_addrs()? {
        let left = until.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), ATTEMPT);
        match TcpStream::connect_timeout(&socket, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn secure(stream: TcpStream, tls: Connection, until: Instant) -> Result<TlsLink, PeerFault> {
    let address = stream.peer_addr().map_or_else(|_| String::new(), |a| a.to_string());
    let unreachable = |e: std::io::Error| PeerFault::Unreachable { address: address.clone(), reason: e.to_string() };
    tune(&stream).map_err(unreachable)?;
    let mut link = TlsLink::new(stream, tls).map_err(unreachable)?;
    link.handshake(until)?;
    Ok(link)
}

/// Small messages leave at once; a machine that vanished is noticed.
///
/// **Errors:** the operating system's.
pub fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(15));
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
