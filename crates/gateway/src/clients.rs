//! Who is connected to this node, so that each can be listed, and ended by its id.
//!
//! ```text
//! session, event stream ── join ──▶ Clients ── put, remove ──▶ Membership (the registry, where there is one)
//!            ▲                         ▲
//!            └────────── Seat ◀── end ─┴── DELETE /v1/connections/{id}, orders that were decided
//! ```
//! Nothing in it waits for anybody.

use dualstream_core::decisions::Disconnect as Order;
use dualstream_core::registry::{Connection, Membership};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use uuid::Uuid;

/// The connections of this node.
pub(crate) struct Clients {
    by_id: Mutex<BTreeMap<Uuid, Client>>,
    membership: Option<Membership>,
}

struct Client {
    connection: Connection,
    /// Taken by the first order.
    end: Option<oneshot::Sender<Order>>,
}

/// The place of one connection: it is in the list as long as this is kept.
pub(crate) struct Seat {
    clients: Arc<Clients>,
    id: Uuid,
    ended: oneshot::Receiver<Order>,
}

impl Clients {
    pub fn new(membership: Option<Membership>) -> Arc<Clients> {
        Arc::new(Clients { by_id: Mutex::default(), membership })
    }

    /// Adds a connection under its id, which nobody else has.
    pub fn join(self: &Arc<Self>, id: Uuid, connection: Connection) -> Seat {
        let (end, ended) = oneshot::channel();
        if let Some(membership) = &self.membership {
            membership.put(connection.clone());
        }
        self.lock().insert(id, Client { connection, end: Some(end) });
        Seat { clients: self.clone(), id, ended }
    }

    /// Ends the connection that an order names; false when it is not here. The first order counts.
    pub fn end(&self, order: Order) -> bool {
        let mut by_id = self.lock();
        let Some(client) = by_id.get_mut(&Uuid::from_u128(order.connection())) else { return false };
        if let Some(end) = client.end.take() {
            // It may be ending by itself.
            let _ = end.send(order);
        }
        true
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// So many in the order of their ids, behind one of them or from the first; and the last one's id when more follow.
    pub fn page(&self, after: Option<Uuid>, limit: usize) -> (Vec<Connection>, Option<Uuid>) {
        let by_id = self.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = by_id.range((from, Bound::Unbounded)).peekable();
        let page: Vec<_> = rest.by_ref().take(limit).collect();
        let next = rest.peek().and(page.last()).map(|(id, _)| **id);
        (page.into_iter().map(|(_, client)| client.connection.clone()).collect(), next)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, Client>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Resolves when the connection is to end. Cancel-safe; not to be called again after it resolved.
    pub async fn ended(&mut self) -> Order {
        match (&mut self.ended).await {
            Ok(order) => order,
            // The sender stands in the list as long as this does.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let left = self.clients.lock().remove(&self.id);
        if let (Some(membership), Some(left)) = (&self.clients.membership, left) {
            membership.remove(&left.connection.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn join(clients: &Arc<Clients>, id: u128) -> Seat {
        let id = Uuid::from_u128(id);
        let empty: Arc<str> = "".into();
        let connection = Connection {
            client: id.to_string().into(),
            user: empty.clone(),
            transport: "websocket".into(),
            protocol: "json".into(),
            name: empty.clone(),
            version: empty,
            connected_ms: 7,
            remote: None,
        };
        clients.join(id, connection)
    }

    fn ids(clients: &Clients, after: Option<u128>, limit: usize) -> (Vec<u128>, Option<u128>) {
        let (page, next) = clients.page(after.map(Uuid::from_u128), limit);
        let id = |connection: &Connection| connection.client.parse::<Uuid>().unwrap().as_u128();
        (page.iter().map(id).collect(), next.map(|id| id.as_u128()))
    }

    #[test]
    fn pages_in_order() {
        let clients = Clients::new(None);
        assert_eq!(ids(&clients, None, 3), (vec![], None));
        let mut seats: Vec<Seat> = [5, 3, 9, 1].map(|id| join(&clients, id)).into();
        assert_eq!(ids(&clients, None, 3), (vec![1, 3, 5], Some(5)));
        assert_eq!(ids(&clients, Some(5), 3), (vec![9], None));
        assert_eq!(ids(&clients, None, 4), (vec![1, 3, 5, 9], None));
        drop(seats.remove(0));
        assert_eq!((ids(&clients, Some(4), 9), clients.count()), ((vec![9], None), 3));
    }

    #[test]
    fn the_first_order_ends_one() {
        let clients = Clients::new(None);
        let (mut one, mut other) = (join(&clients, 1), join(&clients, 2));
        let order = |id, code| Order::new(id, code, "").unwrap();
        assert_eq!(one.ended().now_or_never(), None);
        assert!(clients.end(order(1, 3503)) && clients.end(order(1, 3011)) && !clients.end(order(3, 3503)));
        assert_eq!(one.ended().now_or_never(), Some(order(1, 3503)));
        assert_eq!(other.ended().now_or_never(), None);
        drop(one);
        assert!(!clients.end(order(1, 3503)));
    }
}
