//! The emulated sessions of this node by their secret ids, so that requests find them. Bounded in number.

use super::inbox::Inbox;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// Who has the id of a session may say commands in it. So it is never guessed: 122 random bits, looked up by a keyed hash,
/// which tells nothing by the time it takes.
pub(crate) struct Sessions {
    by_id: Mutex<HashMap<Uuid, Arc<Inbox>>>,
    count_max: usize,
    bytes_max: usize,
}

/// The place of one session: requests find it as long as this is kept.
pub(crate) struct Place {
    sessions: Arc<Sessions>,
    id: Uuid,
    inbox: Arc<Inbox>,
}

/// What became of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The session reads them.
    Taken,
    /// It has not read what came before.
    Busy,
    /// There is no such session here.
    Unknown,
}

impl Sessions {
    /// At most `count_max`, for each of which `bytes_max` of commands may wait.
    pub fn new(count_max: usize, bytes_max: usize) -> Arc<Sessions> {
        Arc::new(Sessions { by_id: Mutex::default(), count_max, bytes_max })
    }

    /// Makes place for a session; `None` when there are as many as may be.
    pub fn open(self: &Arc<Self>) -> Option<Place> {
        let (id, inbox) = (Uuid::new_v4(), Arc::new(Inbox::new(self.bytes_max)));
        let mut by_id = self.lock();
        if by_id.len() >= self.count_max {
            return None;
        }
        by_id.insert(id, inbox.clone());
        drop(by_id);
        Some(Place { sessions: self.clone(), id, inbox })
    }

    /// Hands commands to the session of this id.
    pub fn take(&self, id: Uuid, commands: Bytes) -> Outcome {
        let Some(inbox) = self.lock().get(&id).cloned() else { return Outcome::Unknown };
        match inbox.push(commands) {
            true => Outcome::Taken,
            false => Outcome::Busy,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Inbox>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The secret id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// What came for it.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_as_long_as_it_lasts() {
        let sessions = Sessions::new(2, 1);
        let (one, other) = (sessions.open().unwrap(), sessions.open().unwrap());
        assert!(one.id() != other.id() && sessions.open().is_none());
        let say = |id| sessions.take(id, Bytes::from_static(b"{}"));
        assert_eq!(
            (say(one.id()), say(one.id()), say(other.id())),
            (Outcome::Taken, Outcome::Busy, Outcome::Taken)
        );
        assert_eq!(say(Uuid::nil()), Outcome::Unknown);
        let gone = one.id();
        drop(one);
        assert_eq!(say(gone), Outcome::Unknown);
        assert!(sessions.open().is_some());
    }
}
