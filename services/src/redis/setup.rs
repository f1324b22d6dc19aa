//! What Redis servers are like, and their settings.
//!
//! ```text
//!  clients ──▶ proxy ──▶ Redis::address   plain or TLS, announced at the proxy where there is one
//!  Redis::command ─────▶ Redis::inner     plain, never through a proxy
//! ```
//! With TLS servers and Sentinels speak it among themselves too: they tell clients how they reach each other.

use super::{Cluster, Redis, Sentinel};
use crate::ports;
use crate::tls::Authority;
use anyhow::{Context, Result, ensure};
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Redis servers to be started.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    pub(super) is_detached: bool,
    pub(super) is_proxied: bool,
    pub(super) has_tls: bool,
    pub(super) user: Option<User>,
    settings: Vec<(String, String)>,
}

/// Who is let in where a password is asked for; nobody else is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
}

/// What servers with TLS share.
pub(super) struct Tls {
    authority: Authority,
    /// Those that name their one certificate.
    pub(super) settings: String,
}

/// Where one server listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) client: SocketAddr,
    pub(super) inner: SocketAddr,
    /// What it tells others of itself.
    pub(super) announced: SocketAddr,
}

impl Setup {
    /// Plain servers that keep nothing on disk.
    pub fn new() -> Setup {
        Setup::default()
    }

    /// They stay when this program ends: see [`Process::leave`](crate::Process::leave).
    pub fn detached(mut self, is_detached: bool) -> Setup {
        self.is_detached = is_detached;
        self
    }

    /// Clients reach each server through a [`Proxy`](crate::Proxy) of its own, whose address it announces: replicas,
    /// Sentinels and what a cluster tells its clients go through it too; a cluster's own bus does not.
    pub fn proxied(mut self) -> Setup {
        self.is_proxied = true;
        self
    }

    /// Clients need TLS, and no certificate.
    pub fn tls(mut self) -> Setup {
        self.has_tls = true;
        self
    }

    /// Clients need the password of this user, both of letters and digits.
    pub fn user(mut self, name: &str, password: &str) -> Setup {
        self.user = Some(User { name: name.into(), password: password.into() });
        self
    }

    /// One more setting of all servers; it wins over those made here.
    pub fn setting(mut self, name: &str, value: &str) -> Setup {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts a single server with its files in `dir`, and waits until it answers.
    pub fn start(&self, dir: &Path) -> Result<Redis> {
        self.check()?;
        ports::tried(|| {
            fs::create_dir_all(dir)?;
            let mut redis = self.server(dir, "redis", self.secured(dir)?.as_ref(), |_| String::new())?;
            redis.until_ready()?;
            Ok(redis)
        })
    }

    /// Starts a master, two replicas and so many Sentinels, and waits until all know each other.
    pub fn start_sentinel(&self, dir: &Path, sentinels: usize) -> Result<Sentinel> {
        self.check()?;
        ensure!(sentinels > 0, "somebody must watch the master");
        ports::tried(|| Sentinel::try_start(self, dir, sentinels))
    }

    /// Starts a cluster of three masters, with a replica each if asked, and waits until all agree on it.
    pub fn start_cluster(&self, dir: &Path, has_replicas: bool) -> Result<Cluster> {
        self.check()?;
        ports::tried(|| Cluster::try_start(self, dir, has_replicas))
    }

    fn check(&self) -> Result<()> {
        let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
        let are_words = self.user.iter().all(|user| is_word(&user.name) && is_word(&user.password));
        ensure!(are_words, "name and password of the user are of letters and digits");
        Ok(())
    }

    /// Makes a certificate for all servers, if they have TLS.
    pub(super) fn secured(&self, dir: &Path) -> Result<Option<Tls>> {
        if !self.has_tls {
            return Ok(None);
        }
        let authority = Authority::create(&dir.join("tls"))?;
        let pem = authority.issue_pem("redis")?;
        let (pem, trusted) = (pem.display(), authority.certificate());
        let settings = format!(
            "tls-cert-file {pem}\ntls-key-file {pem}\ntls-auth-clients no\ntls-ca-cert-file {}\n\
             tls-replication yes\n",
            trusted.display()
        );
        Ok(Some(Tls { authority, settings }))
    }

    /// Starts a server with its files in `dir/NAME`; whether it answers yet is for the caller to see.
    pub(super) fn server(
        &self,
        dir: &Path,
        name: &str,
        tls: Option<&Tls>,
        more: impl FnOnce(&Addresses) -> String,
    ) -> Result<Redis> {
        let own = dir.join(name);
        fs::create_dir_all(&own)?;
        let free = ports::free(2)?;
        let client = free[0];
        let proxy = self.is_proxied.then(|| crate::Proxy::start(client)).transpose()?;
        let announced = proxy.as_ref().map_or(client, crate::Proxy::address);
        let inner = if tls.is_some() { free[1] } else { client };
        let addresses = Addresses { client, inner, announced };
        let more = tls.map_or_else(String::new, |tls| tls.settings.clone()) + &more(&addresses);
        let file = self.configure(&own, &addresses, &more)?;
        let process = super::run(name, &file, &[], self.is_detached)?;
        let (user, authority) = (self.user.clone(), tls.map(|tls| tls.authority.clone()));
        Ok(Redis { address: client, inner, proxy, process, user, authority })
    }

    fn configure(&self, own: &Path, addresses: &Addresses, more: &str) -> Result<PathBuf> {
        let dir = own.to_str().context("a directory of Redis has a UTF-8 name")?;
        let mut text = format!("bind 127.0.0.1\ndir {dir}\nsave \"\"\nappendonly no\n");
        writeln!(text, "port {}", addresses.inner.port())?;
        if self.has_tls {
            writeln!(text, "tls-port {}", addresses.client.port())?;
        }
        if let Some(User { name, password }) = &self.user {
            writeln!(text, "user default off\nuser {name} on >{password} ~* &* +@all")?;
            writeln!(text, "masteruser {name}\nmasterauth {password}")?;
        }
        text += more;
        for (name, value) in &self.settings {
            writeln!(text, "{name} {value}")?;
        }
        let file = own.join("redis.conf");
        fs::write(&file, text)?;
        Ok(file)
    }
}
