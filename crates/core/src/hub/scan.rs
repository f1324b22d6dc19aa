//! Reading a stretch of a topic page by page, in either direction, for history and for "the last so many".

use super::reader::Interest;
use super::shared::Shared;
use super::vector::{offset_in, shaped};
use crate::Result;
use crate::log::{Gap, Read, Span};
use crate::position::{Cursor, Next};
use crate::record::Record;
use crate::topic::Epoch;

/// A stretch that is being read.
pub(super) struct Scan<'a> {
    shared: &'a Shared,
    interest: &'a Interest,
    epoch: Epoch,
    /// The shape of cursors.
    like: Next,
    /// One per partition that matters.
    spans: Vec<Span>,
    partitions: usize,
    reverse: bool,
}

impl<'a> Scan<'a> {
    /// The stretch from `from` up to `until`.
    pub(super) fn new(
        shared: &'a Shared,
        interest: &'a Interest,
        epoch: Epoch,
        from: &Next,
        until: &Next,
        partitions: usize,
        reverse: bool,
    ) -> Scan<'a> {
        let span = |partition| {
            let (from, until) = (offset_in(from, partition), offset_in(until, partition));
            (from != u64::MAX).then_some(Span { partition, from, until })
        };
        let spans = (0..partitions as u32).filter_map(span).collect();
        Scan { shared, interest, epoch, like: from.clone(), spans, partitions, reverse }
    }

    /// Whether everything was read.
    pub(super) fn is_done(&self) -> bool {
        self.spans.iter().all(|s| s.from >= s.until)
    }

    /// Where it goes on: the next offsets, or in reverse the end of what is left.
    pub(super) fn cursor(&self) -> Cursor {
        let mut vector = vec![0; self.partitions];
        for span in &self.spans {
            vector[span.partition as usize] = if self.reverse { span.until } else { span.from };
        }
        Cursor { epoch: self.epoch, next: shaped(&self.like, vector) }
    }

    /// The next records, at most `records_max`, and what is damaged between them; nothing does not mean that it is done.
    pub(super) async fn page(
        &mut self,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<(Vec<Record>, Vec<Gap>)> {
        let spans: Vec<Span> = self.spans.iter().filter(|s| s.from < s.until).copied().collect();
        let read = Read {
            topic: self.interest.topic.clone(),
            epoch: self.epoch,
            spans: spans.clone(),
            filter: self.interest.filter.clone(),
            records_max,
            bytes_max,
            reverse: self.reverse,
        };
        let page = self.shared.log.read(read).await?;
        for (read, next) in spans.iter().zip(page.next) {
            let own = self.spans.iter_mut().find(|s| s.partition == read.partition);
            let own = own.expect("it was read because it is one of them");
            match self.reverse {
                true => own.until = own.until.min(next),
                false => own.from = own.from.max(next),
            }
        }
        Ok((page.records, page.gaps))
    }
}
