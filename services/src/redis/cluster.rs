//! A cluster: masters that share the slots, each with a replica or none.

use super::setup::{Addresses, Setup};
use super::{Redis, Value, until};
use crate::ports;
use anyhow::{Context, Result, bail, ensure};
use std::ops::RangeInclusive;
use std::path::Path;

const MASTERS: usize = 3;
/// The number of slots never changes: <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>.
const SLOTS: usize = 16_384;
/// A master that is silent for so long is gone.
const DOWN_AFTER_MS: u32 = 2_000;

/// The servers of a cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Three masters, then, if there are any, the replica of each, as it was at the start.
    pub servers: Vec<Redis>,
}

impl Cluster {
    pub(super) fn try_start(setup: &Setup, dir: &Path, has_replicas: bool) -> Result<Cluster> {
        let count = if has_replicas { 2 * MASTERS } else { MASTERS };
        let mut buses = ports::free(count)?.into_iter().map(|address| address.port());
        let (mut servers, mut doors) = (Vec::new(), Vec::new());
        let tls = setup.secured(dir)?;
        for number in 1..=count {
            let bus = buses.next().context("there is a port for each")?;
            doors.push(bus);
            let more = |own: &Addresses| {
                let announced = own.announced.port();
                let announced = match tls.is_some() {
                    // Each client is told of the ports that it can use.
                    true => format!(
                        "tls-cluster yes\ncluster-announce-tls-port {announced}\ncluster-announce-port {}",
                        own.inner.port()
                    ),
                    false => format!("cluster-announce-port {announced}"),
                };
                format!(
                    "cluster-enabled yes\ncluster-port {bus}\ncluster-announce-ip 127.0.0.1\n{announced}\n\
                     cluster-announce-bus-port {bus}\n\
                     cluster-node-timeout {DOWN_AFTER_MS}\ncluster-require-full-coverage no\n"
                )
            };
            servers.push(setup.server(dir, &format!("redis-{number}"), tls.as_ref(), more)?);
        }
        servers.iter_mut().try_for_each(Redis::until_ready)?;
        let cluster = Cluster { servers };
        cluster.join(&doors)?;
        Ok(cluster)
    }

    /// Makes a cluster of servers that know nothing of each other, as `redis-cli --cluster create` does; that knows
    /// nothing of announced ports.
    fn join(&self, doors: &[u16]) -> Result<()> {
        for (index, server) in self.servers.iter().enumerate() {
            server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])?;
            if index < MASTERS {
                let (first, end) = (SLOTS * index / MASTERS, SLOTS * (index + 1) / MASTERS);
                let (first, last) = (first.to_string(), (end - 1).to_string());
                server.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
            }
            let (port, bus) = (server.inner.port().to_string(), doors[index].to_string());
            if index > 0 {
                self.servers[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus])?;
            }
        }
        until("the servers of the cluster know each other", || {
            Ok(self.known()?.iter().all(|known| *known == self.servers.len()))
        })?;
        for (index, replica) in self.servers.iter().enumerate().skip(MASTERS) {
            replica.command(&["CLUSTER", "REPLICATE", &self.id(index - MASTERS)?])?;
        }
        self.until_whole()
    }

    /// How many servers each knows.
    fn known(&self) -> Result<Vec<usize>> {
        let known = |server: &Redis| Ok(server.command(&["CLUSTER", "NODES"])?.text()?.lines().count());
        self.servers.iter().map(known).collect()
    }

    /// Waits until every server that runs serves, knows a running owner of every slot, and replicas follow.
    pub fn until_whole(&self) -> Result<()> {
        until("all servers of the cluster agree", || {
            for server in self.running() {
                let said = server.command(&["CLUSTER", "INFO"])?;
                // One that is new waits a while before it serves, though it knows all of them.
                let said = said.text()?;
                let is_covered =
                    said.contains("cluster_state:ok") && said.contains(&format!("cluster_slots_ok:{SLOTS}"));
                let owners = self.owners(server)?;
                let are_there = owners.iter().all(|owner| self.servers[owner.1].process.id().is_some());
                if !is_covered || !are_there {
                    return Ok(false);
                }
                if server.info("role")? == "slave" && server.info("master_link_status")? != "up" {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// The slot of a key or a channel.
    pub fn slot(&self, key: &str) -> Result<u16> {
        let first = self.running().next().context("no server runs")?;
        Ok(u16::try_from(first.command(&["CLUSTER", "KEYSLOT", key])?.integer()?)?)
    }

    /// Which server is the master of a slot.
    pub fn owner(&self, slot: u16) -> Result<usize> {
        self.owner_by(self.running().next().context("no server runs")?, slot)
    }

    /// The same by the word of one server.
    fn owner_by(&self, asked: &Redis, slot: u16) -> Result<usize> {
        let owners = self.owners(asked)?;
        let owner = owners.iter().find(|(slots, _)| slots.contains(&i64::from(slot)));
        Ok(owner.with_context(|| format!("slot {slot} has no owner"))?.1)
    }

    /// Ranges of slots and who owns them, by the word of one server.
    fn owners(&self, asked: &Redis) -> Result<Vec<(RangeInclusive<i64>, usize)>> {
        let answer = asked.command(&["CLUSTER", "SLOTS"])?;
        let owner = |range: &Value| {
            let [first, last, master, ..] = range.array()? else { bail!("{range:?} is no range of slots") };
            let port = master.array()?.get(1).context("a master has a port")?.integer()?;
            let told = |server: &Redis| if server.has_tls() { server.inner } else { server.endpoint() };
            let owner = self.servers.iter().position(|server| i64::from(told(server).port()) == port);
            Ok((first.integer()?..=last.integer()?, owner.context("the owner is one of us")?))
        };
        answer.array()?.iter().map(owner).collect()
    }

    /// Moves a slot with its keys to another master, as `redis-cli --cluster reshard` does.
    pub fn move_slot(&self, slot: u16, to: usize) -> Result<()> {
        const BATCH: &str = "100";
        let from = self.owner(slot)?;
        ensure!(from != to, "slot {slot} is there already");
        let (from_id, to_id, number) = (self.id(from)?, self.id(to)?, slot.to_string());
        let (from, to) = (&self.servers[from], &self.servers[to]);
        to.command(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &from_id])?;
        from.command(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &to_id])?;
        loop {
            let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &number, BATCH])?;
            let keys = keys.array()?.iter().map(Value::text).collect::<Result<Vec<_>>>()?;
            if keys.is_empty() {
                break;
            }
            // Servers with TLS speak it among themselves.
            let (host, port) = (to.address.ip().to_string(), to.address.port().to_string());
            let mut migrate = vec!["MIGRATE", &host, &port, "", "0", "5000"];
            if let Some(user) = &to.user {
                migrate.extend(["AUTH2", &user.name, &user.password]);
            }
            migrate.push("KEYS");
            migrate.extend(keys);
            from.command(&migrate)?;
        }
        let node = ["CLUSTER", "SETSLOT", &number, "NODE", &to_id];
        to.command(&node)?;
        from.command(&node)?;
        let owner = self.servers.iter().position(|server| server.inner == to.inner);
        until("the move of the slot is known", || {
            let owners = self.running().map(|server| self.owner_by(server, slot));
            Ok(owners.collect::<Result<Vec<_>>>()?.iter().all(|known| Some(*known) == owner))
        })
    }

    fn id(&self, server: usize) -> Result<String> {
        Ok(self.servers[server].command(&["CLUSTER", "MYID"])?.text()?.to_owned())
    }

    fn running(&self) -> impl Iterator<Item = &Redis> {
        self.servers.iter().filter(|server| server.process.id().is_some())
    }
}
