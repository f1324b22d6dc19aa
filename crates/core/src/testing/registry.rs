//! The registry: leases, incarnations, and that what comes late changes nothing.

use super::{Check, RegistryBackend, checks};
use crate::ErrorKind;
use crate::Result;
use crate::registry::{Beat, Connection, Instance, InstanceId, LEASE, Listed, Owner, PageEnd, Removal};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The checks, in reading order.
pub const CHECKS: &[Check<RegistryBackend>] = checks![RegistryBackend:
    what_a_node_tells_is_listed,
    connections_are_as_they_were_put,
    ten_thousand_connections_come_in_pages,
    instances_are_apart,
    what_never_began_is_fenced,
    a_later_incarnation_begins_with_nothing,
    what_an_incarnation_before_says_late_changes_nothing,
    a_lease_that_ends_takes_everything,
    a_heartbeat_keeps_what_is_put_again,
    leaving_takes_everything,
    batches_of_nothing_are_nothing,
];

const PART: Duration = Duration::from_secs(LEASE.as_secs() * 3 / 4);

impl RegistryBackend {
    async fn begin(&self, owner: &Owner) {
        self.beat(owner, Beat::Begin).await.expect("a later incarnation begins");
    }

    async fn beat(&self, owner: &Owner, beat: Beat) -> Result<usize> {
        self.registry.heartbeat(instance(owner), beat).await
    }

    async fn put(&self, owner: &Owner, numbers: impl IntoIterator<Item = usize>) -> Result<()> {
        let connections = numbers.into_iter().map(|n| Arc::new(connection(n))).collect();
        self.registry.put(owner.clone(), connections).await
    }

    async fn remove(&self, owner: &Owner, numbers: impl IntoIterator<Item = usize>) -> Result<()> {
        let clients = numbers.into_iter().map(|n| connection(n).client).collect();
        self.registry.remove(owner.clone(), Removal::Connections(clients)).await
    }

    async fn instances(&self) -> Vec<Listed> {
        self.registry.instances().await.expect("a list").listed
    }

    async fn ids(&self) -> Vec<InstanceId> {
        self.instances().await.into_iter().map(|listed| listed.instance.owner.id).collect()
    }

    /// All connections of an instance, read in pages; those that come twice are the same.
    async fn connections(&self, owner: &Owner, limit: usize) -> BTreeMap<Arc<str>, Connection> {
        let (mut all, mut after, mut pages) = (BTreeMap::new(), None::<PageEnd>, 0);
        loop {
            let page = self.registry.connections(owner.id.clone(), after, limit).await.expect("a page");
            all.extend(page.connections.into_iter().map(|one| (one.client.clone(), one)));
            pages += 1;
            assert!(pages < 100_000, "pages never end");
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    async fn clients(&self, owner: &Owner) -> Vec<Arc<str>> {
        self.connections(owner, 100).await.into_keys().collect()
    }
}

fn owner(name: &str, incarnation: u64) -> Owner {
    Owner { id: InstanceId::new(name).expect("a legal id"), incarnation }
}

fn instance(owner: &Owner) -> Instance {
    Instance {
        owner: owner.clone(),
        version: "1.2.3".into(),
        address: format!("{}:8000", owner.id).into(),
        started_ms: 1_700_000_000_123,
        connections: 7,
    }
}

/// Texts with all that a codec may stumble over.
fn connection(n: usize) -> Connection {
    Connection {
        client: format!("client-{n:05}").into(),
        user: if n.is_multiple_of(3) { "".into() } else { format!("ü\"\\{{}}\n{n}").into() },
        transport: "websocket".into(),
        protocol: "json".into(),
        name: "js".into(),
        version: "5.8.0".into(),
        connected_ms: 1_700_000_000_000 + n as i64,
        remote: n.is_multiple_of(2).then(|| format!("[2001:db8::{n:x}]:443").into()),
    }
}

fn clients(numbers: impl IntoIterator<Item = usize>) -> Vec<Arc<str>> {
    numbers.into_iter().map(|n| connection(n).client).collect()
}

fn is_fenced<T: std::fmt::Debug>(outcome: Result<T>) {
    let error = outcome.expect_err("not the owner that stands there");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Fenced, "registry_fenced"));
}

/// With the whole lease before it, by id.
async fn what_a_node_tells_is_listed(b: RegistryBackend) {
    assert_eq!(b.instances().await, []);
    let owners = [owner("b", 1), owner("A_-9", 5), owner("c", 1)];
    for one in &owners {
        b.begin(one).await;
    }
    let listed = b.instances().await;
    let told: Vec<_> = listed.iter().map(|listed| listed.instance.clone()).collect();
    assert_eq!(told, [instance(&owners[1]), instance(&owners[0]), instance(&owners[2])]);
    assert!(listed.iter().all(|listed| listed.left > PART && listed.left <= LEASE), "{listed:?}");
    let changed = Instance { connections: 8, address: "else:1".into(), ..instance(&owners[0]) };
    b.registry.heartbeat(changed.clone(), Beat::Renew).await.expect("renewed");
    assert_eq!(b.instances().await[1].instance, changed);
}

/// Whatever their texts; put again they are replaced, removed they are gone.
async fn connections_are_as_they_were_put(b: RegistryBackend) {
    let one = owner("one", 1);
    b.begin(&one).await;
    b.put(&one, 0..20).await.expect("put");
    let got = b.connections(&one, 100).await;
    let wanted: BTreeMap<_, _> = (0..20).map(|n| (connection(n).client, connection(n))).collect();
    assert_eq!(got, wanted);
    let other = Connection { user: "somebody".into(), ..connection(4) };
    b.registry.put(one.clone(), vec![Arc::new(other.clone())]).await.expect("put again");
    assert_eq!(b.connections(&one, 100).await[&other.client], other);
    b.remove(&one, (0..10).chain([4, 99])).await.expect("removed, or not there");
    assert_eq!(b.clients(&one).await, clients(10..20));
    assert_eq!(b.beat(&one, Beat::Renew).await, Ok(10), "so many stand there");
}

/// All of them, in pages of about the size that was asked for.
async fn ten_thousand_connections_come_in_pages(b: RegistryBackend) {
    const ALL: usize = 10_000;
    let one = owner("one", 1);
    b.begin(&one).await;
    for from in (0..ALL).step_by(500) {
        b.put(&one, from..from + 500).await.expect("put");
    }
    assert_eq!(b.beat(&one, Beat::Renew).await, Ok(ALL));
    for limit in [100, 1_000_000] {
        let mut largest = 0;
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = b.registry.connections(one.id.clone(), after, limit).await.expect("a page");
            largest = largest.max(page.connections.len());
            seen.extend(page.connections.into_iter().map(|connection| connection.client));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let about = limit.min(crate::registry::PAGE_CONNECTIONS_MAX);
        assert!(largest >= about / 2 && largest <= about * 2, "pages of up to {largest} for {limit}");
        seen.sort();
        seen.dedup();
        assert_eq!(seen, clients(0..ALL));
    }
    assert_eq!(b.connections(&owner("nobody", 1), 100).await.len(), 0);
}

/// One's connections are not another's, with the same ids.
async fn instances_are_apart(b: RegistryBackend) {
    let (one, other) = (owner("one", 1), owner("two", 1));
    b.begin(&one).await;
    b.begin(&other).await;
    b.put(&one, 0..5).await.expect("put");
    b.put(&other, 3..9).await.expect("put");
    b.remove(&one, 0..4).await.expect("removed");
    assert_eq!((b.clients(&one).await, b.clients(&other).await), (clients(4..5), clients(3..9)));
}

/// Nobody writes for an instance that did not begin, and doing so makes nothing.
async fn what_never_began_is_fenced(b: RegistryBackend) {
    let one = owner("one", 1);
    is_fenced(b.put(&one, 0..3).await);
    is_fenced(b.remove(&one, 0..3).await);
    is_fenced(b.beat(&one, Beat::Renew).await);
    is_fenced(b.registry.remove(one.clone(), Removal::Instance).await);
    assert_eq!((b.instances().await, b.clients(&one).await), (vec![], vec![]));
}

/// And only a later one.
async fn a_later_incarnation_begins_with_nothing(b: RegistryBackend) {
    let (first, ninth, tenth) = (owner("one", 1), owner("one", 9), owner("one", 10));
    b.begin(&first).await;
    b.put(&first, 0..300).await.expect("put");
    is_fenced(b.beat(&first, Beat::Begin).await);
    assert_eq!(b.beat(&ninth, Beat::Begin).await, Ok(0));
    assert_eq!(b.clients(&ninth).await, clients([]));
    b.put(&ninth, 2..4).await.expect("put");
    b.begin(&tenth).await;
    is_fenced(b.beat(&ninth, Beat::Begin).await);
    assert_eq!(b.instances().await.len(), 1);
    assert_eq!(b.instances().await[0].instance.owner, tenth);
}

/// Nothing is overwritten, renewed or taken away.
async fn what_an_incarnation_before_says_late_changes_nothing(b: RegistryBackend) {
    let (old, new) = (owner("one", 1), owner("one", 2));
    b.begin(&old).await;
    b.begin(&new).await;
    b.put(&new, 0..3).await.expect("put");
    b.pass(PART).await;
    is_fenced(b.put(&old, 2..9).await);
    is_fenced(b.remove(&old, 0..3).await);
    is_fenced(b.beat(&old, Beat::Renew).await);
    is_fenced(b.registry.remove(old.clone(), Removal::Instance).await);
    assert_eq!(b.clients(&new).await, clients(0..3));
    b.pass(PART).await;
    assert_eq!((b.instances().await, b.clients(&new).await), (vec![], vec![]));
}

/// It is gone by itself; who was away for so long cannot go on, only begin anew.
async fn a_lease_that_ends_takes_everything(b: RegistryBackend) {
    let (one, other) = (owner("one", 1), owner("two", 1));
    b.begin(&one).await;
    b.put(&one, 0..3).await.expect("put");
    b.pass(PART).await;
    b.begin(&other).await;
    assert_eq!(b.ids().await, [one.id.clone(), other.id.clone()]);
    b.pass(PART).await;
    assert_eq!((b.ids().await, b.clients(&one).await), (vec![other.id.clone()], vec![]));
    is_fenced(b.put(&one, 0..3).await);
    is_fenced(b.beat(&one, Beat::Renew).await);
    assert_eq!((b.ids().await, b.clients(&one).await), (vec![other.id.clone()], vec![]));
    let again = owner("one", 2);
    b.begin(&again).await;
    b.put(&again, 1..2).await.expect("put");
    assert_eq!((b.ids().await.len(), b.clients(&again).await), (2, clients(1..2)));
}

/// Each connection has a lease of its own, and so has the instance.
async fn a_heartbeat_keeps_what_is_put_again(b: RegistryBackend) {
    let one = owner("one", 1);
    b.begin(&one).await;
    b.put(&one, 0..6).await.expect("put");
    for _ in 0..3 {
        b.pass(PART).await;
        b.beat(&one, Beat::Renew).await.expect("renewed");
        b.put(&one, 0..3).await.expect("put again");
    }
    assert_eq!(b.clients(&one).await, clients(0..3), "nobody told of the others any more");
    assert_eq!(b.beat(&one, Beat::Renew).await, Ok(6), "and yet they were never removed");
}

/// At once, and nothing else.
async fn leaving_takes_everything(b: RegistryBackend) {
    let (one, other) = (owner("one", 1), owner("two", 1));
    for one in [&one, &other] {
        b.begin(one).await;
        b.put(one, 0..3).await.expect("put");
    }
    b.registry.remove(one.clone(), Removal::Instance).await.expect("left");
    assert_eq!((b.ids().await, b.clients(&one).await), (vec![other.id.clone()], vec![]));
    is_fenced(b.put(&one, 0..3).await);
    assert_eq!(b.clients(&other).await, clients(0..3));
    b.begin(&owner("one", 2)).await;
}

/// They are as good as any, and fenced like any.
async fn batches_of_nothing_are_nothing(b: RegistryBackend) {
    let one = owner("one", 1);
    is_fenced(b.put(&one, []).await);
    b.begin(&one).await;
    b.put(&one, []).await.expect("nothing put");
    b.remove(&one, []).await.expect("nothing removed");
    assert_eq!(b.clients(&one).await, clients([]));
}
