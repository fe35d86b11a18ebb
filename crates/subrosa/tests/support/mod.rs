//! Three parties, or as many as a protocol has, and their clients, on the loopback interface.
#![allow(dead_code, clippy::expect_used, reason = "each test uses a part of it, and fails here if it must")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use subrosa::deploy::{Cluster, ClusterConfig, Fingerprint, Identity, PartyOptions, PartyServer, Stop, Validity};
use tempfile::TempDir;

pub(crate) const PARTIES: [&str; 4] = ["hospital", "vendor", "regulator", "auditor"];
pub(crate) const CLIENTS: [(&str, &str); 3] = [
    ("clinic", r#"["model-owner", "data-owner", "receiver"]"#),
    ("laboratory", r#"["data-owner"]"#),
    ("ministry", r#"["receiver"]"#),
];

pub(crate) struct Deployment {
    pub(crate) folder: TempDir,
    pub(crate) config: String,
    pub(crate) servers: Vec<Option<Running>>,
    /// By party: what an offline dealer has dealt.
    pub(crate) keys: Vec<Option<std::path::PathBuf>>,
    pub(crate) log: Arc<Mutex<Vec<String>>>,
}

pub(crate) struct Running {
    stop: Stop,
    address: std::net::SocketAddr,
    thread: JoinHandle<()>,
}

/// Ports that are free now, all different.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [std::net::TcpListener; N] =
        std::array::from_fn(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"));
    std::array::from_fn(|i| listeners[i].local_addr().expect("bound").port())
}

pub(crate) fn identity(folder: &Path, name: &str) -> Identity {
    Identity::load(&folder.join(name)).expect("made before")
}

impl Deployment {
    /// Identities and a configuration with these further lines; nothing runs yet.
    pub(crate) fn new(limits: &str) -> Self {
        Self::via("rep3", 3, limits)
    }

    /// As [`Deployment::new`], for another protocol with so many parties, a dealer included.
    pub(crate) fn via(backend: &str, parties: usize, limits: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let make = |name: &str| -> Fingerprint {
            let identity = Identity::create(name, Validity::days(1)).expect("an identity");
            identity.save(&folder.path().join(name), false).expect("saved");
            identity.fingerprint()
        };
        let ports = free_ports::<4>();
        let mut config = format!("backend = \"{backend}\"\n");
        for (name, port) in PARTIES.iter().zip(ports).take(parties) {
            let print = make(name);
            config +=
                &format!("[[party]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\nfingerprint = \"{print}\"\n");
        }
        for (name, roles) in CLIENTS {
            let print = make(name);
            config += &format!("[[client]]\nname = \"{name}\"\nroles = {roles}\nfingerprint = \"{print}\"\n");
        }
        config += &format!("[limits]\n{limits}\n");
        let servers = (0..parties).map(|_| None).collect();
        Self { folder, config, servers, keys: vec![None; parties], log: Arc::default() }
    }

    pub(crate) fn started(limits: &str) -> Self {
        Self::new(limits).all_started()
    }

    pub(crate) fn all_started(mut self) -> Self {
        (0..self.servers.len()).for_each(|i| self.start(i));
        self
    }

    pub(crate) fn parsed(&self) -> ClusterConfig {
        ClusterConfig::parse(&self.config).expect("a configuration")
    }

    pub(crate) fn state(&self, party: usize) -> std::path::PathBuf {
        self.folder.path().join(PARTIES[party]).join("state")
    }

    pub(crate) fn server(&self, party: usize, config: ClusterConfig) -> PartyServer {
        let log = Arc::clone(&self.log);
        let options = PartyOptions {
            listen: None,
            state: self.state(party),
            store_key: None,
            keys: self.keys.get(party).cloned().flatten(),
            threads: 1,
            traces: Some(self.folder.path().join(format!("{}.jsonl", PARTIES[party]))),
            log: Box::new(move |line| log.lock().expect("log").push(format!("{}: {line}", PARTIES[party]))),
        };
        PartyServer::bind(config, identity(self.folder.path(), PARTIES[party]), options).expect("bound")
    }

    pub(crate) fn start(&mut self, party: usize) {
        self.start_with(party, self.parsed());
    }

    pub(crate) fn start_with(&mut self, party: usize, config: ClusterConfig) {
        self.run(party, self.server(party, config));
    }

    /// With a server that was changed before.
    pub(crate) fn start_as(&mut self, party: usize, change: impl FnOnce(&PartyServer)) {
        let server = self.server(party, self.parsed());
        change(&server);
        self.run(party, server);
    }

    fn run(&mut self, party: usize, server: PartyServer) {
        let (stop, address) = (server.stop_handle(), server.address().expect("bound"));
        let thread = std::thread::spawn(move || server.run().expect("served"));
        self.servers[party] = Some(Running { stop, address, thread });
    }

    pub(crate) fn stop(&mut self, party: usize) {
        let running = self.servers[party].take().expect("running");
        running.stop.stop(running.address);
        running.thread.join().expect("stopped");
    }

    pub(crate) fn client(&self, name: &str) -> Cluster {
        let mut cluster = Cluster::new(self.parsed(), identity(self.folder.path(), name)).expect("a client");
        cluster.set_reach(Duration::from_secs(3));
        cluster
    }

    pub(crate) fn logged(&self) -> String {
        self.log.lock().expect("log").join("\n")
    }
}
