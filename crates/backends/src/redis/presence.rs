//! Who is in a channel, over all nodes.
//!
//! ```text
//! {prefix}ws:presence:{channel=<channel>}:clients   hash         client id → <bytes of user>:<user><info>
//! {prefix}ws:presence:{channel=<channel>}:until     sorted set   client id → when its lease ends, ms
//! ```
//! Each operation is one script over both keys, which share a slot by the braces. Whoever is not added again within its
//! lease is gone; both keys expire when the last lease has ended. An operation looks at what expired first, so it never
//! shows or counts it. Like everything in Redis it is a hint: after Redis was away or emptied, the next refresh of each
//! client brings it back.

use super::commands::{Commands, script};
use bytes::Bytes;
use dualstream_core::channel::Channel;
use dualstream_core::{Error, ErrorKind, Result};
use redis::Cmd;
use std::sync::Arc;
use std::time::Duration;

/// Most clients of a channel that are listed, or whose users are counted.
pub const PRESENT_MAX: usize = 10_000;

/// Drops what expired: a few for whoever writes, all for whoever reads.
const BEGIN: &str = "\
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local function drop(count)
  local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, count)
  if #gone > 0 then
    redis.call('ZREM', KEYS[2], unpack(gone))
    redis.call('HDEL', KEYS[1], unpack(gone))
  end
  return #gone
end
";

/// Client, lease, value: whether it was not there.
const ADD: &str = "
local before = redis.call('ZSCORE', KEYS[2], ARGV[2])
local is_new = (not before or tonumber(before) <= now) and 1 or 0
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[2])
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
drop(100)
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < tonumber(ARGV[3]) then redis.call('PEXPIRE', key, ARGV[3]) end
end
return is_new";

/// Client: whether it was there.
const REMOVE: &str = "
local before = redis.call('ZSCORE', KEYS[2], ARGV[2])
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('HDEL', KEYS[1], ARGV[2])
drop(100)
return (before and tonumber(before) > now) and 1 or 0";

/// How many; all of them, unless they are too many.
const LIST: &str = "
while drop(1000) > 0 do end
local count = redis.call('ZCARD', KEYS[2])
if count > tonumber(ARGV[2]) then return {count, {}} end
local flat, all = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #flat, 2 do all[#all + 1] = {flat[i], flat[i + 1]} end
return {count, all}";

/// How many clients; how many users, unless they are too many to count.
const STATS: &str = "
while drop(1000) > 0 do end
local clients = redis.call('ZCARD', KEYS[2])
if clients > tonumber(ARGV[2]) then return {clients, -1} end
local seen, users = {}, 0
for _, value in ipairs(redis.call('HVALS', KEYS[1])) do
  local colon = string.find(value, ':', 1, true)
  local bytes = colon and tonumber(string.sub(value, 1, colon - 1)) or 0
  local user = string.sub(value, (colon or 0) + 1, (colon or 0) + bytes)
  if not seen[user] then
    seen[user] = true
    users = users + 1
  end
end
return {clients, users}";

/// Presence in Redis.
#[derive(Debug)]
pub struct Presence {
    commands: Arc<Commands>,
}

/// A client that is in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Its id.
    pub client: String,
    /// Who it is; empty when anonymous.
    pub user: String,
    /// What is told of it, as it was added.
    pub info: Bytes,
}

/// How many are in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Clients.
    pub clients: u64,
    /// Users; `None` with more than [`PRESENT_MAX`] clients.
    pub users: Option<u64>,
}

/// What time leases go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Redis' own: one for all nodes.
    Server,
    /// This, in ms: a test's.
    At(i64),
}

impl Presence {
    /// Presence under the prefix of these commands.
    pub fn new(commands: Arc<Commands>) -> Presence {
        Presence { commands }
    }

    /// A client is in a channel for a lease from now on; added again, its lease begins anew and what is told of it is
    /// replaced. Whether it was not there before.
    ///
    /// # Errors
    /// `redis_unavailable`, `redis_denied`.
    pub async fn add(
        &self,
        channel: &Channel,
        present: &Present,
        lease: Duration,
        time: Time,
    ) -> Result<bool> {
        let mut value = format!("{}:{}", present.user.len(), present.user).into_bytes();
        value.extend_from_slice(&present.info);
        let mut call = self.call(ADD, channel, time);
        call.arg(&present.client).arg(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX)).arg(value);
        self.commands.run(call).await
    }

    /// A client is not in a channel any more. Whether it was there.
    ///
    /// # Errors
    /// `redis_unavailable`, `redis_denied`.
    pub async fn remove(&self, channel: &Channel, client: &str, time: Time) -> Result<bool> {
        let mut call = self.call(REMOVE, channel, time);
        call.arg(client);
        self.commands.run(call).await
    }

    /// Who is in a channel, in no order.
    ///
    /// # Errors
    /// `presence_too_large` with more than [`PRESENT_MAX`]; `redis_unavailable`, `redis_denied`.
    pub async fn list(&self, channel: &Channel, time: Time) -> Result<Vec<Present>> {
        let mut call = self.call(LIST, channel, time);
        call.arg(PRESENT_MAX);
        let (count, pairs): (usize, Vec<(String, Vec<u8>)>) = self.commands.run(call).await?;
        if count > PRESENT_MAX {
            let message = format!("{count} clients are in the channel: they are counted, not listed");
            let error = Error::new(ErrorKind::TooLarge, "presence_too_large", message);
            return Err(error.with_field("channel").with_limit(PRESENT_MAX as u64));
        }
        Ok(pairs.into_iter().filter_map(|(client, value)| read(client, value.into())).collect())
    }

    /// How many are in a channel. The work of Redis grows with them.
    ///
    /// # Errors
    /// `redis_unavailable`, `redis_denied`.
    pub async fn stats(&self, channel: &Channel, time: Time) -> Result<Stats> {
        let mut call = self.call(STATS, channel, time);
        call.arg(PRESENT_MAX);
        let (clients, users): (u64, i64) = self.commands.run(call).await?;
        Ok(Stats { clients, users: u64::try_from(users).ok() })
    }

    fn call(&self, text: &str, channel: &Channel, time: Time) -> Cmd {
        let key = |part: &str| self.commands.key(&format!("ws:presence:{{channel={channel}}}:{part}"));
        let mut call = script(&[BEGIN, text].concat(), &[&key("clients"), &key("until")]);
        match time {
            Time::Server => call.arg(""),
            Time::At(now_ms) => call.arg(now_ms),
        };
        call
    }
}

/// `None` when another wrote it.
fn read(client: String, value: Bytes) -> Option<Present> {
    let colon = value.iter().position(|byte| *byte == b':')?;
    let bytes: usize = std::str::from_utf8(&value[..colon]).ok()?.parse().ok()?;
    let end = colon.checked_add(1)?.checked_add(bytes).filter(|end| *end <= value.len())?;
    let user = std::str::from_utf8(&value[colon + 1..end]).ok()?.to_owned();
    Some(Present { client, user, info: value.slice(end..) })
}
