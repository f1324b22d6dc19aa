//! Redis for tests: a server or a cluster, and its keys made older.

use dualstream_backends::redis::{Address, Commands};
use dualstream_services::Redis;
use dualstream_services::redis::{Cluster, Sentinel, Setup};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use tempfile::TempDir;

/// What a busy machine answers within. Where Redis is away, it is waited for so long.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// Lets everything under a prefix grow older by so many ms, as if time had passed: leases of keys, of entries of sorted
/// sets, and of connections.
const AGE: &str = "
for _, key in ipairs(redis.call('KEYS', '*')) do
  if string.sub(key, 1, #ARGV[1]) == ARGV[1] then
    local left = redis.call('PTTL', key) - ARGV[2]
    local kind = redis.call('TYPE', key).ok
    if kind == 'zset' then
      for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
        redis.call('ZINCRBY', key, -ARGV[2], member)
      end
    elseif kind == 'hash' then
      local flat = redis.call('HGETALL', key)
      for i = 1, #flat, 2 do
        local head, ms, rest = string.match(flat[i + 1], '^({\"expires_ms\":)(%d+)(,.*)$')
        if ms then
          redis.call('HSET', key, flat[i], head .. string.format('%.0f', ms - ARGV[2]) .. rest)
        end
      end
    end
    if left <= 0 then redis.call('DEL', key) else redis.call('PEXPIRE', key, left) end
  end
end
return 0";

/// Redis, with its directory.
pub struct Server {
    pub address: Address,
    masters: Vec<Redis>,
    cluster: Option<Cluster>,
    sentinel: Option<Sentinel>,
    _dir: TempDir,
}

impl Server {
    /// One server.
    pub fn start() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let redis = Redis::start(dir.path(), false).unwrap();
        let address = Address::parse(&format!("redis://{}", redis.address)).unwrap();
        Server { address, masters: vec![redis], cluster: None, sentinel: None, _dir: dir }
    }

    /// A cluster.
    pub fn start_cluster() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Setup::new().start_cluster(dir.path(), false).unwrap();
        let masters = std::mem::take(&mut cluster.servers);
        let hosts: Vec<_> = masters.iter().map(|server| server.address.to_string()).collect();
        let address = Address::parse(&format!("redis+cluster://{}", hosts.join(","))).unwrap();
        Server { address, masters, cluster: Some(cluster), sentinel: None, _dir: dir }
    }

    /// A master with its replicas and a Sentinel.
    pub fn start_sentinel() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let sentinel = Setup::new().start_sentinel(dir.path(), 1).unwrap();
        let hosts: Vec<_> = sentinel.addresses().iter().map(ToString::to_string).collect();
        let url = format!("redis+sentinel://{}/{}", hosts.join(","), Sentinel::MASTER);
        let address = Address::parse(&url).unwrap();
        Server { address, masters: Vec::new(), cluster: None, sentinel: Some(sentinel), _dir: dir }
    }

    /// The Sentinel and its servers.
    pub fn sentinel(&mut self) -> &mut Sentinel {
        self.sentinel.as_mut().unwrap()
    }

    /// Commands under a prefix of their own.
    pub fn commands(&self) -> Arc<Commands> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        self.commands_under(&format!("check-{}:", NEXT.fetch_add(1, Relaxed)))
    }

    /// Commands under a prefix.
    pub fn commands_under(&self, prefix: &str) -> Arc<Commands> {
        Arc::new(Commands::new(self.address.clone(), prefix, DEADLINE))
    }

    /// The server, where it is one.
    pub fn redis(&mut self) -> &mut Redis {
        &mut self.masters[0]
    }

    /// Lets a user with the password `password` do what the lines of the guide allow in which these words stand.
    pub fn allow(&self, user: &str, words: &[&str]) {
        let mut rights = vec!["ACL", "SETUSER", user, "reset", "on", ">password"];
        words.iter().for_each(|word| rights.extend(rights_of_the_guide(word)));
        self.masters.iter().for_each(|master| drop(master.command(&rights).unwrap()));
    }

    /// The address, for that user.
    pub fn address_as(&self, user: &str) -> Address {
        let scheme = if self.cluster.is_some() { "redis+cluster" } else { "redis" };
        let hosts: Vec<_> = self.masters.iter().map(|server| server.address.to_string()).collect();
        Address::parse(&format!("{scheme}://{user}:password@{}", hosts.join(","))).unwrap()
    }

    /// Which server has keys whose names contain this.
    pub fn holder(&self, part: &str) -> usize {
        let has = |master: &Redis| {
            let keys = master.command(&["KEYS", &format!("*{part}*")]).unwrap();
            !keys.array().unwrap().is_empty()
        };
        self.masters.iter().position(has).unwrap()
    }

    /// Ends one of the servers.
    pub fn kill(&mut self, index: usize) {
        self.masters[index].process.kill().unwrap();
    }

    /// Lets all leases under a prefix grow older.
    pub fn age(&self, prefix: &str, time: Duration) {
        let ms = time.as_millis().to_string();
        for master in &self.masters {
            master.command(&["EVAL", AGE, "0", prefix, &ms]).unwrap();
        }
    }

    /// The names of all keys under a prefix, in order.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let pattern = format!("{prefix}*");
        let answers = self.masters.iter().map(|master| master.command(&["KEYS", &pattern]).unwrap());
        let mut keys: Vec<String> = answers
            .flat_map(|answer| {
                answer.array().unwrap().iter().map(|key| key.text().unwrap().to_owned()).collect::<Vec<_>>()
            })
            .collect();
        keys.sort();
        keys
    }
}

/// What `docs/guide/redis.md` allows in the line in which a word stands.
pub fn rights_of_the_guide(word: &str) -> Vec<&'static str> {
    let guide = include_str!("../../../../docs/guide/redis.md");
    let mut lines = guide.lines().filter(|line| line.starts_with("ACL SETUSER ") && line.contains(word));
    lines.next().unwrap().split(' ').skip(3).collect()
}
