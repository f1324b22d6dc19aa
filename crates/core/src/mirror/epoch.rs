//! The epoch of a topic that stands upstream: which life of its offsets a position belongs to.

use crate::Result;
use crate::mirror::Epochs;
use crate::topic::{Epoch, TopicName};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use xxhash_rust::xxh3::xxh3_64;

/// The epoch of a topic with this identity and number of partitions, in its generation: another one after it was
/// recreated, repartitioned or truncated.
///
/// XXH3 (64 bits, seed 0) of 28 bytes, big-endian: identity (16), partitions (4), generation (8). Stable: the positions
/// that clients hold are made of it.
pub fn epoch_of(topic_id: u128, partitions: u32, generation: u64) -> Epoch {
    let mut bytes = [0; 28];
    bytes[..16].copy_from_slice(&topic_id.to_be_bytes());
    bytes[16..20].copy_from_slice(&partitions.to_be_bytes());
    bytes[20..].copy_from_slice(&generation.to_be_bytes());
    Epoch(xxh3_64(&bytes))
}

/// The epochs of topics that never lost records: for whoever reads a cluster without taking part in its decisions.
#[derive(Clone, Copy, Debug)]
pub struct FirstGeneration;

impl Epochs for FirstGeneration {
    fn epoch(&self, _: &TopicName, id: u128, partitions: u32) -> Result<Epoch> {
        Ok(epoch_of(id, partitions, 0))
    }

    fn truncated<'a>(&'a self, _: &'a TopicName, _: u128, _: u32, _: Epoch) -> BoxFuture<'a, Result<()>> {
        ready(Ok(())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients hold positions of other versions: these numbers never change.
    #[test]
    fn epochs_are_what_they_always_were() {
        let id = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff;
        assert_eq!(epoch_of(0, 0, 0), Epoch(0xce61_ca9d_7b6f_0bb2));
        assert_eq!(epoch_of(id, 12, 0), Epoch(0x7225_f68c_36ca_011e));
        assert_eq!(epoch_of(id, 12, 1), Epoch(0x2290_99e6_8ea3_1a74));
        assert_eq!(epoch_of(id, 24, 0), Epoch(0xc657_5f76_0916_b09b));
    }

    #[test]
    fn each_part_of_it_makes_another() {
        let all = [epoch_of(7, 12, 0), epoch_of(8, 12, 0), epoch_of(7, 13, 0), epoch_of(7, 12, 1)];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{all:?}");
    }
}
