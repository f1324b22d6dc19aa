//! The thread that consumes: what librdkafka fetched becomes runs, places become its assignment.

use super::positions::Positions;
use super::shelf::{Item, Order, Shelf, Step};
use super::source::Source;
use super::unavailable;
use dualstream_core::mirror::Place;
use dualstream_core::{Error, Result};
use dualstream_kafka_ffi::Batch;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;

/// Most messages that become runs at once.
const BATCH_MAX: usize = 2_000;
/// An order wakes the consumer: this is only for a wake-up that comes too early.
const WAIT: Duration = Duration::from_millis(200);

/// What the thread owns.
pub(super) struct Reader {
    source: Source,
    shelf: Arc<Shelf>,
    positions: Positions,
}

impl Reader {
    /// It follows nothing yet.
    pub(super) fn new(source: Source, shelf: Arc<Shelf>) -> Reader {
        Reader { source, shelf, positions: Positions::default() }
    }

    /// Reads until nobody wants it any more.
    pub(super) fn run(mut self) {
        loop {
            match self.shelf.step() {
                Step::Read => {
                    match next_batch(&mut self.source, &mut self.positions, WAIT) {
                        Ok(items) => self.shelf.put(items),
                        // A client that cannot read does not come to again: who reads is told, and opens another.
                        Err(error) => return self.shelf.put(vec![Item { outcome: Err(error), bytes: 0 }]),
                    }
                }
                Step::Order(Order { places, done }) => {
                    // Nobody waits for it if the task was dropped.
                    let _ = done.send(self.follow(places));
                }
                Step::End => return,
            }
        }
    }

    fn follow(&mut self, places: Vec<Place>) -> Result<()> {
        let (left, taken) = self.positions.follow(places);
        let assign = || -> Result<(), KafkaError> {
            if !left.is_empty() {
                self.source.consumer.incremental_unassign(&list(&left)?)?;
            }
            if !taken.is_empty() {
                self.source.consumer.incremental_assign(&list(&taken)?)?;
            }
            Ok(())
        };
        let outcome = assign();
        if outcome.is_err() {
            // Which of both lists hold is not known: the next order takes up everything.
            self.positions = Positions::default();
            // An error leaves it as it is, and the next order fails as this one did.
            let _ = self.source.consumer.unassign();
        }
        outcome.map_err(refused)
    }
}

/// What comes next. An error is the client's, and of no partition.
pub(crate) fn next_batch(
    source: &mut Source,
    positions: &mut Positions,
    wait: Duration,
) -> Result<Vec<Item>> {
    let taken = source.take(wait, BATCH_MAX)?;
    let mut items = positions.replaced(&taken.replaced);
    items.extend(positions.sort(taken.batches.iter().flatten().flat_map(Batch::iter), taken.ids));
    Ok(items)
}

/// Whatever ends the thread, nobody waits for it.
impl Drop for Reader {
    fn drop(&mut self) {
        self.shelf.close();
    }
}

/// Places as librdkafka knows them.
pub(crate) fn list(places: &[Place]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    let out_of_range = |_| KafkaError::OffsetFetch(RDKafkaErrorCode::InvalidArgument);
    for place in places {
        let partition = i32::try_from(place.partition).map_err(out_of_range)?;
        let offset = Offset::Offset(i64::try_from(place.from).map_err(out_of_range)?);
        list.add_partition_offset(place.topic.as_str(), partition, offset)?;
    }
    Ok(list)
}

/// An assignment that was not taken.
pub(crate) fn refused(error: KafkaError) -> Error {
    unavailable("Kafka's client does not take the partitions to read").with_source(error)
}
