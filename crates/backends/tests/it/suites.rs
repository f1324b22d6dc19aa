//! The conformance suites over a real cluster.

use crate::cluster::{Cluster, shared, topics};
use crate::foreign::Transactions;
use dualstream_core::testing::{self, UpstreamBackend};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[tokio::test(flavor = "multi_thread")]
async fn upstream() {
    let cluster = shared();
    testing::upstream(async || backend(cluster.clone())).await;
}

fn backend(cluster: Arc<Cluster>) -> UpstreamBackend {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("check-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let upstream = cluster.upstream(&[]);
    let topics = Arc::new(topics(&upstream));
    let foreign = Arc::new(Transactions::new(&cluster.bootstrap(), &prefix));
    UpstreamBackend { upstream: Arc::new(upstream), topics, foreign, prefix, keep: Box::new(cluster) }
}
