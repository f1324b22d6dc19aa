//! How instances and connections are written: compact JSON that a person can read with `redis-cli HGETALL`. What is
//! unknown in it is passed over, so that nodes of several versions understand each other.

use dualstream_core::registry::{Connection, Instance, InstanceId, Owner};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// Before the client's id in a field's name.
const FIELD: &[u8] = b"ws:conn:";

#[derive(Serialize, Deserialize)]
struct WireInstance<'a> {
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    address: Cow<'a, str>,
    started_ms: i64,
    connections: u64,
}

/// A connection; the script writes `expires_ms` before it.
#[derive(Serialize, Deserialize)]
struct WireConnection<'a> {
    #[serde(default, skip_serializing)]
    expires_ms: i64,
    #[serde(borrow)]
    user: Cow<'a, str>,
    #[serde(borrow)]
    transport: Cow<'a, str>,
    #[serde(borrow)]
    protocol: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "is_empty")]
    name: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "is_empty")]
    version: Cow<'a, str>,
    connected_ms: i64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    remote: Option<Cow<'a, str>>,
}

fn is_empty(text: &str) -> bool {
    text.is_empty()
}

/// What an instance tells of itself.
pub(super) fn instance(instance: &Instance) -> String {
    print(&WireInstance {
        version: (&*instance.version).into(),
        address: (&*instance.address).into(),
        started_ms: instance.started_ms,
        connections: instance.connections,
    })
}

/// `None` when another wrote it.
pub(super) fn read_instance(id: InstanceId, incarnation: &[u8], bytes: &[u8]) -> Option<Instance> {
    let incarnation = std::str::from_utf8(incarnation).ok()?.parse().ok()?;
    let owner = Owner { id, incarnation };
    let WireInstance { version, address, started_ms, connections } = serde_json::from_slice(bytes).ok()?;
    Some(Instance { owner, version: version.into(), address: address.into(), started_ms, connections })
}

/// A connection, without the brace it begins with.
pub(super) fn connection(connection: &Connection) -> String {
    let mut json = print(&WireConnection {
        expires_ms: 0,
        user: (&*connection.user).into(),
        transport: (&*connection.transport).into(),
        protocol: (&*connection.protocol).into(),
        name: (&*connection.name).into(),
        version: (&*connection.version).into(),
        connected_ms: connection.connected_ms,
        remote: connection.remote.as_deref().map(Cow::from),
    });
    json.remove(0);
    json
}

/// `None` when its lease ended, or the field is no connection.
pub(super) fn read_connection(field: &[u8], value: &[u8], now_ms: i64) -> Option<Connection> {
    let client = std::str::from_utf8(field.strip_prefix(FIELD)?).ok()?;
    let wire: WireConnection<'_> = serde_json::from_slice(value).ok()?;
    (wire.expires_ms > now_ms).then(|| Connection {
        client: client.into(),
        user: wire.user.into(),
        transport: wire.transport.into(),
        protocol: wire.protocol.into(),
        name: wire.name.into(),
        version: wire.version.into(),
        connected_ms: wire.connected_ms,
        remote: wire.remote.map(Arc::from),
    })
}

fn print(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers are always JSON")
}
