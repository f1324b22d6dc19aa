//! Damage: what is lost is told, once, in its place, and alike in both directions.
//!
//! It runs only where the backend can damage what it stored.

use super::sample::{bounds, create, fill, places};
use super::{Backend, Check, checks, read_all};
use crate::filter::{Filter, source_of};
use crate::log::{Gap, Log, Read, Span};
use crate::record::Record;
use crate::topic::TopicName;
use std::collections::BTreeSet;

/// The checks.
pub const CHECKS: &[Check<Backend>] = checks![Backend:
    damage_is_told_in_both_directions,
    damage_just_before_the_end_of_a_span_is_told,
];

const EVENTS: usize = 1200;

/// What a reader met, in the order it met it.
#[derive(Default)]
struct Met {
    records: Vec<Record>,
    gaps: Vec<Gap>,
}

impl Met {
    /// Reads a stretch in pages.
    async fn read(
        log: &dyn Log,
        topic: &TopicName,
        filter: &Filter,
        spans: Vec<Span>,
        records_max: usize,
        reverse: bool,
    ) -> Met {
        let (epoch, mut met) = (bounds(log, topic).epoch, Met::default());
        let (topic, filter) = (topic.clone(), filter.clone());
        let mut read = Read { topic, epoch, spans, filter, records_max, bytes_max: 1 << 20, reverse };
        while !read.is_over() {
            let page = log.read(read.clone()).await.expect("damage is no error");
            read.go_on(&page);
            let before = met.records.len();
            met.gaps.extend(page.gaps.iter().map(|gap| Gap { after: before + gap.after, ..*gap }));
            met.records.extend(page.records);
        }
        met
    }

    /// Offsets told as lost; each is told once.
    fn lost(&self) -> BTreeSet<(u32, u64)> {
        let offsets = || self.gaps.iter().flat_map(|g| (g.from..g.until).map(|offset| (g.partition, offset)));
        let lost: BTreeSet<_> = offsets().collect();
        assert_eq!(offsets().count(), lost.len(), "told once: {:?}", self.gaps);
        assert!(self.gaps.iter().all(|g| g.from < g.until), "a gap is not empty");
        lost
    }

    /// A gap comes behind what stands before it in its partition, and before what stands behind it.
    fn check_places(&self, reverse: bool) {
        for gap in &self.gaps {
            for (at, record) in self.records.iter().enumerate().filter(|(_, r)| r.partition == gap.partition)
            {
                let is_before = if reverse { record.offset >= gap.until } else { record.offset < gap.from };
                assert_eq!(is_before, at < gap.after, "{gap:?} around offset {}", record.offset);
            }
        }
    }
}

async fn damaged(b: &Backend, at: &[usize]) -> Option<(TopicName, Vec<Record>)> {
    let damage = b.damage.as_ref()?;
    let topic = create(b, "a").await;
    fill(&*b.log, &topic, 0, EVENTS).await;
    let all = read_all(&*b.log, &topic).await;
    at.iter().for_each(|&at| damage(&topic, &all[at]));
    Some((topic, all))
}

fn own(record: &Record) -> Filter {
    let (kind, id) = source_of(&record.headers, record.key.as_deref()).expect("an event");
    Filter::source(format!("{}:{}", String::from_utf8_lossy(kind), String::from_utf8_lossy(id)))
}

/// Every wanted record is either there or told as lost, whatever the filter, the direction and the size of the pages.
async fn damage_is_told_in_both_directions(b: Backend) {
    let victims = [7, 300, 301, 650, EVENTS - 1];
    let Some((topic, all)) = damaged(&b, &victims).await else { return };
    let ends = bounds(&*b.log, &topic);
    let filters = [Filter::All, Filter::prefix("repo:"), own(&all[300]), own(&all[EVENTS - 1])];
    for filter in filters {
        let mut both = Vec::new();
        for (records_max, reverse) in [1, 3, 64, 10_000].into_iter().flat_map(|n| [(n, false), (n, true)]) {
            let spans = Span::all(&ends.earliest, &ends.latest);
            let met = Met::read(&*b.log, &topic, &filter, spans, records_max, reverse).await;
            let (lost, mut there) = (met.lost(), met.records.clone());
            met.check_places(reverse);
            if reverse {
                there.reverse();
            }
            let is_there = |r: &&Record| !lost.contains(&(r.partition, r.offset));
            let wanted = all.iter().filter(|r| filter.matches_record(r)).filter(is_there);
            let wanted: Vec<Record> = wanted.cloned().collect();
            assert_eq!(places(&there), places(&wanted), "{filter:?} by {records_max}, reverse: {reverse}");
            for victim in victims.map(|at| &all[at]).into_iter().filter(|r| filter.matches_record(r)) {
                assert!(lost.contains(&(victim.partition, victim.offset)), "{filter:?}, reverse: {reverse}");
            }
            both.push(lost);
        }
        assert!(both.iter().all(|lost| *lost == both[0]), "both directions tell the same, {filter:?}");
    }
}

/// Also when the first whole record behind the damage is not wanted any more, or the last before it.
async fn damage_just_before_the_end_of_a_span_is_told(b: Backend) {
    let Some((topic, all)) = damaged(&b, &[600]).await else { return };
    let victim = &all[600];
    let (partition, offset) = (victim.partition, victim.offset);
    let ends = bounds(&*b.log, &topic);
    let (earliest, latest) = (ends.earliest[partition as usize], ends.latest[partition as usize]);
    for filter in [Filter::All, own(victim)] {
        for (from, until) in [(earliest, offset + 1), (offset, latest), (offset, offset + 1)] {
            for reverse in [false, true] {
                let spans = vec![Span { partition, from, until }];
                let met = Met::read(&*b.log, &topic, &filter, spans, 10, reverse).await;
                let told = met.lost().contains(&(partition, offset));
                assert!(told, "{filter:?} {from}..{until}, reverse: {reverse}");
                let outside = met.gaps.iter().find(|g| g.from < from || g.until > until);
                assert!(outside.is_none(), "only of what was asked for: {outside:?}");
            }
        }
    }
}
