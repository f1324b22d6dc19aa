//! What Kafka's own tools need to be let in as a client.

use super::{Kafka, Security};
use crate::tls::PASSWORD;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password, as it is.
    Plain,
    /// RFC 5802 with SHA-256.
    ScramSha256,
    /// RFC 5802 with SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    fn module(self) -> &'static str {
        match self {
            Mechanism::Plain => "org.apache.kafka.common.security.plain.PlainLoginModule",
            Mechanism::ScramSha256 | Mechanism::ScramSha512 => {
                "org.apache.kafka.common.security.scram.ScramLoginModule"
            }
        }
    }
}

/// Who a client says it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client<'a> {
    /// Mechanism, name and password, where passwords are asked for.
    pub password: Option<(Mechanism, &'a str, &'a str)>,
    /// A PKCS #12 file of the cluster's authority, where certificates are asked for.
    pub certificate: Option<&'a Path>,
}

impl Kafka {
    /// Writes a file of settings for Kafka's tools (`--command-config FILE`) to connect as this client.
    pub fn client_settings(&self, client: Client<'_>) -> Result<PathBuf> {
        let mut lines = vec![format!("security.protocol={}", self.security().protocol())];
        if let Some((mechanism, name, password)) = client.password {
            let module = mechanism.module();
            lines.push(format!("sasl.mechanism={}", mechanism.name()));
            lines.push(format!(
                "sasl.jaas.config={module} required username=\"{name}\" password=\"{password}\";"
            ));
        }
        if let Some(authority) = self.authority() {
            lines.push("ssl.truststore.type=PEM".into());
            lines.push(format!("ssl.truststore.location={}", authority.certificate().display()));
        }
        if let Some(store) = client.certificate {
            lines.push("ssl.keystore.type=PKCS12".into());
            lines.push(format!("ssl.keystore.location={}", store.display()));
            lines.push(format!("ssl.keystore.password={PASSWORD}"));
        }
        // A client that is refused is told at once, and does not try for a minute.
        lines.push("default.api.timeout.ms=20000".into());
        lines.push("request.timeout.ms=10000".into());
        let name = client.password.map_or("anonymous", |(_, name, _)| name);
        let mechanism = client.password.map_or("none", |(mechanism, ..)| mechanism.name());
        let file = self.dir.join(format!("client-{name}-{mechanism}.properties"));
        fs::write(&file, lines.join("\n")).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    fn security(&self) -> Security {
        self.setup.security
    }
}
