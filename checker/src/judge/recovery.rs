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
        let Some((at, code)) = failure(history, attempt) else { continue };
        let (sent_us, failed_us) = (history.steps[attempt.sent].at_us, history.steps[at].at_us);
        let trouble_us = calm.last_trouble_us(failed_us);
        if trouble_us.is_some_and(|trouble_us| trouble_us.saturating_add(calm.heal_us_max) >= sent_us) {
            continue;
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
}

/// A failure that is the server's, and where it is recorded.
fn failure(history: &History, attempt: &Attempt) -> Option<(usize, Name)> {
    match attempt.outcome {
        Outcome::Fail { at, code, blame: Blame::Server } => Some((at, code)),
        Outcome::Info { at, code } if history.text(code) != ABANDONED => Some((at, code)),
        _ => None,
    }
}
