//! Publishes work again soon after a fault, and all through one of the bus.

use super::calm::Calm;
use super::facts::{Attempt, Facts, Outcome};
use super::findings::{About, Findings};
use crate::anomaly::Kind;
use crate::history::History;
use crate::names::Name;
use crate::operation::Blame;
use crate::recorder::ABANDONED;

/// `calm` knows of everything that was broken, `beside` of everything but the bus: that is no excuse.
pub(super) fn check(history: &History, facts: &Facts, calm: &Calm, beside: &Calm, findings: &mut Findings) {
    let mut recovery = Recovery { history, calm, beside, findings };
    if !Calm::is_known(history) {
        return;
    }
    for attempt in &facts.attempts {
        match attempt.outcome {
            Outcome::Ok { at } => recovery.in_time(attempt, at),
            Outcome::Fail { at, code, blame: Blame::Server } => recovery.failed(attempt, at, code),
            Outcome::Info { at, code } if history.text(code) != ABANDONED => {
                recovery.failed(attempt, at, code)
            }
            _ => {}
        }
    }
}

struct Recovery<'a> {
    history: &'a History,
    calm: &'a Calm,
    beside: &'a Calm,
    findings: &'a mut Findings,
}

impl Recovery<'_> {
    /// It was answered soon after nothing stood in its way.
    fn in_time(&mut self, attempt: &Attempt, at: usize) {
        let (sent_us, acked_us) = (self.at_us(attempt.sent), self.at_us(at));
        let took_us = |calm: &Calm| acked_us - sent_us.max(calm.last_trouble_us(acked_us).unwrap_or(0));
        let is_late = |calm: &Calm| took_us(calm) > calm.heal_us_max;
        if is_late(self.beside) {
            let (took_ms, kind) = (took_us(self.beside) / 1000, kind(is_late(self.calm)));
            self.add(kind, attempt, at, |history| {
                let id = history.text(attempt.event);
                format!("event {id} was acknowledged {took_ms} ms after nothing stood in its way")
            });
        }
    }

    /// A failure that is the server's has a fault as its reason.
    fn failed(&mut self, attempt: &Attempt, at: usize, code: Name) {
        let (sent_us, failed_us) = (self.at_us(attempt.sent), self.at_us(at));
        let is_unexcused = |calm: &Calm| {
            let trouble_us = calm.last_trouble_us(failed_us);
            trouble_us.is_none_or(|trouble_us| trouble_us.saturating_add(calm.heal_us_max) < sent_us)
        };
        if is_unexcused(self.beside) {
            let (trouble_us, kind) = (self.beside.last_trouble_us(failed_us), kind(is_unexcused(self.calm)));
            self.add(kind, attempt, at, |history| {
                let (id, code) = (history.text(attempt.event), history.text(code));
                let when = match trouble_us {
                    Some(us) => format!("{} ms after the last fault", (sent_us - us) / 1000),
                    None => "before any fault".to_owned(),
                };
                format!("event {id} was sent {when}, and its publish failed ({code})")
            });
        }
    }

    fn add(&mut self, kind: Kind, attempt: &Attempt, at: usize, what: impl Fn(&History) -> String) {
        let about = About { events: vec![attempt.event], at: vec![at], chain: None };
        let but = if kind == Kind::Felt { "; only the bus was broken" } else { "" };
        self.findings.add(kind, about, || what(self.history) + but);
    }

    fn at_us(&self, at: usize) -> u64 {
        self.history.steps[at].at_us
    }
}

/// What it is that goes wrong with the bus as no excuse.
fn kind(has_no_excuse: bool) -> Kind {
    if has_no_excuse { Kind::Unhealed } else { Kind::Felt }
}
