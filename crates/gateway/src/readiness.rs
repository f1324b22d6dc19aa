//! Which parts behind the gateway work, since when, and why not: for `/health/ready`, the metrics and the page.
//!
//! It is looked at whenever somebody asks, and once a second, so that the moment of a change is known when nobody does.
//! Parts tell their own changes in the log, each once: here nothing is logged.

use dualstream_core::bus::Health;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Tells whether the parts behind the gateway work.
pub trait Status: Send + Sync {
    /// Every part there is, always in the same order. Answers at once.
    fn parts(&self) -> Vec<Part>;
}

/// A part behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is called: `log`, `bus`, ….
    pub name: &'static str,
    /// Whether it works.
    pub health: Health,
    /// Without it events cannot be stored or served: the server is not ready. Without another it is degraded.
    pub is_needed: bool,
}

/// How ready a server is, by its parts alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// All works.
    Yes,
    /// Something is away that nothing depends on: later, or less to see, but all of it right.
    Degraded,
    /// A part that is needed is away.
    No,
}

/// The parts, and since when each is as it is.
pub(crate) struct Readiness {
    status: Arc<dyn Status>,
    /// Of the parts that work: a part that does not says since when.
    up_since_ms: Mutex<BTreeMap<&'static str, i64>>,
}

/// A part as it was seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub part: Part,
    /// When it became so, ms since 1970.
    pub since_ms: i64,
}

impl Readiness {
    pub fn new(status: Arc<dyn Status>) -> Readiness {
        Readiness { status, up_since_ms: Mutex::default() }
    }

    /// How every part is now.
    pub fn look(&self, now_ms: i64) -> Vec<Seen> {
        let parts = self.status.parts();
        let mut up_since_ms = self.up_since_ms.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = |part: Part| {
            let since_ms = match &part.health {
                Health::Up => *up_since_ms.entry(part.name).or_insert(now_ms),
                Health::Down { since_ms, .. } => {
                    up_since_ms.remove(part.name);
                    *since_ms
                }
            };
            Seen { part, since_ms }
        };
        parts.into_iter().map(seen).collect()
    }
}

impl Ready {
    pub fn of(parts: &[Seen]) -> Ready {
        let mut away = parts.iter().filter(|seen| seen.part.health != Health::Up).peekable();
        match away.peek().is_some() {
            false => Ready::Yes,
            true if away.any(|seen| seen.part.is_needed) => Ready::No,
            true => Ready::Degraded,
        }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Told(Mutex<Vec<Part>>);

    impl Status for Told {
        fn parts(&self) -> Vec<Part> {
            self.0.lock().unwrap().clone()
        }
    }

    fn part(name: &'static str, down: Option<i64>, is_needed: bool) -> Part {
        let reason = || "away".to_owned();
        let health = down.map_or(Health::Up, |since_ms| Health::Down { since_ms, reason: reason() });
        Part { name, health, is_needed }
    }

    #[test]
    fn each_part_is_as_it_is_since_it_changed() {
        let told = Arc::new(Told(Mutex::default()));
        let readiness = Readiness::new(told.clone());
        let look = |now_ms, log, bus| {
            *told.0.lock().unwrap() = vec![part("log", log, true), part("bus", bus, false)];
            let seen = readiness.look(now_ms);
            (Ready::of(&seen), seen.iter().map(|seen| seen.since_ms).collect::<Vec<_>>())
        };
        assert_eq!(look(10, None, None), (Ready::Yes, vec![10, 10]));
        assert_eq!(look(20, None, None), (Ready::Yes, vec![10, 10]));
        assert_eq!(look(30, None, Some(25)), (Ready::Degraded, vec![10, 25]));
        assert_eq!(look(40, Some(35), Some(25)), (Ready::No, vec![35, 25]));
        assert_eq!(look(50, Some(35), None), (Ready::No, vec![35, 50]));
        assert_eq!(look(60, None, None), (Ready::Yes, vec![60, 50]));
    }
}
