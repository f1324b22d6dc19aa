//! A topic that is made again while it is followed: what is of the one is never shown as the other's.

use super::*;

/// Records of the lives of a topic: each life has more than the one before.
fn of_life(life: usize) -> std::ops::Range<usize> {
    life * 10_000..life * 10_000 + 100 * life
}

/// The records that can be read in an epoch, as far as they can.
async fn read_of(node: &Node, topic: &TopicName, bounds: &Bounds) -> Vec<Record> {
    let mut all = Vec::new();
    for partition in 0..PARTITIONS {
        let (mut from, until) = (0, u64::MAX);
        loop {
            let spans = vec![Span { partition, from, until }];
            let (topic, epoch, filter) = (topic.clone(), bounds.epoch, Filter::All);
            let read =
                Read { topic, epoch, spans, filter, records_max: 1_000, bytes_max: 1 << 20, reverse: false };
            let Ok(page) = node.log.read(read).await else { break };
            all.extend(page.records);
            if page.next[0] == from {
                break;
            }
            from = page.next[0];
        }
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_made_again_is_never_shown_in_the_epoch_of_before() {
    // All from the mirror; nearly all upstream, in chunks that nobody read before.
    for backfill in [65_536, 4] {
        let cluster = Cluster::with_topics().await;
        let topic = name("events");
        let node = cluster.node(settings(backfill)).await;
        for life in 1..20 {
            let before = of_life(life);
            cluster.fill(&topic, before.start, before.end);
            node.level(&topic).await;
            let bounds = node.log.bounds(&topic).unwrap();
            cluster.upstream.delete(topic.clone()).await.unwrap();
            cluster.upstream.create(TopicSpec::events(topic.clone())).await.unwrap();
            cluster.fill(&topic, of_life(life + 1).start, of_life(life + 1).end);
            while node.log.bounds(&topic).unwrap().epoch == bounds.epoch {
                for record in read_of(&node, &topic, &bounds).await {
                    let id = id_of(&record).unwrap();
                    let number: usize = id.trim_start_matches("id-").parse().unwrap();
                    assert!(before.contains(&number), "life {life} holds {id} at {}", record.offset);
                }
                let wait = node.log.wait(&topic, bounds.epoch, &bounds.latest);
                let _not_changed = tokio::time::timeout(Duration::from_millis(10), wait).await;
            }
        }
        node.task.abort();
    }
}
