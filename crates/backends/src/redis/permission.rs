//! Whether Redis lets this server publish, by what it answered.
//!
//! ```text
//!  a probe refused ──────────────────────────▶ denied ─ a probe taken ───▶ allowed
//!  all messages between two probes refused ──▶ denied ─ a message taken ─▶ allowed
//! ```
//! A user may be allowed some channels and not others: that some messages are refused says nothing of the bus.

/// What Redis answered lately to what was published.
#[derive(Default)]
pub(super) struct Permission {
    denied: Option<Denied>,
    /// Since the last probe that was taken: whether a message was, and why one was not.
    is_taken: bool,
    refused: Option<String>,
}

struct Denied {
    by: Subject,
    reason: String,
}

/// What was published.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Message,
    Probe,
}

impl Permission {
    /// Redis took one.
    pub fn taken(&mut self, subject: Subject) {
        if self.denied.as_ref().is_some_and(|denied| denied.by == subject) {
            self.denied = None;
            self.refused = None;
        }
        match subject {
            Subject::Message => self.is_taken = true,
            Subject::Probe => {
                if let (false, Some(reason)) = (std::mem::take(&mut self.is_taken), self.refused.take()) {
                    self.denied = Some(Denied { by: Subject::Message, reason });
                }
            }
        }
    }

    /// Redis refused one.
    pub fn refused(&mut self, subject: Subject, reason: &str) {
        match subject {
            Subject::Message => self.refused = Some(reason.to_owned()),
            Subject::Probe => self.denied = Some(Denied { by: subject, reason: reason.to_owned() }),
        }
    }

    /// Why nothing can be published, if so.
    pub fn denied(&self) -> Option<&str> {
        self.denied.as_ref().map(|denied| &*denied.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::Subject::{Message, Probe};
    use super::*;

    #[test]
    fn a_probe_that_is_refused_denies_until_one_is_taken() {
        let mut permission = Permission::default();
        permission.refused(Probe, "no");
        permission.taken(Message);
        permission.refused(Message, "no");
        assert_eq!(permission.denied(), Some("no"));
        permission.taken(Probe);
        assert_eq!(permission.denied(), None);
    }

    #[test]
    fn messages_deny_when_all_are_refused_until_one_is_taken() {
        let mut permission = Permission::default();
        permission.refused(Message, "no");
        permission.taken(Message);
        permission.taken(Probe);
        assert_eq!(permission.denied(), None, "one was taken");
        permission.refused(Message, "no");
        assert_eq!(permission.denied(), None, "others may be taken yet");
        permission.taken(Probe);
        permission.taken(Probe);
        assert_eq!(permission.denied(), Some("no"), "nothing was published since");
        permission.taken(Message);
        assert_eq!(permission.denied(), None);
    }
}
