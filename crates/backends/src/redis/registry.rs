//! The registry in Redis.
//!
//! ```text
//! {prefix}ws:instances        sorted set   id → when its lease ends, ms: what is listed
//! {prefix}ws:instance:<id>    hash         incarnation           7
//!   expires with the lease                 instance              {"version":…,"address":…,"started_ms":…,"connections":…}
//!                                          ws:conn:<client id>   {"expires_ms":…,"user":…,"transport":…, …}
//! ```
//! One script per operation, on one key: in a Cluster every instance may stand on another node. The sorted set is only
//! an index: what it names and the hash does not hold is not listed. All times are Redis' own.

mod codec;

use super::commands::{Commands, script};
use dualstream_core::Result;
use dualstream_core::registry::{
    Beat, Connection, INSTANCES_MAX, Instance, InstanceId, Instances, LEASE, Listed, Owner,
    PAGE_CONNECTIONS_MAX, Page, PageEnd, Registry, Removal, fenced, page_invalid,
};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use redis::Cmd;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Instances that are asked for at once.
const ASKED_AT_ONCE: usize = 64;
/// How long asking takes altogether: of the masters of a Cluster some may say nothing.
const ASKED_MAX: Duration = Duration::from_secs(5);
/// What a script answers an owner that does not stand there.
const FENCED: i64 = -1;

/// In place of all that stood there, unless it is as late: 0.
const BEGIN: &str = "\
local held = redis.call('HGET', KEYS[1], 'incarnation')
if held and tonumber(held) >= tonumber(ARGV[1]) then return -1 end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], 'incarnation', ARGV[1], 'instance', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 0";

/// The lease anew: how many connections stand there.
const RENEW: &str = "\
if redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[1] then return -1 end
redis.call('HSET', KEYS[1], 'instance', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return redis.call('HLEN', KEYS[1]) - 2";

/// Client ids, each with the rest of its JSON.
const PUT: &str = "\
if redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[1] then return -1 end
local now = redis.call('TIME')
local until_ms = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2]
local head = string.format('{\"expires_ms\":%.0f,', until_ms)
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], 'ws:conn:' .. ARGV[i], head .. ARGV[i + 1])
end
return 0";

/// Client ids.
const REMOVE: &str = "\
if redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[1] then return -1 end
for i = 2, #ARGV do
  redis.call('HDEL', KEYS[1], 'ws:conn:' .. ARGV[i])
end
return 0";

/// The whole instance.
const LEAVE: &str = "\
if redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[1] then return -1 end
redis.call('UNLINK', KEYS[1])
return 0";

/// What the instance tells, its incarnation, and how much of its lease is left.
const SHOW: &str = "\
local told = redis.call('HMGET', KEYS[1], 'incarnation', 'instance')
return {told[1], told[2], redis.call('PTTL', KEYS[1])}";

/// A page of the hash, and the time.
const PAGE: &str = "\
local now = redis.call('TIME')
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
return {string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)), page[1], page[2]}";

/// Notes an instance in the index, which expires with its last.
const NOTE: &str = "\
local now = redis.call('TIME')
redis.call('ZADD', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 0";

/// Takes one out of the index.
const DROP: &str = "return redis.call('ZREM', KEYS[1], ARGV[1])";

/// The index, without those whose lease ended.
const LIST: &str = "\
local now = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now[1] * 1000 + math.floor(now[2] / 1000))
return redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)";

/// Name and value.
type Field = (Vec<u8>, Vec<u8>);

/// A [`Registry`] in Redis.
#[derive(Debug)]
pub struct RedisRegistry {
    commands: Arc<Commands>,
}

impl RedisRegistry {
    /// A registry under the prefix of these commands.
    pub fn new(commands: Arc<Commands>) -> RedisRegistry {
        RedisRegistry { commands }
    }

    fn on_instance(&self, text: &str, id: &InstanceId) -> Cmd {
        script(text, &[&self.commands.key(&format!("ws:instance:{id}"))])
    }

    fn on_index(&self, text: &str) -> Cmd {
        script(text, &[&self.commands.key("ws:instances")])
    }

    fn by(&self, text: &str, owner: &Owner) -> Cmd {
        let mut call = self.on_instance(text, &owner.id);
        call.arg(owner.incarnation);
        call
    }

    /// Runs a script of an owner: what it counted.
    async fn owned(&self, call: Cmd) -> Result<usize> {
        match self.commands.run(call).await? {
            FENCED => Err(fenced()),
            count => Ok(usize::try_from(count).unwrap_or(0)),
        }
    }

    async fn beat(&self, instance: &Instance, beat: Beat) -> Result<usize> {
        let text = match beat {
            Beat::Begin => BEGIN,
            Beat::Renew => RENEW,
        };
        let mut call = self.by(text, &instance.owner);
        call.arg(codec::instance(instance)).arg(lease_ms());
        let count = self.owned(call).await?;
        let mut note = self.on_index(NOTE);
        note.arg(instance.owner.id.as_str()).arg(lease_ms());
        let _: i64 = self.commands.run(note).await?;
        Ok(count)
    }

    async fn leave(&self, owner: &Owner) -> Result<()> {
        self.owned(self.by(LEAVE, owner)).await?;
        let mut drop = self.on_index(DROP);
        drop.arg(owner.id.as_str());
        let _: i64 = self.commands.run(drop).await?;
        Ok(())
    }

    async fn listed(&self) -> Result<Instances> {
        let mut list = self.on_index(LIST);
        list.arg(INSTANCES_MAX);
        let ids: Vec<String> = self.commands.run(list).await?;
        // Others may write there too.
        let ids: Vec<_> = ids.iter().filter_map(|id| InstanceId::new(id).ok()).collect();
        let until = Instant::now() + ASKED_MAX;
        let shown = futures::stream::iter(ids).map(|id| self.shown(id, until)).buffered(ASKED_AT_ONCE);
        let shown: Vec<Result<Option<Listed>>> = shown.collect().await;
        let mut instances = readable(shown)?;
        instances.listed.sort_by(|a, b| a.instance.owner.id.cmp(&b.instance.owner.id));
        Ok(instances)
    }

    async fn shown(&self, id: InstanceId, until: Instant) -> Result<Option<Listed>> {
        let call = self.on_instance(SHOW, &id);
        let asked = timeout_at(until, self.commands.run(call)).await;
        let (incarnation, told, left_ms): (Option<Vec<u8>>, Option<Vec<u8>>, i64) =
            asked.map_err(|_| self.commands.too_late())??;
        let (Some(incarnation), Some(told), Ok(left_ms)) = (incarnation, told, u64::try_from(left_ms)) else {
            return Ok(None);
        };
        let instance = codec::read_instance(id, &incarnation, &told);
        Ok(instance.map(|instance| Listed { instance, left: Duration::from_millis(left_ms) }))
    }

    async fn page(&self, id: &InstanceId, after: Option<PageEnd>, limit: usize) -> Result<Page> {
        let cursor = after.map_or(Ok(0), |end| end.0.parse::<u64>().map_err(|_| page_invalid()))?;
        let mut call = self.on_instance(PAGE, id);
        call.arg(cursor).arg(limit.clamp(1, PAGE_CONNECTIONS_MAX));
        let (now_ms, next, fields): (i64, u64, Vec<Field>) = self.commands.run(call).await?;
        let connections =
            fields.iter().filter_map(|(name, value)| codec::read_connection(name, value, now_ms));
        let next = (next != 0).then(|| PageEnd(next.to_string().into()));
        Ok(Page { connections: connections.collect(), next })
    }
}

fn lease_ms() -> u64 {
    LEASE.as_secs() * 1000
}

impl Registry for RedisRegistry {
    fn heartbeat(&self, instance: Instance, beat: Beat) -> BoxFuture<'_, Result<usize>> {
        async move { self.beat(&instance, beat).await }.boxed()
    }

    fn put(&self, owner: Owner, connections: Vec<Arc<Connection>>) -> BoxFuture<'_, Result<()>> {
        async move {
            let mut call = self.by(PUT, &owner);
            call.arg(lease_ms());
            for connection in &connections {
                call.arg(&*connection.client).arg(codec::connection(connection));
            }
            self.owned(call).await.map(drop)
        }
        .boxed()
    }

    fn remove(&self, owner: Owner, removal: Removal) -> BoxFuture<'_, Result<()>> {
        async move {
            let Removal::Connections(clients) = removal else { return self.leave(&owner).await };
            let mut call = self.by(REMOVE, &owner);
            for client in &clients {
                call.arg(&**client);
            }
            self.owned(call).await.map(drop)
        }
        .boxed()
    }

    fn instances(&self) -> BoxFuture<'_, Result<Instances>> {
        self.listed().boxed()
    }

    fn connections(
        &self,
        instance: InstanceId,
        after: Option<PageEnd>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page>> {
        async move { self.page(&instance, after, limit).await }.boxed()
    }
}

/// What could be read; why not, where that is nothing.
fn readable(shown: Vec<Result<Option<Listed>>>) -> Result<Instances> {
    let (read, errors): (Vec<_>, Vec<_>) = shown.into_iter().partition(Result::is_ok);
    let unread = errors.len() as u64;
    if let Some(Err(error)) = errors.into_iter().next() {
        if read.is_empty() {
            return Err(error);
        }
        tracing::debug!(code = error.code(), "a list lacks nodes: {error}");
    }
    Ok(Instances { listed: read.into_iter().flatten().flatten().collect(), unread })
}
