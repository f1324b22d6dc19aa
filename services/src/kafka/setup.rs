//! What a cluster is like, and the settings of its brokers.
//!
//! ```text
//!  clients ──▶ proxy ──▶ CLIENTS      plain, TLS, SASL; advertised at the proxy where there is one
//!  brokers, Kafka::tool ▶ BROKERS     plain, never through a proxy
//!  controllers ─────────▶ CONTROLLER
//! ```
//! So faults between clients and brokers leave the cluster itself whole.

use super::Kafka;
use crate::tls::{Authority, PASSWORD};
use anyhow::{Result, ensure};
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// How clients are protected, and must prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Security {
    /// Not at all.
    #[default]
    Plaintext,
    /// TLS; a client needs no certificate, unless [`Setup::client_certificates`] says so.
    Tls,
    /// A password: SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN.
    Sasl,
    /// A password over TLS.
    SaslTls,
}

/// A cluster to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) brokers: usize,
    pub(super) is_detached: bool,
    pub(super) is_proxied: bool,
    pub(super) security: Security,
    needs_certificates: bool,
    pub(super) users: Vec<(String, String)>,
    settings: Vec<(String, String)>,
}

impl Security {
    /// What Kafka's settings call it.
    pub fn protocol(self) -> &'static str {
        match self {
            Security::Plaintext => "PLAINTEXT",
            Security::Tls => "SSL",
            Security::Sasl => "SASL_PLAINTEXT",
            Security::SaslTls => "SASL_SSL",
        }
    }

    pub(super) fn has_tls(self) -> bool {
        matches!(self, Security::Tls | Security::SaslTls)
    }

    pub(super) fn has_sasl(self) -> bool {
        matches!(self, Security::Sasl | Security::SaslTls)
    }
}

impl Setup {
    /// A cluster of so many brokers, without protection.
    pub fn new(brokers: usize) -> Setup {
        Setup {
            brokers,
            is_detached: false,
            is_proxied: false,
            security: Security::default(),
            needs_certificates: false,
            users: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// It stays when this program ends: see [`Process::leave`](crate::Process::leave).
    pub fn detached(mut self, is_detached: bool) -> Setup {
        self.is_detached = is_detached;
        self
    }

    /// Clients reach each broker through a [`Proxy`](crate::Proxy) of its own, whose address it advertises.
    pub fn proxied(mut self) -> Setup {
        self.is_proxied = true;
        self
    }

    /// How clients are protected.
    pub fn secured(mut self, security: Security) -> Setup {
        self.security = security;
        self
    }

    /// Clients need a certificate of the cluster's authority.
    pub fn client_certificates(mut self) -> Setup {
        self.needs_certificates = true;
        self
    }

    /// A user with a password, of letters and digits, for all mechanisms.
    pub fn user(mut self, name: &str, password: &str) -> Setup {
        self.users.push((name.into(), password.into()));
        self
    }

    /// One more setting of all brokers; it wins over those made here.
    pub fn setting(mut self, name: &str, value: &str) -> Setup {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts it with its files in `dir`, and waits until each broker knows all of them.
    pub fn start(self, dir: &Path) -> Result<Kafka> {
        ensure!(self.brokers > 0, "a cluster has a broker");
        ensure!(self.users.is_empty() || self.security.has_sasl(), "users without SASL");
        ensure!(!self.needs_certificates || self.security.has_tls(), "client certificates without TLS");
        let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
        let are_words = self.users.iter().all(|(name, password)| is_word(name) && is_word(password));
        ensure!(are_words, "names and passwords of users are of letters and digits");
        Kafka::of(dir, self)
    }

    /// The users, for `kafka-storage format`.
    pub(super) fn scram(&self) -> Vec<String> {
        let of = |mechanism: &str| {
            let user = move |(name, password): &(String, String)| {
                format!("SCRAM-SHA-{mechanism}=[name={name},password={password}]")
            };
            self.users.iter().map(user).collect::<Vec<_>>()
        };
        [of("256"), of("512")].concat()
    }

    /// Writes the settings of a broker: their file.
    pub(super) fn configure(
        &self,
        dir: &Path,
        addresses: &Addresses<'_>,
        tls: Option<&Tls>,
    ) -> Result<PathBuf> {
        let own = dir.join(format!("broker-{}", addresses.index + 1));
        fs::create_dir_all(&own)?;
        let mut settings = self.basic(&own, addresses);
        if self.security.has_sasl() {
            settings += &self.sasl();
        }
        if let Some(tls) = tls {
            settings += &self.tls(tls);
        }
        for (name, value) in &self.settings {
            writeln!(settings, "{name}={value}")?;
        }
        let file = own.join("server.properties");
        fs::write(&file, settings)?;
        Ok(file)
    }

    fn basic(&self, own: &Path, addresses: &Addresses<'_>) -> String {
        let index = addresses.index;
        let (client, inner) = (addresses.clients[index], addresses.inner[index]);
        let controllers = addresses.controllers.iter().enumerate();
        let voters: Vec<String> =
            controllers.map(|(index, address)| format!("{}@{address}", index + 1)).collect();
        let replicas = self.brokers.min(3);
        let in_sync = replicas.div_ceil(2);
        format!(
            "process.roles=broker,controller\n\
             node.id={node}\n\
             controller.quorum.voters={voters}\n\
             listeners=CLIENTS://{client},BROKERS://{inner},CONTROLLER://{controller}\n\
             advertised.listeners=CLIENTS://{advertised},BROKERS://{inner}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=BROKERS\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,BROKERS:PLAINTEXT,CLIENTS:{protocol}\n\
             log.dirs={data}\n\
             auto.create.topics.enable=false\n\
             default.replication.factor={replicas}\n\
             min.insync.replicas={in_sync}\n\
             offsets.topic.replication.factor={replicas}\n\
             transaction.state.log.replication.factor={replicas}\n\
             transaction.state.log.min.isr={in_sync}\n\
             share.coordinator.state.topic.replication.factor={replicas}\n\
             share.coordinator.state.topic.min.isr={in_sync}\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.num.partitions=4\n\
             group.initial.rebalance.delay.ms=0\n",
            node = index + 1,
            voters = voters.join(","),
            controller = addresses.controllers[index],
            advertised = addresses.advertised,
            protocol = self.security.protocol(),
            data = own.join("data").display(),
        )
    }

    fn sasl(&self) -> String {
        let users = self.users.iter().map(|(name, password)| format!(" user_{name}=\"{password}\""));
        let users: String = users.collect();
        let scram = "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let plain = "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required";
        format!(
            "listener.name.clients.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN\n\
             listener.name.clients.scram-sha-256.{scram}\n\
             listener.name.clients.scram-sha-512.{scram}\n\
             listener.name.clients.plain.{plain}{users};\n",
        )
    }

    fn tls(&self, tls: &Tls) -> String {
        let (store, certificate) = (tls.broker.display(), tls.authority.certificate());
        let needed = if self.needs_certificates { "required" } else { "none" };
        format!(
            "listener.name.clients.ssl.keystore.type=PKCS12\n\
             listener.name.clients.ssl.keystore.location={store}\n\
             listener.name.clients.ssl.keystore.password={PASSWORD}\n\
             listener.name.clients.ssl.key.password={PASSWORD}\n\
             listener.name.clients.ssl.truststore.type=PEM\n\
             listener.name.clients.ssl.truststore.location={}\n\
             listener.name.clients.ssl.client.auth={needed}\n",
            certificate.display(),
        )
    }
}

/// Where the brokers of a cluster listen, and which of them is meant.
pub(super) struct Addresses<'a> {
    pub(super) index: usize,
    pub(super) clients: &'a [SocketAddr],
    pub(super) inner: &'a [SocketAddr],
    pub(super) controllers: &'a [SocketAddr],
    /// What it tells clients of itself.
    pub(super) advertised: SocketAddr,
}

/// Who signs, and the key all brokers use.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) authority: Authority,
    pub(super) broker: PathBuf,
}

impl Tls {
    pub(super) fn create(dir: &Path) -> Result<Tls> {
        let authority = Authority::create(dir)?;
        let broker = authority.issue("broker")?;
        Ok(Tls { authority, broker })
    }
}
