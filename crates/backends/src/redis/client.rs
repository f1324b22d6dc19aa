//! Connections to what an [`Address`] names: to the server, to the master that Sentinel names, to a Cluster.

use super::address::{Address, Host, Kind, Login};
use super::fault;
use dualstream_core::{Error, ErrorKind, Result};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline,
    ProtocolVersion, RedisConnectionInfo, RedisFuture, RedisResult, Value,
};
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for a connection that answers, its login included.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(1);

/// A connection for commands, shared by its clones: they are sent one after the other without waiting for answers. It
/// does not connect again: after an error that says so, make another one.
#[derive(Clone)]
pub enum Connection {
    /// One server.
    Single(MultiplexedConnection),
    /// All nodes of a Cluster: commands go where their keys are, and follow them.
    Cluster(ClusterConnection),
}

/// One server out of those an address names, and a connection to it.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Its host and port.
    pub place: String,
    /// The connection.
    pub connection: MultiplexedConnection,
}

impl Address {
    /// A connection for commands, each of which has `deadline` to be answered.
    ///
    /// # Errors
    /// `redis_unavailable`, `redis_denied`.
    pub async fn connect(&self, deadline: Duration) -> Result<Connection> {
        if self.is_cluster() {
            return self.connect_cluster(deadline).await.map(Connection::Cluster);
        }
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(deadline));
        Ok(Connection::Single(self.connect_node(config, 0).await?.connection))
    }

    /// A connection to the server, to the master, or to any node of a Cluster. Hosts are asked in turn, beginning at the
    /// one with the number `first`, so that several connections lead to several nodes.
    ///
    /// # Errors
    /// `redis_unavailable`, `redis_denied`: what the last host said that was asked.
    pub(super) async fn connect_node(&self, config: AsyncConnectionConfig, first: usize) -> Result<Node> {
        let mut last = None;
        let (last_ones, first_ones) = self.hosts.split_at(first % self.hosts.len().max(1));
        for host in first_ones.iter().chain(last_ones) {
            let connected = match &self.kind {
                Kind::Sentinel { master, login } => {
                    self.connect_master(host, master, login, config.clone()).await
                }
                Kind::Standalone | Kind::Cluster => self.connect_to(host, config.clone()).await,
            };
            match connected {
                Ok(node) => return Ok(node),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| unavailable("an address without hosts")))
    }

    /// The master that a Sentinel names, if it says of itself that it is one: a Sentinel may be behind.
    async fn connect_master(
        &self,
        sentinel: &Host,
        master: &str,
        login: &Login,
        config: AsyncConnectionConfig,
    ) -> Result<Node> {
        let host = self.ask_sentinel(sentinel, master, login).await?;
        let mut node = self.connect_to(&host, config).await?;
        let role: Vec<Value> = self.answer(&node.place, redis::cmd("ROLE"), &mut node.connection).await?;
        match role.first().map(redis::from_redis_value_ref::<String>) {
            Some(Ok(role)) if role == "master" => Ok(node),
            _ => Err(unavailable(format!(
                "Redis at {host} is no master, though the Sentinel at {sentinel} says so"
            ))),
        }
    }

    /// Whether the server at `place` is still the one to use. Only a Sentinel could say otherwise: a master that was
    /// replaced may not know it, and answers as ever.
    pub(super) async fn is_still_at(&self, place: &str) -> bool {
        let Kind::Sentinel { master, login } = &self.kind else { return true };
        for sentinel in &self.hosts {
            if let Ok(host) = self.ask_sentinel(sentinel, master, login).await {
                return host.to_string() == place;
            }
        }
        true
    }

    async fn ask_sentinel(&self, sentinel: &Host, master: &str, login: &Login) -> Result<Host> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(CONNECT_MAX));
        let mut connection = self.open(sentinel, login, 0, config).await?;
        let ask = redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).to_owned();
        let place = format!("{sentinel} (Sentinel)");
        let answer: Option<(String, u16)> = self.answer(&place, ask, &mut connection).await?;
        let (name, port) = answer
            .ok_or_else(|| unavailable(format!("the Sentinel at {sentinel} knows no master '{master}'")))?;
        Ok(Host { name, port })
    }

    async fn answer<T: redis::FromRedisValue>(
        &self,
        place: &str,
        ask: Cmd,
        connection: &mut MultiplexedConnection,
    ) -> Result<T> {
        // A connection that subscribes has no deadline of its own.
        match timeout(CONNECT_MAX, ask.query_async(connection)).await {
            Ok(answer) => answer.map_err(|error| fault::at(place, &error)),
            Err(_) => Err(unavailable(format!("Redis at {place}: no answer in time"))),
        }
    }

    /// Connects to one of the data servers.
    pub(super) async fn connect_to(&self, host: &Host, config: AsyncConnectionConfig) -> Result<Node> {
        let connection = self.open(host, &self.login, self.database, config).await?;
        Ok(Node { place: host.to_string(), connection })
    }

    async fn open(
        &self,
        host: &Host,
        login: &Login,
        database: i64,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection> {
        let failed = |error| fault::at(host, &error);
        let client = self.client(self.info(host, login, database).map_err(failed)?).map_err(failed)?;
        let config = config.set_connection_timeout(Some(CONNECT_MAX));
        client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)
    }

    async fn connect_cluster(&self, deadline: Duration) -> Result<ClusterConnection> {
        let failed = |error| fault::at(self, &error);
        let nodes = self.hosts.iter().map(|host| self.info(host, &self.login, 0));
        let nodes = nodes.collect::<RedisResult<Vec<_>>>().map_err(failed)?;
        let builder =
            ClusterClientBuilder::new(nodes).connection_timeout(CONNECT_MAX).response_timeout(deadline);
        #[cfg(feature = "redis-tls")]
        let builder = match (self.is_tls, self.certificates()) {
            (true, Some(certificates)) => builder.certs(certificates),
            _ => builder,
        };
        let client = builder.build().map_err(failed)?;
        client.get_async_connection().await.map_err(failed)
    }

    fn info(&self, host: &Host, login: &Login, database: i64) -> RedisResult<ConnectionInfo> {
        let Host { name, port } = host.clone();
        let place = match self.is_tls {
            true => ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(name, port),
        };
        let mut redis = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(database);
        if let Some(user) = &login.user {
            redis = redis.set_username(user);
        }
        if let Some(password) = &login.password {
            redis = redis.set_password(password);
        }
        Ok(place.into_connection_info()?.set_redis_settings(redis))
    }

    #[cfg(not(feature = "redis-tls"))]
    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        Client::open(info)
    }

    #[cfg(feature = "redis-tls")]
    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        match (self.is_tls, self.certificates()) {
            (true, Some(certificates)) => Client::build_with_tls(info, certificates),
            _ => Client::open(info),
        }
    }

    #[cfg(feature = "redis-tls")]
    fn certificates(&self) -> Option<redis::TlsCertificates> {
        let root_cert = Some(self.root_certificates.clone()?);
        Some(redis::TlsCertificates { client_tls: None, root_cert })
    }
}

/// Rustls finds the one back end that is built in by itself; it has to be built in.
#[cfg(feature = "redis-tls")]
use rustls as _;

fn unavailable(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unavailable, "redis_unavailable", message.into())
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Connection::Single(connection) => connection.req_packed_command(command),
            Connection::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Connection::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Connection::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Connection::Single(connection) => connection.get_db(),
            Connection::Cluster(connection) => connection.get_db(),
        }
    }
}
