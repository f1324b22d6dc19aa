//! One event of the workload: what was sent, what was answered, and so what may and must be in the log.
//!
//! ```text
//!  made ──sent──▶ in flight ──ok───────▶ acknowledged: must be there, at the place of the first answer
//!                   ▲  │ └────unknown──▶ may be there
//!                   └──┴──────refused──▶ must not be there, if every attempt was refused
//! ```

use super::place::{Place, Source};
use super::{Checker, Verdict};
use crate::history::Broken;

/// One event of the workload.
#[derive(Clone, Debug)]
pub struct Fact {
    /// Whose it is.
    pub source: Source,
    /// Its id; `None` until the publisher said which it made.
    pub id: Option<String>,
    /// Length of its body.
    pub bytes: usize,
    /// The event under whose identity it was sent, with another body.
    pub rival_of: Option<u64>,
    /// When it was first sent.
    pub first_sent: Option<u64>,
    /// When it was first acknowledged.
    pub acked: Option<u64>,
    /// Where it stands.
    pub place: Option<Place>,
    in_flight: u32,
    attempts: u32,
    unknown: bool,
    /// An unclean start took it although it was acknowledged; only where that is allowed.
    pub lost: bool,
    /// Retention passed it before an epoch ended: nothing more can be known of it.
    pub passed: bool,
    /// Retention passed it, and it was stored once more.
    pub again: bool,
    /// Another body stands under its id.
    pub beaten: bool,
}

impl Fact {
    /// Whether it cannot be in the log.
    pub fn is_impossible(&self) -> bool {
        self.acked.is_none() && self.in_flight == 0 && !self.unknown && !self.lost
    }

    /// It stands in a new epoch, whatever became of it before.
    pub fn found(&mut self) {
        self.lost = false;
        self.unknown = true;
    }

    /// Whether nobody knows yet if it is stored.
    pub fn is_open(&self) -> bool {
        self.acked.is_none() && !self.beaten
    }

    /// Whether it must be in the log.
    pub fn must_be_there(&self) -> bool {
        self.acked.is_some() && !self.lost
    }
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Stored at this place, under this id; now, or earlier.
    Stored { id: String, place: Place, duplicate: bool },
    /// Definitely not stored; the id if the publisher said it.
    Refused(Option<String>),
    /// Not stored: another body stands under its id.
    Conflict,
    /// Maybe stored, under this id if it was said.
    Unknown(Option<String>),
}

impl Checker {
    /// A new event; returns its number.
    pub fn make(&mut self, source: Source, id: Option<String>, bytes: usize, rival_of: Option<u64>) -> u64 {
        self.facts.push(Fact {
            source,
            id,
            bytes,
            rival_of,
            first_sent: None,
            acked: None,
            place: None,
            in_flight: 0,
            attempts: 0,
            unknown: false,
            lost: false,
            passed: false,
            again: false,
            beaten: false,
        });
        self.facts.len() as u64 - 1
    }

    pub(super) fn sent_one(&mut self, n: u64, now: u64) {
        let fact = &mut self.facts[n as usize];
        fact.first_sent = fact.first_sent.or(Some(now));
        fact.in_flight += 1;
        fact.attempts += 1;
    }

    /// An attempt to publish event `n` ended.
    pub fn ended(&mut self, n: u64, outcome: Outcome, now: u64) -> Verdict {
        self.facts[n as usize].in_flight -= 1;
        match outcome {
            Outcome::Stored { id, place, duplicate } => self.stored(n, id, place, duplicate, now),
            Outcome::Refused(id) => {
                self.learn_id(n, id);
                Ok(())
            }
            Outcome::Conflict => self.conflicted(n),
            Outcome::Unknown(id) => {
                self.facts[n as usize].unknown = true;
                self.learn_id(n, id);
                Ok(())
            }
        }
    }

    fn learn_id(&mut self, n: u64, id: Option<String>) {
        let known = &mut self.facts[n as usize].id;
        *known = known.take().or(id);
    }

    fn stored(&mut self, n: u64, id: String, place: Place, duplicate: bool, now: u64) -> Verdict {
        let about = vec![format!("#{n}"), place.to_string()];
        // The place of one that is hidden stands for the first.
        let (place, duplicate) = match self.aliases.get(&place) {
            Some(first) => (*first, true),
            None => (place, duplicate),
        };
        let fact = &self.facts[n as usize];
        if fact.id.as_ref().is_some_and(|known| *known != id) {
            let what = format!("#{n} was sent as {:?} and answered as {id}", fact.id);
            return Err(Broken::new("receipts", what, about));
        }
        if let Some(base) = fact.rival_of.filter(|&base| self.holds_identity(base)) {
            let what = format!("#{n} was accepted although #{base} stands under its id with another body");
            return Err(Broken::new("conflict", what, about));
        }
        let is_whole = |first: &Place| !self.is_trimmed(first) && !self.damaged.contains(&n);
        let known = fact.place.filter(|first| is_whole(first) && first.epoch == place.epoch);
        if let Some(first) = known
            && fact.acked.is_some()
            && (first != place || !(duplicate || fact.again || fact.passed))
        {
            let what = format!(
                "#{n} was stored at {first}; sent again, it was answered {place}, duplicate: {duplicate}"
            );
            return Err(Broken::new("a duplicate is answered with the first position", what, about));
        }
        if duplicate && fact.attempts == 1 {
            let what = format!("#{n} was answered as a duplicate, but was never sent before");
            return Err(Broken::new("receipts", what, about));
        }
        let fact = &mut self.facts[n as usize];
        fact.id = Some(id);
        // Stored anew, after retention took it: only now it is acknowledged where it stands.
        fact.acked = fact.acked.filter(|_| duplicate).or(Some(now));
        fact.lost = false;
        self.stands(n, place)
    }

    /// A conflict is right when another body may stand under the identity.
    fn conflicted(&mut self, n: u64) -> Verdict {
        let same = |m: usize, other: &Fact| {
            m as u64 != n
                && other.source == self.facts[n as usize].source
                && other.id == self.facts[n as usize].id
        };
        let excused =
            self.facts.iter().enumerate().any(|(m, other)| same(m, other) && other.first_sent.is_some());
        if excused {
            self.facts[n as usize].beaten = true;
            return Ok(());
        }
        let what = format!("#{n} was refused as a conflict, but nothing else was ever sent under its id");
        Err(Broken::new("conflict", what, vec![format!("#{n}")]))
    }

    /// Whether event `n` is known to stand in the log now.
    pub fn holds_identity(&self, n: u64) -> bool {
        let fact = &self.facts[n as usize];
        let stands = fact.place.is_some_and(|place| {
            !self.is_trimmed(&place)
                && self.topics[place.topic].epoch.is_none_or(|epoch| epoch == place.epoch)
        });
        fact.must_be_there() && stands && !self.damaged.contains(&n)
    }
}
