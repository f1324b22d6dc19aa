//! The fold, record by record.

use super::*;
use crate::record::Headers;
use bytes::Bytes;

fn topic() -> TopicName {
    TopicName::new("events").unwrap()
}

fn record(offset: u64, value: Option<Bytes>) -> Record {
    let (partition, append_time_ms, timestamp_ms, key, headers) = (0, 1, 1, None, Headers::default());
    Record { partition, offset, append_time_ms, timestamp_ms, key, value, headers }
}

fn raise(offset: u64, topic_id: u128, from: u64) -> Record {
    let decision = Decision::Generation { topic: topic(), topic_id, from };
    record(offset, Some(codec::proposal(ProposalId(offset.into()), 0, &decision)))
}

/// What a node that read as far as `said` would append, standing at `offset`.
fn snapshot(offset: u64, said: &State) -> Record {
    record(offset, Some(codec::snapshot(ProposalId(offset.into()), 0, said)))
}

fn verdicts(state: &mut State, records: &[Record]) -> Vec<Verdict> {
    records.iter().map(|record| state.apply(record).verdict).collect()
}

#[test]
fn the_first_of_those_who_propose_the_same_wins() {
    let mut state = State::new(0);
    let told = verdicts(&mut state, &[raise(0, 7, 0), raise(1, 7, 0), raise(2, 7, 2), raise(3, 7, 1)]);
    let late = |present| Verdict::Refused(Refusal::NotPresent { present });
    assert_eq!(told, [Verdict::Decided, late(1), late(1), Verdict::Decided]);
    assert_eq!((state.generation(&topic(), 7), state.next()), (2, 4));
    assert!(state.has(&Decision::Generation { topic: topic(), topic_id: 7, from: 1 }));
    assert!(!state.has(&Decision::Generation { topic: topic(), topic_id: 7, from: 2 }));
}

/// A topic that was created again is another one, and begins at 0.
#[test]
fn a_generation_belongs_to_an_identity() {
    let mut state = State::new(0);
    verdicts(&mut state, &[raise(0, 7, 0), raise(1, 8, 0)]);
    state.apply(&raise(2, 8, 1));
    let generation = |id| state.generation(&topic(), id);
    assert_eq!((generation(7), generation(8), generation(9)), (1, 2, 0));
    let other = TopicName::new("chat").unwrap();
    assert_eq!(state.generation(&other, 7), 0);
    assert_eq!(state.generations().map(|(_, id, n)| (id, n)).collect::<Vec<_>>(), [(7, 1), (8, 2)]);
}

#[test]
fn what_is_not_ours_changes_nothing_but_the_place() {
    let mut state = State::new(0);
    let told = [None, Some("text".into()), Some("{\"version\":1}".into())].map(|value| record(4, value));
    assert_eq!(verdicts(&mut state, &told), [Verdict::Foreign; 3]);
    assert_eq!((state.clone(), state.is_whole()), (State { next: 5, ..State::new(0) }, true));
    let newer = br#"{"version":2,"type":"generation","id":"00000000000000000000000000000001"}"#;
    let applied = state.apply(&record(5, Some(Bytes::from_static(newer))));
    assert_eq!(applied, Applied { id: Some(ProposalId(1)), verdict: Verdict::Unknown, order: None });
    assert!(!state.is_whole(), "what it decided is not known here");
}

#[test]
fn a_snapshot_at_its_own_offset_is_the_state() {
    let mut state = State::new(0);
    verdicts(&mut state, &[raise(0, 7, 0), raise(1, 8, 0)]);
    let taken = snapshot(2, &state);
    assert!(is_snapshot(&taken));
    let mut new = State::new(2);
    assert!(!new.is_whole(), "what is before is not known");
    assert_eq!(new.apply(&taken).verdict, Verdict::Snapshot { before: None, differs: false });
    assert_eq!(state.apply(&taken).verdict, Verdict::Snapshot { before: None, differs: false });
    assert_eq!(new, state);
    assert_eq!((new.snapshot(), new.is_whole(), new.generation(&topic(), 8)), (Some(2), true, 1));
    let second = snapshot(3, &state);
    assert_eq!(state.apply(&second).verdict, Verdict::Snapshot { before: Some(2), differs: false });
}

#[test]
fn a_snapshot_that_came_too_late_is_none() {
    let mut state = State::new(0);
    let early = state.clone();
    state.apply(&raise(0, 7, 0));
    let late = snapshot(1, &early);
    assert!(!is_snapshot(&late));
    assert_eq!(state.apply(&late).verdict, Verdict::Refused(Refusal::NotItsOffset));
    assert_eq!((state.snapshot(), state.generation(&topic(), 7), state.next()), (None, 1, 2));
}

/// All that read it agree from then on, and it is said loudly.
#[test]
fn a_snapshot_that_lies_counts_all_the_same() {
    let mut state = State::new(0);
    state.apply(&raise(0, 7, 0));
    let lie = snapshot(1, &State::new(1));
    assert_eq!(state.apply(&lie).verdict, Verdict::Snapshot { before: None, differs: true });
    let mut new = State::new(1);
    new.apply(&lie);
    assert_eq!(new, state);
}

/// Who does not know all says nothing that others would have to believe.
#[test]
fn only_who_knows_all_wants_a_snapshot() {
    let mut state = State::new(0);
    assert!(!state.wants_snapshot(3));
    state.pass_to(3);
    assert!(state.wants_snapshot(3));
    assert_eq!(
        state.apply(&snapshot(3, &state.clone())).verdict,
        Verdict::Snapshot { before: None, differs: false }
    );
    state.pass_to(6);
    assert!(!state.wants_snapshot(3), "so many after it");
    state.pass_to(7);
    assert!(state.wants_snapshot(3));
    state.pass_gap();
    assert!(!state.wants_snapshot(3), "something could not be read");
    let beginning_gone = State { next: 100, ..State::new(10) };
    assert!(!beginning_gone.wants_snapshot(3));
    let newer = br#"{"version":1,"type":"owner","id":"00000000000000000000000000000001"}"#;
    let mut older = State { next: 100, ..State::new(0) };
    older.apply(&record(100, Some(Bytes::from_static(newer))));
    assert!(!older.wants_snapshot(3));
}

#[test]
fn what_newer_versions_hold_is_said_again() {
    let line = concat!(
        r#"{"version":1,"type":"snapshot","id":"00000000000000000000000000000001","#,
        r#""time":"1970-01-01T00:00:00.000Z","at":5,"state":{"generations":[],"owners":{"a":1}}}"#
    );
    let mut state = State::new(5);
    state.apply(&record(5, Some(line.into())));
    state.apply(&raise(6, 7, 0));
    let mut new = State::new(7);
    new.apply(&snapshot(7, &state));
    assert_eq!(new.held.others["owners"]["a"], 1);
    assert_eq!(new.generation(&topic(), 7), 1);
}

#[test]
fn as_many_generations_as_fit_into_a_snapshot() {
    let mut state = State::new(0);
    let name = TopicName::new(&"t".repeat(249)).unwrap();
    for id in 0..GENERATIONS_MAX as u128 {
        state.held.generations.insert((name.clone(), u128::MAX - id), u64::MAX / 2);
    }
    assert_eq!(state.apply(&raise(0, 7, 0)).verdict, Verdict::Refused(Refusal::Full));
    assert!(codec::snapshot(ProposalId(0), 0, &state).len() < 900 << 10);
    let mut new = State::new(1);
    new.apply(&snapshot(1, &state));
    assert_eq!(new.held, state.held);
    assert_eq!(
        state.begin_generation(name, u128::MAX, u64::MAX),
        Verdict::Refused(Refusal::NotPresent { present: u64::MAX / 2 })
    );
}

/// It is done by whoever reads it; nothing is left of it, so it takes no room in a snapshot either.
#[test]
fn an_order_is_told_and_kept_nowhere() {
    let mut state = State::new(0);
    let order = Disconnect::new(7, 3503, "force disconnect").unwrap();
    let value = codec::proposal(ProposalId(1), 0, &Decision::Disconnect(order.clone()));
    for offset in 0..2 {
        let applied = state.apply(&record(offset, Some(value.clone())));
        let expected =
            Applied { id: Some(ProposalId(1)), verdict: Verdict::Decided, order: Some(order.clone()) };
        assert_eq!(applied, expected);
        assert!(!state.has(&Decision::Disconnect(order.clone())));
    }
    assert_eq!((state.is_whole(), state), (true, State { next: 2, ..State::new(0) }));
}
