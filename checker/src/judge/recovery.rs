//! Publishes work again soon after a fault.

use super::calm::Calm;
use super::facts::{Attempt, Facts, Outcome};
use super::findings::{About, Findings};
use crate::anomaly::Kind;
use crate::history::History;
use crate::names::Name;
use crate::operation::Blame;
use crate::recorder::ABANDONED;

pub(super) fn check(history: &History, facts: &Facts, calm: &Calm, findings: &mut Findings) {
    if !Calm::is_known(history) {
        return;
    }
    for attempt in &facts.attempts {
        match attempt.outcome {
            Outcome::Ok { at } => in_time(history, attempt, at, calm, findings),
            Outcome::Fail { at, code, blame: Blame::Server } => {
                failed(history, attempt, (at, code), calm, findings)
            }
            Outcome::Info { at, code } if history.text(code) != ABANDONED => {
                failed(history, attempt, (at, code), calm, findings);
            }
            _ => {}
        }
    }
}

/// It was answered soon after nothing stood in its way.
fn in_time(history: &History, attempt: &Attempt, at: usize, calm: &Calm, findings: &mut Findings) {
    let (sent_us, acked_us) = (history.steps[attempt.sent].at_us, history.steps[at].at_us);
    let took_us = acked_us - sent_us.max(calm.last_trouble_us(acked_us).unwrap_or(0));
    if took_us > calm.heal_us_max {
        let about = About { events: vec![attempt.event], at: vec![at], chain: None };
        findings.add(Kind::Unhealed, about, || {
            let (id, took_ms) = (history.text(attempt.event), took_us / 1000);
            format!("event {id} was acknowledged {took_ms} ms after nothing stood in its way")
        });
    }
}

/// A failure that is the server's has a fault as its reason.
fn failed(
    history: &History,
    attempt: &Attempt,
    (at, code): (usize, Name),
    calm: &Calm,
    findings: &mut Findings,
) {
    let (sent_us, failed_us) = (history.steps[attempt.sent].at_us, history.steps[at].at_us);
    let trouble_us = calm.last_trouble_us(failed_us);
    if trouble_us.is_some_and(|trouble_us| trouble_us.saturating_add(calm.heal_us_max) >= sent_us) {
        return;
    }
    let about = About { events: vec![attempt.event], at: vec![at], chain: None };
    findings.add(Kind::Unhealed, about, || {
        let (id, code) = (history.text(attempt.event), history.text(code));
        let when = match trouble_us {
            Some(us) => format!("{} ms after the last fault", (sent_us - us) / 1000),
            None => "before any fault".to_owned(),
        };
        format!("event {id} was sent {when}, and its publish failed ({code})")
    });
}
