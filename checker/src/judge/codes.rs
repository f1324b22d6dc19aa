//! Errors are honest: each has a stable code, which says the same of the outcome wherever it stands.

use super::Rules;
use super::facts::{Facts, Outcome};
use super::findings::{About, Findings};
use crate::anomaly::Kind;
use crate::history::History;
use crate::names::Name;
use std::collections::BTreeMap;

pub(super) fn check(history: &History, facts: &Facts, rules: &Rules, findings: &mut Findings) {
    let mut certain: BTreeMap<Name, usize> = BTreeMap::new();
    let mut unknown: BTreeMap<Name, usize> = BTreeMap::new();
    for attempt in &facts.attempts {
        let (at, code, side) = match attempt.outcome {
            Outcome::Fail { at, code, .. } => (at, code, &mut certain),
            Outcome::Info { at, code } => (at, code, &mut unknown),
            Outcome::None | Outcome::Ok { .. } => continue,
        };
        side.entry(code).or_insert(at);
        let (id, text) = (history.text(attempt.event), history.text(code));
        let about = || About { events: vec![attempt.event], at: vec![at], chain: None };
        if !is_code(text) {
            findings.add(Kind::NoCode, about(), || {
                format!("the publish of event {id} failed without a stable code (`{text}`)")
            });
        } else if rules.codes.as_ref().is_some_and(|codes| !codes.contains(text)) {
            findings.add(Kind::UnlistedCode, about(), || {
                format!("the publish of event {id} failed with the code {text}, which is not documented")
            });
        }
    }
    for (code, at) in certain {
        if let Some(&other) = unknown.get(&code) {
            let about = About { at: vec![at, other], ..About::default() };
            findings.add(Kind::AmbiguousCode, about, || {
                let code = history.text(code);
                format!(
                    "the code {code} says of one publish that it failed and of another that it is not known"
                )
            });
        }
    }
}

/// Words of small letters and digits, joined by `_`.
fn is_code(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
