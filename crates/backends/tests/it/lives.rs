//! Topics that are made again under those who read them: each record is told with the topic it is of.

use crate::cluster::{name, shared, topics};
use crate::publish::{part, stored};
use dualstream_core::ErrorKind;
use dualstream_core::log::Span;
use dualstream_core::mirror::{Run, Tail, Upstream};
use dualstream_core::record::Record;
use dualstream_core::testing::tail_places;
use dualstream_core::topic::TopicSpec;
use dualstream_core::topics::Topics;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often one topic is made again.
const LIVES: usize = 8;
/// Each life has so many records more than the one before, in each of these partitions.
const MORE: usize = 40;
const PARTITIONS: [u32; 3] = [0, 5, 11];

fn of_life(life: usize) -> std::ops::Range<usize> {
    life * 10_000..life * 10_000 + MORE * (life + 1)
}

/// The life that a record says it is of.
fn life_of(record: &Record) -> usize {
    let number = std::str::from_utf8(record.value.as_ref().unwrap()).unwrap();
    number.parse::<usize>().unwrap() / 10_000
}

fn judge(run: &Run, lives: &BTreeMap<u128, usize>) {
    for record in &run.records {
        let told = lives.get(&run.id).copied();
        assert_eq!(told, Some(life_of(record)), "partition {} offset {}", run.partition, record.offset);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_never_told_as_one_of_a_topic_of_before() {
    let cluster = shared();
    let (upstream, reader) = (cluster.upstream(&[]), cluster.upstream(&[]));
    let (topics, topic) = (topics(&upstream), name("lives"));
    let mut lives = BTreeMap::new();
    let (mut tail, mut ends) = (None, [0; 12]);
    for life in 0..LIVES {
        topics.create(TopicSpec::events(topic.clone())).await.unwrap();
        lives.insert(upstream.describe(&topic).await.unwrap().id, life);
        for partition in PARTITIONS {
            stored(&upstream, part(&topic, partition, of_life(life))).await;
            ends[partition as usize] = (of_life(life).len()) as u64;
        }
        let places = tail_places(&topic, &[0; 12]);
        let follow = async |tail: &mut Box<dyn Tail>| {
            let mut next = [0; 12];
            while next != ends {
                match tokio::time::timeout(Duration::from_secs(60), tail.next()).await.expect("it goes on") {
                    Ok(runs) => runs.iter().for_each(|run| {
                        judge(run, &lives);
                        next[run.partition as usize] = run.next;
                    }),
                    Err(error) => {
                        assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Gone), "{error}");
                        return false;
                    }
                }
            }
            true
        };
        // Whoever follows since the life before goes on at its end, where this life has records too.
        if let Some(tail) = &mut tail {
            follow(tail).await;
        }
        for partition in PARTITIONS {
            let span = Span { partition, from: 0, until: u64::MAX };
            if let Ok(run) = reader.fetch(&topic, span, 1 << 20).await {
                judge(&run, &lives);
            }
        }
        // One that begins now has it all.
        let mut fresh = reader.tail().unwrap();
        fresh.assign(places).await.unwrap();
        assert!(follow(&mut fresh).await, "nothing is in its way");
        tail = Some(fresh);
        topics.delete(topic.clone()).await.unwrap();
    }
}
