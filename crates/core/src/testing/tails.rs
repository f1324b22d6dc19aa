//! The tails of a log that stands elsewhere, as a mirror follows them.

use super::sample::{PARTITIONS, nth, parts};
use super::upstream::{UpstreamBackend, all_of, fetch, holes, offsets};
use super::{Check, checks};
use crate::log::{Appended, Part, Span};
use crate::mirror::{Place, Run, Tail, Upstream};
use crate::record::{NewRecord, Record};
use crate::topic::{TopicAlteration, TopicName};
use crate::{ErrorKind, Result};
use bytes::Bytes;
use futures::FutureExt;
use std::collections::BTreeMap;
use std::time::Duration;

/// The checks, in reading order.
pub const CHECKS: &[Check<UpstreamBackend>] = checks![UpstreamBackend:
    an_open_transaction_holds_back,
    a_tail_begins_anywhere,
    a_tail_follows_what_is_appended,
    a_tail_passes_holes,
    a_tail_is_assigned_again,
    a_tail_says_what_is_gone,
    a_tail_waits_for_who_takes,
    more_partitions_are_followed_too,
    a_topic_made_again_is_another,
];

/// Longest wait for what must come: a bound of failures, not a measure.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What a tail brought so far, each run compared with what is promised of it.
pub struct Follower {
    tail: Box<dyn Tail>,
    followed: BTreeMap<(TopicName, u32), Followed>,
}

#[derive(Default)]
struct Followed {
    records: Vec<Record>,
    next: u64,
    time_ms: i64,
}

impl Follower {
    /// A tail of its own at these places.
    pub async fn new(upstream: &dyn Upstream, places: Vec<Place>) -> Follower {
        let mut follower = Follower { tail: upstream.tail().expect("a tail"), followed: BTreeMap::new() };
        follower.assign(places).await;
        follower
    }

    /// Begins anew at these places.
    pub async fn assign(&mut self, places: Vec<Place>) {
        self.followed.clear();
        for place in &places {
            let key = (place.topic.clone(), place.partition);
            self.followed.insert(key, Followed { next: place.from, ..Followed::default() });
        }
        self.tail.assign(places).await.expect("assigned");
    }

    /// Takes what comes next; fails when nothing does.
    pub async fn next(&mut self) -> Result<()> {
        let next = tokio::time::timeout(WAIT_MAX, self.tail.next());
        for run in next.await.expect("something comes")? {
            self.take(run);
        }
        Ok(())
    }

    fn take(&mut self, run: Run) {
        let key = (run.topic.clone(), run.partition);
        let followed = self.followed.get_mut(&key).expect("only what is assigned is handed out");
        for record in run.records {
            assert!(record.offset >= followed.next, "{key:?}: nothing comes twice or out of order");
            assert!(record.append_time_ms >= followed.time_ms, "{key:?}: append times never go back");
            assert_eq!(record.partition, key.1);
            (followed.next, followed.time_ms) = (record.offset + 1, record.append_time_ms);
            followed.records.push(record);
        }
        assert!(run.next >= followed.next, "{key:?}: a run ends behind its records");
        followed.next = run.next;
    }

    /// Follows until each partition of the topic is where `ends` says.
    pub async fn until(&mut self, topic: &TopicName, ends: &[u64]) {
        let is_behind = |follower: &Follower| {
            let next = |partition| follower.followed.get(&(topic.clone(), partition)).map(|f| f.next);
            (0..).zip(ends).any(|(partition, &end)| next(partition).is_some_and(|next| next < end))
        };
        while is_behind(self) {
            self.next().await.expect("nothing is wrong");
        }
    }

    /// The records of a partition since the last assignment.
    pub fn records(&self, topic: &TopicName, partition: u32) -> &[Record] {
        &self.followed[&(topic.clone(), partition)].records
    }
}

/// A place in each partition of a topic.
pub fn places(topic: &TopicName, from: &[u64]) -> Vec<Place> {
    let place = |(partition, &from)| Place { topic: topic.clone(), partition, from };
    (0..).zip(from).map(place).collect()
}

/// What stands behind an open transaction is not seen before it is over.
async fn an_open_transaction_holds_back(b: UpstreamBackend) {
    let topic = b.create("a").await;
    b.fill(&topic, 0..500).await;
    let before = b.latest(&topic).await;
    b.foreign.hold(&topic, 6).await;
    b.fill(&topic, 500..1000).await;
    let held = b.upstream.describe(&topic).await.expect("described");
    assert_eq!(held.latest[6], before[6]);
    assert!(held.high[6] > held.latest[6] && held.high[5] == held.latest[5]);
    let read = fetch(&b, &topic, all_of(6), 1 << 20).await;
    assert_eq!(read.len() as u64, before[6]);
    let mut follower = Follower::new(&*b.upstream, places(&topic, &[0; 12])).await;
    follower.until(&topic, &held.latest).await;
    assert_eq!(follower.records(&topic, 6).len() as u64, before[6]);
    b.foreign.release(&topic, 6).await;
    let after = b.latest(&topic).await;
    assert!(after[6] > held.high[6], "its mark");
    follower.until(&topic, &after).await;
    assert_eq!(follower.records(&topic, 6), fetch(&b, &topic, all_of(6), 1 << 20).await);
}

/// From the start, the middle and the end, over two topics and all their partitions.
async fn a_tail_begins_anywhere(b: UpstreamBackend) {
    let (first, second) = (b.create("a").await, b.create("b").await);
    b.fill(&first, 0..4000).await;
    b.fill(&second, 0..3000).await;
    let (of_first, of_second) = (b.latest(&first).await, b.latest(&second).await);
    let begin = |partition: usize, end: u64| [0, end / 2, end][partition % 3];
    let from = |ends: &[u64]| ends.iter().enumerate().map(|(p, &end)| begin(p, end)).collect::<Vec<_>>();
    let mut all = places(&first, &from(&of_first));
    all.extend(places(&second, &from(&of_second)));
    let mut follower = Follower::new(&*b.upstream, all).await;
    for (topic, ends) in [(&first, &of_first), (&second, &of_second)] {
        follower.until(topic, ends).await;
        for (partition, (&from, &end)) in (0..).zip(from(ends).iter().zip(ends)) {
            let span = Span { partition, from, until: end };
            assert_eq!(offsets(follower.records(topic, partition)), (from..end).collect::<Vec<_>>());
            assert_eq!(follower.records(topic, partition).len(), fetch(&b, topic, span, 1 << 20).await.len());
        }
    }
}

/// What is appended comes, while another future is polled in between and the wait is given up again and again.
async fn a_tail_follows_what_is_appended(b: UpstreamBackend) {
    let topic = b.create("a").await;
    let mut follower = Follower::new(&*b.upstream, places(&topic, &[0; 12])).await;
    for start in (0..3000).step_by(100) {
        b.fill(&topic, start..start + 100).await;
        // Given up at once: what it would have brought is not lost.
        if let Some(runs) = follower.tail.next().now_or_never() {
            runs.expect("nothing is wrong").into_iter().for_each(|run| follower.take(run));
        }
        if start % 700 == 0 {
            follower.until(&topic, &b.latest(&topic).await).await;
        }
    }
    follower.until(&topic, &b.latest(&topic).await).await;
    for partition in 0..PARTITIONS {
        let stored = fetch(&b, &topic, all_of(partition), 1 << 20).await;
        assert_eq!(offsets(follower.records(&topic, partition)), offsets(&stored));
    }
}

/// Marks and what was aborted make no records, and the tail passes them, also at the end.
async fn a_tail_passes_holes(b: UpstreamBackend) {
    let topic = b.create("a").await;
    let mut early = Follower::new(&*b.upstream, places(&topic, &[0; 12])).await;
    let there = holes(&b, &topic, 3).await;
    let ends = b.latest(&topic).await;
    early.until(&topic, &ends).await;
    assert_eq!(offsets(early.records(&topic, 3)), there);
    let mut late = Follower::new(&*b.upstream, places(&topic, &[0; 12])).await;
    late.until(&topic, &ends).await;
    assert_eq!(offsets(late.records(&topic, 3)), there);
    for from in [there[0] - 1, there[1], there[3] + 1, ends[3] - 1] {
        late.assign(vec![Place { topic: topic.clone(), partition: 3, from }]).await;
        late.until(&topic, &ends).await;
        let expected: Vec<u64> = there.iter().copied().filter(|&offset| offset >= from).collect();
        assert_eq!(offsets(late.records(&topic, 3)), expected, "from {from}");
    }
}

/// After an assignment only what it names comes, from where it says.
async fn a_tail_is_assigned_again(b: UpstreamBackend) {
    let (first, second) = (b.create("a").await, b.create("b").await);
    b.fill(&first, 0..3000).await;
    b.fill(&second, 0..3000).await;
    let ends = b.latest(&first).await;
    let mut follower = Follower::new(&*b.upstream, places(&first, &[0; 12])).await;
    for round in 0..20_u64 {
        follower.next().await.expect("nothing is wrong");
        let from: Vec<u64> = ends.iter().map(|&end| end * (round % 7) / 7).collect();
        let mut wanted = places(&first, &from);
        // Backwards, forwards, the same; other partitions and another topic come and go.
        wanted.retain(|place| place.partition as u64 % 5 != round % 5);
        if round % 3 == 0 {
            wanted.extend(places(&second, &from));
        }
        follower.assign(wanted).await;
    }
    let from: Vec<u64> = ends.iter().map(|&end| end / 3).collect();
    follower.assign(places(&first, &from)).await;
    follower.until(&first, &ends).await;
    for (partition, (&from, &end)) in (0..).zip(from.iter().zip(&ends)) {
        assert_eq!(offsets(follower.records(&first, partition)), (from..end).collect::<Vec<_>>());
    }
    // Where it stands already it goes on.
    follower.assign(places(&first, &ends)).await;
    b.fill(&first, 3000..4000).await;
    let later = b.latest(&first).await;
    follower.until(&first, &later).await;
    for (partition, (&from, &end)) in (0..).zip(ends.iter().zip(&later)) {
        assert_eq!(offsets(follower.records(&first, partition)), (from..end).collect::<Vec<_>>());
    }
    follower.assign(Vec::new()).await;
    b.fill(&first, 4000..4100).await;
    assert!(follower.tail.next().now_or_never().is_none(), "nothing is followed");
}

/// A place outside its partition is an error and no jump; a place inside heals it.
async fn a_tail_says_what_is_gone(b: UpstreamBackend) {
    let topic = b.create("a").await;
    b.fill(&topic, 0..2000).await;
    let ends = b.latest(&topic).await;
    b.trim(&topic, 4, 50).await;
    for outside in [49, ends[4] + 1000] {
        let mut from = vec![0; 12];
        from[4] = outside;
        let mut follower = Follower::new(&*b.upstream, places(&topic, &from)).await;
        // Asked for again it is told again.
        for _ in 0..2 {
            let error = loop {
                match follower.next().await {
                    Ok(()) => assert!(follower.records(&topic, 4).is_empty(), "it does not jump"),
                    Err(error) => break error,
                }
            };
            assert_eq!((error.kind(), error.code()), (ErrorKind::Gone, "position_unrecoverable"));
            follower.assign(places(&topic, &from)).await;
        }
        from[4] = 50;
        follower.assign(places(&topic, &from)).await;
        follower.until(&topic, &ends).await;
        assert!(offsets(follower.records(&topic, 4)).into_iter().eq(50..ends[4]));
    }
}

/// While nobody takes, more is appended than any queue holds: it is all there afterwards.
async fn a_tail_waits_for_who_takes(b: UpstreamBackend) {
    let topic = b.create("a").await;
    let mut follower = Follower::new(&*b.upstream, places(&topic, &[0; 12])).await;
    let large = |n: usize| NewRecord { value: Some(Bytes::from(vec![n as u8; 50_000])), ..nth(n) };
    for start in (0..1200).step_by(100) {
        b.append(parts(&topic, (start..start + 100).map(large).collect())).await;
    }
    let ends = b.latest(&topic).await;
    follower.until(&topic, &ends).await;
    for (partition, &end) in (0..).zip(&ends) {
        assert!(offsets(follower.records(&topic, partition)).into_iter().eq(0..end));
    }
}

/// Partitions that are added are described, and followed from their start.
async fn more_partitions_are_followed_too(b: UpstreamBackend) {
    let topic = b.create("a").await;
    b.fill(&topic, 0..1000).await;
    let ends = b.latest(&topic).await;
    let mut follower = Follower::new(&*b.upstream, places(&topic, &ends)).await;
    let id = b.upstream.describe(&topic).await.expect("described").id;
    let change = TopicAlteration { partitions: Some(15), ..TopicAlteration::default() };
    b.topics.alter(topic.clone(), change).await.expect("altered");
    let more = b.upstream.describe(&topic).await.expect("described");
    assert_eq!((more.id, more.spec.partitions, more.latest.len()), (id, 15, 15));
    let part = |partition| Part { topic: topic.clone(), partition, records: (0..10).map(nth).collect() };
    // Whoever writes may learn of them a little later: until then nothing is stored.
    let is_known = async || {
        let one = Part { records: vec![nth(0)], ..part(14) };
        matches!(b.upstream.append(vec![one]).await.expect("it is tried")[0][0], Appended::Stored(_))
    };
    let learned = async { while !is_known().await {} };
    tokio::time::timeout(WAIT_MAX, learned).await.expect("they are known in the end");
    b.append((0..15).map(part).collect()).await;
    follower.assign(places(&topic, &more.latest)).await;
    let later = b.latest(&topic).await;
    follower.until(&topic, &later).await;
    for (partition, (&from, &end)) in (0..).zip(more.latest.iter().zip(&later)) {
        assert_eq!(end, from + 10 + u64::from(partition == 14));
        assert!(offsets(follower.records(&topic, partition)).into_iter().eq(from..end));
    }
}

/// A topic that is gone is not described; one of the same name made later has another identity and begins at 0.
async fn a_topic_made_again_is_another(b: UpstreamBackend) {
    let topic = b.create("a").await;
    b.fill(&topic, 0..1000).await;
    let before = b.upstream.describe(&topic).await.expect("described");
    let mut follower = Follower::new(&*b.upstream, places(&topic, &[0; 12])).await;
    follower.until(&topic, &before.latest).await;
    b.topics.delete(topic.clone()).await.expect("deleted");
    let gone = b.upstream.describe(&topic).await.expect_err("the topic is gone");
    assert_eq!((gone.kind(), gone.code()), (ErrorKind::NotFound, "unknown_topic"));
    assert_eq!(b.create("a").await, topic);
    let after = b.upstream.describe(&topic).await.expect("described");
    assert_ne!(after.id, before.id);
    assert_eq!(after.latest, [0; 12]);
    b.fill(&topic, 1000..2000).await;
    let ends = b.latest(&topic).await;
    follower.assign(places(&topic, &[0; 12])).await;
    follower.until(&topic, &ends).await;
    for (partition, &end) in (0..).zip(&ends) {
        assert!(offsets(follower.records(&topic, partition)).into_iter().eq(0..end));
    }
}
