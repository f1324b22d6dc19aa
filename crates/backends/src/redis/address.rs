//! Where Redis is and how to get in, as one URL.
//!
//! ```text
//! redis://[[user]:password@]host[:6379][/db]                              one server (rediss:// with TLS)
//! redis+sentinel://[[user]:password@]host[:26379][,host…]/master[/db]     whoever Sentinel says is the master
//! redis+cluster://[[user]:password@]host[:6379][,host…]                   a Redis Cluster, by some of its nodes
//! ```
//! User and password are those of the servers; Sentinels that want one are given `?sentinel_user=&sentinel_password=`.
//! A password is never shown: [`Display`](fmt::Display) and [`Debug`](fmt::Debug) leave it out.

use dualstream_core::{Error, Result};
use percent_encoding::percent_decode_str;
use std::fmt;

/// Most hosts one address names.
const HOSTS_MAX: usize = 64;
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// What stands there is not told: of a password with odd characters any part can stand anywhere.
const NO_SCHEME: &str = "what stands before its :// is no scheme of Redis";

/// Where Redis is and how to get in.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) kind: Kind,
    pub(super) hosts: Vec<Host>,
    pub(super) is_tls: bool,
    pub(super) login: Login,
    pub(super) database: i64,
    pub(super) root_certificates: Option<Vec<u8>>,
}

/// What stands at the hosts.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// One server.
    Standalone,
    /// Sentinels, which know where the master of this name is.
    Sentinel { master: String, login: Login },
    /// Nodes of a Cluster.
    Cluster,
}

/// A host and its port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Host {
    pub name: String,
    pub port: u16,
}

/// A user and a password, where there are.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Login {
    pub user: Option<String>,
    pub password: Option<String>,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// `invalid_redis_address`, with the part that is wrong, and never with the password.
    pub fn parse(url: &str) -> Result<Address> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| {
            invalid("it begins with redis://, rediss://, redis+sentinel:// or redis+cluster://")
        })?;
        let (protocol, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let is_tls = match protocol {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(invalid(NO_SCHEME)),
        };
        if is_tls && !cfg!(feature = "redis-tls") {
            return Err(invalid("this build has no TLS to Redis: build it with the feature redis-tls"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match place.rsplit_once('@') {
            Some((login, hosts)) => (Login::parse(login)?, hosts),
            None => (Login::default(), place),
        };
        let sentinel_login = sentinel_login(query, kind)?;
        let (kind, database) = match kind {
            "" => (Kind::Standalone, path),
            "sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(invalid(
                        "the name of the master stands after the hosts of the Sentinels: /mymaster",
                    ));
                }
                let master = decoded(master)?;
                if !master.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
                    return Err(invalid("the name of a master has letters, digits, '.', '-' and '_'"));
                }
                (Kind::Sentinel { master, login: sentinel_login }, database)
            }
            "cluster" if path.is_empty() => (Kind::Cluster, ""),
            "cluster" => return Err(invalid("a Redis Cluster has one database and no path")),
            _ => return Err(invalid(NO_SCHEME)),
        };
        let port = if matches!(kind, Kind::Sentinel { .. }) { SENTINEL_PORT } else { REDIS_PORT };
        let hosts = hosts.split(',').map(|host| Host::parse(host, port)).collect::<Result<Vec<_>>>()?;
        if kind == Kind::Standalone && hosts.len() > 1 {
            return Err(invalid("several hosts are redis+sentinel:// or redis+cluster://"));
        }
        if hosts.len() > HOSTS_MAX {
            return Err(invalid("too many hosts").with_limit(HOSTS_MAX as u64));
        }
        Ok(Address { kind, hosts, is_tls, login, database: database_of(database)?, root_certificates: None })
    }

    /// With a password from elsewhere: one in the URL can be read by whoever sees the arguments of processes.
    pub fn with_password(mut self, password: &str) -> Address {
        self.login.password = Some(password.to_owned());
        self
    }

    /// With a password for the Sentinels from elsewhere; without any, nothing changes.
    pub fn with_sentinel_password(mut self, password: &str) -> Address {
        if let Kind::Sentinel { login, .. } = &mut self.kind {
            login.password = Some(password.to_owned());
        }
        self
    }

    /// Trusts these roots (PEM) instead of those of the machine; for TLS alone.
    pub fn with_root_certificates(mut self, pem: Vec<u8>) -> Address {
        self.root_certificates = Some(pem);
        self
    }

    /// One server of a Cluster, which is got into as the others are.
    pub(super) fn at(&self, host: &Host) -> Address {
        Address { kind: Kind::Standalone, hosts: vec![host.clone()], ..self.clone() }
    }

    /// Whether the way to its servers is TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether it is Sentinels who know the server.
    pub fn is_sentinel(&self) -> bool {
        matches!(self.kind, Kind::Sentinel { .. })
    }

    /// Whether it is a Redis Cluster.
    pub fn is_cluster(&self) -> bool {
        self.kind == Kind::Cluster
    }
}

impl Host {
    fn parse(text: &str, default_port: u16) -> Result<Host> {
        // An IPv6 address stands in brackets: its own colons are no port's.
        let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, rest)) => (name, rest.strip_prefix(':')),
            None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if name.is_empty() || !name.chars().all(legal) {
            return Err(invalid("a host is a name or an address, with :port where it is not the usual one"));
        }
        let port = match port.map(str::parse) {
            None => default_port,
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return Err(invalid("the port of a host is no number of 1 to 65535")),
        };
        Ok(Host { name: name.to_owned(), port })
    }
}

impl Login {
    fn parse(text: &str) -> Result<Login> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let some = |text: &str| (!text.is_empty()).then(|| decoded(text)).transpose();
        Ok(Login { user: some(user)?, password: some(password)? })
    }
}

/// `sentinel_user=…&sentinel_password=…`, the only parameters there are.
fn sentinel_login(query: &str, kind: &str) -> Result<Login> {
    let mut login = Login::default();
    for (name, value) in query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    {
        match (kind, name) {
            ("sentinel", "sentinel_user") => login.user = Some(decoded(value)?),
            ("sentinel", "sentinel_password") => login.password = Some(decoded(value)?),
            // It may be the end of a password that was not encoded.
            _ => return Err(invalid("what follows its '?' is no parameter of it")),
        }
    }
    Ok(login)
}

fn database_of(text: &str) -> Result<i64> {
    match text {
        "" => Ok(0),
        _ => text.parse::<u16>().map(i64::from).map_err(|_| invalid("a database of Redis is a number")),
    }
}

fn decoded(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded.map_err(|_| invalid("what is percent-encoded in it is no UTF-8"))?.into_owned())
}

fn invalid(what: impl fmt::Display) -> Error {
    Error::invalid("invalid_redis_address", "redis", format!("this is no address of Redis: {what}"))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

/// Without password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.is_tls { "rediss" } else { "redis" };
        let hosts: Vec<String> = self.hosts.iter().map(Host::to_string).collect();
        let hosts = hosts.join(",");
        match &self.kind {
            Kind::Standalone => write!(f, "{protocol}://{hosts}")?,
            Kind::Sentinel { master, .. } => write!(f, "{protocol}+sentinel://{hosts}/{master}")?,
            Kind::Cluster => write!(f, "{protocol}+cluster://{hosts}")?,
        }
        match self.database {
            0 => Ok(()),
            database => write!(f, "/{database}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests;
