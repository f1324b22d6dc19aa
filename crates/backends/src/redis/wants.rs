//! What one subscribing connection is to bring, and what Redis has confirmed of it.
//!
//! ```text
//!   wanted ─ asked for ─▶ confirmed ─ nobody wants it ─▶ given up
//!      ▲                      │ connection lost: asked for again, and who wants it told that something may be missing
//!      └──────────────────────┘
//! ```
//! In a sharded Cluster a target can also be astray: its slot is served elsewhere, or will be. It is asked for once
//! somebody knows where, here or on another connection.

use super::refusals::Refusals;
use dualstream_core::channel::Target;
use dualstream_core::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The targets of one connection.
#[derive(Default)]
pub(super) struct Wants {
    targets: BTreeMap<Target, Want>,
    /// Those whose state may not be what is wanted.
    changed: BTreeSet<Target>,
    confirmed: usize,
    refusals: Refusals,
    /// Nothing will be asked for any more.
    is_closed: bool,
}

/// A target that somebody wants, wherever it is asked for.
#[derive(Default)]
pub(super) struct Want {
    users: usize,
    state: State,
    /// Whether this connection does not lead to its slot.
    is_astray: bool,
    /// Whether it was confirmed on a connection that is gone.
    is_interrupted: bool,
    waiting: Vec<oneshot::Sender<Result<()>>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Wanted,
    Asked,
    Confirmed,
}

/// What to ask Redis for next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub subscribe: Vec<Target>,
    pub unsubscribe: Vec<Target>,
}

impl Wants {
    /// A user more; told once Redis confirmed it, or refused, which may have been before. Told nothing once it is closed.
    pub fn join(&mut self, target: &Target) -> oneshot::Receiver<Result<()>> {
        let (told, answer) = oneshot::channel();
        let want = self.targets.entry(target.clone()).or_default();
        want.users += 1;
        // Who gave up while Redis was away hears nothing.
        want.waiting.retain(|waiting| !waiting.is_closed());
        if self.is_closed {
            return answer;
        }
        match want.state {
            State::Confirmed => {
                // It has the other end.
                let _ = told.send(Ok(()));
            }
            State::Asked => want.waiting.push(told),
            State::Wanted => match self.refusals.find(target, Instant::now()) {
                Some(error) => {
                    // As above.
                    let _ = told.send(Err(error));
                }
                None => {
                    want.waiting.push(told);
                    self.changed.insert(target.clone());
                }
            },
        }
        answer
    }

    /// A user less; whether it was the last.
    pub fn leave(&mut self, target: &Target) -> bool {
        let Some(want) = self.targets.get_mut(target) else { return false };
        want.users -= 1;
        match (want.users, want.state) {
            (0, State::Wanted) => {
                self.targets.remove(target);
                self.changed.remove(target);
            }
            (0, _) => {
                self.changed.insert(target.clone());
            }
            _ => return false,
        }
        true
    }

    /// What must be asked for now, so that Redis brings what is wanted.
    pub fn changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for target in std::mem::take(&mut self.changed) {
            let Some(want) = self.targets.get_mut(&target) else { continue };
            match (want.users, want.state) {
                (0, State::Confirmed) => {
                    self.targets.remove(&target);
                    self.confirmed -= 1;
                    changes.unsubscribe.push(target);
                }
                (0, State::Wanted) => {
                    self.targets.remove(&target);
                }
                (_, State::Wanted) => {
                    want.state = State::Asked;
                    changes.subscribe.push(target);
                }
                _ => {}
            }
        }
        changes
    }

    /// Redis confirmed it; whether it had been interrupted.
    pub fn confirm(&mut self, target: &Target) -> bool {
        let Some(want) = self.targets.get_mut(target).filter(|want| want.state == State::Asked) else {
            return false;
        };
        want.state = State::Confirmed;
        self.confirmed += 1;
        if want.users == 0 {
            self.changed.insert(target.clone());
        }
        for waiting in want.waiting.drain(..) {
            // Who gave up meanwhile hears nothing.
            let _ = waiting.send(Ok(()));
        }
        std::mem::take(&mut want.is_interrupted)
    }

    /// Redis refused it: who waits is told, and it is asked for again once somebody wants it some minutes later, or on
    /// another connection. How many were refused on this one.
    pub fn refuse(&mut self, target: &Target, error: &Error) -> u64 {
        let refused = self.refusals.add(target, error, Instant::now());
        let Some(want) = self.targets.get_mut(target).filter(|want| want.state == State::Asked) else {
            return refused;
        };
        want.state = State::Wanted;
        for waiting in want.waiting.drain(..) {
            let _ = waiting.send(Err(error.clone()));
        }
        if want.users == 0 {
            self.changed.insert(target.clone());
        }
        refused
    }

    /// The connection is gone: all is to be asked for again. How many were interrupted.
    pub fn interrupt(&mut self) -> usize {
        let interrupted = std::mem::take(&mut self.confirmed);
        self.refusals.forget();
        for (target, want) in &mut self.targets {
            want.lose();
            self.changed.insert(target.clone());
        }
        interrupted
    }

    /// Its slot is not served where it was asked for, or not any more. Whether that is news, and whether it had been
    /// confirmed.
    pub fn stray(&mut self, target: &Target) -> Option<bool> {
        let want = self.targets.get_mut(target).filter(|want| want.state != State::Wanted)?;
        let was_confirmed = want.lose();
        self.confirmed -= usize::from(was_confirmed);
        want.is_astray = true;
        if want.users == 0 {
            self.targets.remove(target);
            self.changed.remove(target);
        }
        Some(was_confirmed)
    }

    /// What was astray is asked for again.
    pub fn retry(&mut self) {
        for (target, want) in &mut self.targets {
            if std::mem::take(&mut want.is_astray) {
                self.changed.insert(target.clone());
            }
        }
    }

    /// Gives away what belongs elsewhere; how many of them had been confirmed.
    pub fn withdraw(&mut self, is_elsewhere: impl Fn(&Target) -> bool) -> (Vec<(Target, Want)>, usize) {
        let withdrawn = self.targets.extract_if(.., |target, _| is_elsewhere(target));
        let mut withdrawn: Vec<_> = withdrawn.collect();
        self.changed.retain(|target| !is_elsewhere(target));
        let interrupted = withdrawn.iter_mut().map(|(_, want)| usize::from(want.lose())).sum();
        self.confirmed -= interrupted;
        withdrawn.retain(|(_, want)| want.users > 0);
        (withdrawn, interrupted)
    }

    /// Takes what was asked for elsewhere.
    pub fn adopt(&mut self, target: Target, want: Want) {
        self.changed.insert(target.clone());
        self.targets.insert(target, want);
    }

    /// Nothing is asked for any more: who waits, or comes, is told nothing.
    pub fn close(&mut self) {
        self.is_closed = true;
        self.targets.values_mut().for_each(|want| want.waiting.clear());
    }

    /// How many Redis confirmed.
    pub fn confirmed(&self) -> usize {
        self.confirmed
    }
}

impl Want {
    /// It is not brought any more; whether it was.
    fn lose(&mut self) -> bool {
        let was_confirmed = self.state == State::Confirmed;
        self.is_interrupted |= was_confirmed;
        self.state = State::Wanted;
        self.is_astray = false;
        was_confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualstream_core::ErrorKind;

    fn target(text: &str) -> Target {
        Target::parse(text).unwrap()
    }

    fn changes(wants: &mut Wants) -> (Vec<String>, Vec<String>) {
        let Changes { subscribe, unsubscribe } = wants.changes();
        let texts = |targets: Vec<Target>| targets.iter().map(Target::to_string).collect();
        (texts(subscribe), texts(unsubscribe))
    }

    #[test]
    fn the_first_is_asked_for_and_the_last_gives_it_up() {
        let mut wants = Wants::default();
        let mut answers =
            [wants.join(&target("a:x")), wants.join(&target("a:*")), wants.join(&target("a:x"))];
        assert_eq!(changes(&mut wants), (vec!["a:x".into(), "a:*".into()], vec![]));
        assert_eq!(changes(&mut wants), (vec![], vec![]), "asked for once");
        assert!(!wants.confirm(&target("a:x")), "nothing was interrupted");
        assert_eq!(answers.each_mut().map(|answer| answer.try_recv().is_ok()), [true, false, true]);
        assert_eq!(wants.join(&target("a:x")).try_recv(), Ok(Ok(())));
        assert_eq!([0; 3].map(|_| wants.leave(&target("a:x"))), [false, false, true]);
        assert_eq!(changes(&mut wants), (vec![], vec!["a:x".into()]));
        assert_eq!(wants.confirmed(), 0);
    }

    #[test]
    fn who_comes_back_in_time_keeps_it() {
        let mut wants = Wants::default();
        drop(wants.join(&target("a:x")));
        wants.changes();
        wants.leave(&target("a:x"));
        assert_eq!(changes(&mut wants), (vec![], vec![]), "asked for: it is given up once it is there");
        drop(wants.join(&target("a:x")));
        assert_eq!(changes(&mut wants), (vec![], vec![]));
        wants.confirm(&target("a:x"));
        assert_eq!(changes(&mut wants), (vec![], vec![]));
        wants.leave(&target("a:x"));
        drop(wants.join(&target("a:x")));
        assert_eq!(changes(&mut wants), (vec![], vec![]));
    }

    #[test]
    fn who_gives_up_before_it_is_there_leaves_nothing() {
        let mut wants = Wants::default();
        for _ in 0..3 {
            drop(wants.join(&target("a:x")));
            wants.leave(&target("a:x"));
        }
        assert!(wants.targets.is_empty() && wants.changed.is_empty());
        drop(wants.join(&target("a:x")));
        wants.changes();
        wants.leave(&target("a:x"));
        wants.confirm(&target("a:x"));
        assert_eq!(changes(&mut wants), (vec![], vec!["a:x".into()]));
        assert!(wants.targets.is_empty());
    }

    #[test]
    fn all_is_asked_for_again_after_an_interruption_which_is_told_once() {
        let mut wants = Wants::default();
        drop(wants.join(&target("a:x")));
        wants.changes();
        wants.confirm(&target("a:x"));
        let mut late = wants.join(&target("a:y"));
        assert_eq!(wants.interrupt(), 1);
        assert_eq!(changes(&mut wants), (vec!["a:x".into(), "a:y".into()], vec![]));
        assert_eq!(wants.interrupt(), 0, "it was not confirmed again");
        assert_eq!(changes(&mut wants).0.len(), 2);
        assert!(
            wants.confirm(&target("a:x")) && !wants.confirm(&target("a:x")) && !wants.confirm(&target("a:y"))
        );
        assert_eq!((late.try_recv(), wants.confirmed()), (Ok(Ok(())), 2));
    }

    #[test]
    fn who_is_refused_is_told() {
        let mut wants = Wants::default();
        let mut answer = wants.join(&target("a:x"));
        wants.changes();
        wants.refuse(&target("a:x"), &Error::new(ErrorKind::Denied, "redis_denied", "no"));
        assert_eq!(answer.try_recv().unwrap().unwrap_err().code(), "redis_denied");
        assert_eq!(changes(&mut wants), (vec![], vec![]), "not again by itself");
        wants.leave(&target("a:x"));
        let mut again = wants.join(&target("a:x"));
        assert_eq!(again.try_recv().unwrap().unwrap_err().code(), "redis_denied");
        assert_eq!(changes(&mut wants), (vec![], vec![]), "not again on this connection");
        wants.interrupt();
        assert!(wants.join(&target("a:x")).try_recv().is_err());
        assert_eq!(changes(&mut wants).0, ["a:x"]);
    }

    #[test]
    fn what_is_astray_is_asked_for_once_somebody_knows_where() {
        let mut here = Wants::default();
        let mut answers = ["a:x", "a:y", "a:z"].map(|text| here.join(&target(text)));
        here.changes();
        here.confirm(&target("a:x"));
        assert_eq!(
            ["a:x", "a:y", "a:x"].map(|text| here.stray(&target(text))),
            [Some(true), Some(false), None]
        );
        assert_eq!(here.confirmed(), 0);
        assert_eq!(changes(&mut here), (vec![], vec![]), "nobody knows where");
        here.retry();
        assert_eq!(changes(&mut here).0, ["a:x", "a:y"]);
        assert!(here.confirm(&target("a:x")), "it was interrupted");
        let (moved, interrupted) = here.withdraw(|moves| *moves != target("a:z"));
        assert_eq!((moved.len(), interrupted, here.confirmed()), (2, 1, 0));
        assert!(here.changed.is_empty() && here.targets.len() == 1);
        let mut there = Wants::default();
        moved.into_iter().for_each(|(target, want)| there.adopt(target, want));
        assert_eq!(changes(&mut there).0, ["a:x", "a:y"]);
        assert!(there.confirm(&target("a:x")) && !there.confirm(&target("a:y")));
        assert_eq!(answers.each_mut().map(|answer| answer.try_recv().is_ok()), [true, true, false]);
    }

    #[test]
    fn who_left_while_it_was_astray_leaves_nothing() {
        let mut wants = Wants::default();
        drop(["a:x", "a:y"].map(|text| wants.join(&target(text))));
        wants.changes();
        wants.stray(&target("a:x"));
        assert!(wants.leave(&target("a:x")) && wants.leave(&target("a:y")));
        assert_eq!(wants.stray(&target("a:y")), Some(false));
        assert!(wants.targets.is_empty() && wants.changed.is_empty());
    }

    #[test]
    fn who_waits_when_it_is_closed_waits_no_more() {
        let mut wants = Wants::default();
        let mut waiting = wants.join(&target("a:x"));
        assert_eq!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        wants.close();
        let late = wants.join(&target("a:x"));
        for mut answer in [waiting, late] {
            assert_eq!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        }
    }
}
