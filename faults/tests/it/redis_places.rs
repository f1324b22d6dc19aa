//! Redis in several places, by their number in the matrix: 5, a failover by Sentinels, asked for, forced by a death and
//! silent; and a Cluster whose slots and masters move.

use dualstream_faults::BusStage;
use dualstream_faults::bus_stage::SHARDED;
use dualstream_services::redis::{Cluster, Sentinel, Setup};
use std::path::Path;

/// 5: another server becomes the master, because somebody asks for it and because the master dies.
#[tokio::test(flavor = "multi_thread")]
async fn f05_sentinels_make_another_server_the_master() {
    let setup = Setup::new();
    let mut stage = BusStage::<Sentinel>::set("f05", &[], |dir| setup.start_sentinel(dir, 3)).await.unwrap();
    let load = stage.load();
    load.more(100).await.unwrap();
    let fault = stage.recorder.bus_fault("a failover is asked for");
    let master = stage.redis.fail_over().unwrap();
    load.more(100).await.unwrap();
    stage.until_healed().await.unwrap();
    fault.ends();
    let fault = stage.recorder.bus_fault("the master is killed");
    stage.redis.until_watched().unwrap();
    stage.redis.servers[master].process.kill().unwrap();
    let next = stage.redis.until_master_is_not(master).unwrap();
    load.more(100).await.unwrap();
    stage.until_healed().await.unwrap();
    fault.ends();
    let fault = stage.recorder.bus_fault("the old master is back, and its successor hangs");
    stage.redis.servers[master].restart().unwrap();
    stage.redis.until_watched().unwrap();
    stage.redis.servers[next].process.pause().unwrap();
    stage.redis.until_master_is_not(next).unwrap();
    load.more(100).await.unwrap();
    stage.redis.servers[next].process.resume().unwrap();
    stage.until_healed().await.unwrap();
    fault.ends();
    stage.judge(load).await.unwrap();
}

/// 5: the master is detached: it goes on for nobody, with all connections of the node open, while another one is the
/// master for everybody else. Then only the subscribers stay behind.
#[tokio::test(flavor = "multi_thread")]
async fn f05_a_detached_master_keeps_its_connections() {
    let setup = Setup::new();
    let mut stage = BusStage::<Sentinel>::set("f05d", &[], |dir| setup.start_sentinel(dir, 1)).await.unwrap();
    let load = stage.load();
    load.more(100).await.unwrap();
    for publishers_are_told in [true, false] {
        let fault = stage.recorder.bus_fault("the master is detached");
        let before = stage.redis.master().unwrap().unwrap();
        let now = stage.redis.detach().unwrap();
        if publishers_are_told {
            stage.redis.servers[before].command(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
        }
        load.more(100).await.unwrap();
        stage.until_left(before).await.unwrap();
        stage.until_healed().await.unwrap();
        fault.ends();
        // It follows again, or there would be nobody to detach to.
        let master = stage.redis.servers[now].endpoint();
        let (host, port) = (master.ip().to_string(), master.port().to_string());
        stage.redis.servers[before].command(&["REPLICAOF", &host, &port]).unwrap();
        stage.redis.until_watched().unwrap();
    }
    stage.judge(load).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_moves_its_slots_and_masters() {
    slots_and_masters_move("slots", &[]).await;
}

/// Each channel is at its master alone, and moves with it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "another Cluster with replicas for what the tests of the bus hold on one without: cargo xtask faults"]
async fn a_sharded_cluster_moves_its_slots_and_masters() {
    slots_and_masters_move("sharded", &[SHARDED]).await;
}

/// A Cluster moves slots of channels, and a master dies whose replica takes over.
async fn slots_and_masters_move(name: &str, settings: &[&str]) {
    let start = |dir: &Path| Setup::new().start_cluster(dir, true);
    let mut stage = BusStage::<Cluster>::set(name, settings, start).await.unwrap();
    let load = stage.load();
    load.more(100).await.unwrap();
    let fault = stage.recorder.bus_fault("slots move");
    for channel in ["tokens:session-1", "live:0-5", "live:idle-1"] {
        let slot = stage.redis.slot(channel).unwrap();
        let owner = stage.redis.owner(slot).unwrap();
        stage.redis.move_slot(slot, (owner + 1) % 3).unwrap();
    }
    load.more(100).await.unwrap();
    stage.until_healed().await.unwrap();
    fault.ends();
    let fault = stage.recorder.bus_fault("a master is killed");
    let slot = stage.redis.slot("tokens:session-1").unwrap();
    let owner = stage.redis.owner(slot).unwrap();
    stage.redis.servers[owner].process.kill().unwrap();
    stage.redis.until_whole().unwrap();
    load.more(100).await.unwrap();
    stage.until_healed().await.unwrap();
    fault.ends();
    stage.judge(load).await.unwrap();
}
