//! What a crash leaves that no catalog names is removed by the next start; what is not the log's own is left alone.

use crate::image::Image;
use crate::rig::{PARTITIONS, Rig, small, topic};
use dualstream_core::log::Log;
use dualstream_core::topic::TopicSpec;
use dualstream_core::topics::Topics;
use dualstream_log::Storage;
use dualstream_log::storage::{Fault, Mode, Op};

/// Every file is one that the catalog explains.
fn check(rig: &Rig, what: &str) {
    let catalog = String::from_utf8(Image::of(&rig.storage).0.remove("catalog").unwrap()).unwrap();
    let words = catalog.lines().filter_map(|line| line.strip_prefix("topic "));
    let known: Vec<&str> = words.filter_map(|line| line.split(' ').next()).collect();
    let mut found = rig.storage.list("topics").unwrap();
    found.sort_by_key(|name| name.parse::<u32>().unwrap());
    assert_eq!(found, known, "{what}");
    assert_eq!(Image::of(&rig.storage).ending(".new"), Vec::<String>::new(), "{what}");
}

#[tokio::test(start_paused = true)]
async fn what_no_catalog_names_is_removed() {
    for step in 0..45 {
        let mut rig = Rig::start(small(), step).await;
        for i in 0..200 {
            rig.publish(&topic("chat"), &[(i % 9, &i.to_string())]).await.unwrap();
        }
        rig.storage.crash_at_step(rig.storage.steps() + step);
        let _deleted = rig.log.delete(topic("chat")).await;
        let _created = rig.log.create(TopicSpec::events(topic("extra"))).await;
        rig.checkpoint().await;
        rig.kill();
        match step % 2 {
            0 => rig.storage.crash_keep_all(),
            _ => rig.storage.crash(&*rig.entropy),
        }
        rig = rig.reopen().unwrap();
        check(&rig, &format!("step {step}"));
        rig.publish(&topic("events"), &[(1, "goes on")]).await.unwrap();
        let _created = rig.log.create(TopicSpec::events(topic("another"))).await.unwrap();
        assert_eq!(rig.log.bounds(&topic("another")).unwrap().latest, [0; PARTITIONS as usize]);
        assert_eq!(rig.log.damage(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_logs_own_is_left() {
    let rig = Rig::start(small(), 1).await;
    let files = [
        "topics/7/notes.txt",
        "topics/lost+found/1",
        "topics/01/00000000000000000000.segment",
        "topics/1/a.new",
    ];
    for path in files {
        rig.storage.create_dir(path.rsplit_once('/').unwrap().0).unwrap();
        rig.storage.open(path, Mode::Write).unwrap();
    }
    for path in [
        "checkpoint.new",
        "topics/1/00000000000000000000.segment.new",
        "topics/1/00000000000000000000.index.new",
    ] {
        rig.storage.open(path, Mode::Write).unwrap();
    }
    rig.kill();
    rig.storage.crash_keep_all();
    let rig = rig.reopen().unwrap();
    let image = Image::of(&rig.storage);
    assert!(files.iter().all(|path| image.0.contains_key(*path)), "{:?}", image.0.keys());
    assert_eq!(image.ending(".new"), ["topics/1/a.new"]);
}

/// A catalog from a backup names fewer topics than there are stores: it never gave their numbers away, so they are not
/// its own to remove.
#[tokio::test(start_paused = true)]
async fn stores_newer_than_the_catalog_are_set_aside() {
    let rig = with_an_old_catalog().await;
    let mut rig = rig.reopen().unwrap();
    assert!(rig.log.damage().iter().any(|line| line.contains("topics/3")), "{:?}", rig.log.damage());
    // Whatever the catalog does later: the store is never taken for one that was deleted, nor its files for a new one's.
    for name in ["another", "one-more"] {
        rig.log.create(TopicSpec::events(topic(name))).await.unwrap();
        rig = rig.restart().await;
    }
    assert_eq!(rig.storage.list("topics").unwrap(), ["1", "2", "3.foreign", "4", "5"]);
    assert_precious(&rig, "3.foreign");
}

/// A log whose catalog was put back: it does not know the store 3, which has records.
async fn with_an_old_catalog() -> Rig {
    let rig = Rig::start(small(), 1).await;
    let old = Image::of(&rig.storage).0["catalog"].clone();
    rig.log.create(TopicSpec::events(topic("newer"))).await.unwrap();
    rig.publish(&topic("newer"), &[(1, "precious")]).await.unwrap();
    rig.checkpoint().await;
    rig.kill();
    rig.storage.crash_keep_all();
    rig.storage.corrupt("catalog", |bytes| *bytes = old).unwrap();
    rig
}

fn assert_precious(rig: &Rig, dir: &str) {
    let precious = rig.storage.open(&format!("topics/{dir}/{:020}.segment", 0), Mode::Read).unwrap();
    assert!(precious.len().unwrap() > 200);
}

/// The name for what is set aside may be taken by an earlier one, or by a person.
#[tokio::test(start_paused = true)]
async fn a_store_is_set_aside_under_a_name_that_is_free() {
    let rig = with_an_old_catalog().await;
    rig.storage.create_dir("topics/3.foreign").unwrap();
    rig.storage.open("topics/3.foreign/x", Mode::Write).unwrap();
    rig.storage.open("topics/3.foreign-2", Mode::Write).unwrap();
    let mut rig = rig.reopen().unwrap();
    assert!(
        rig.log.damage().iter().any(|line| line.contains("topics/3.foreign-3")),
        "{:?}",
        rig.log.damage()
    );
    for name in ["another", "one-more"] {
        rig.log.create(TopicSpec::events(topic(name))).await.unwrap();
        rig = rig.restart().await;
    }
    let mut stores = rig.storage.list("topics").unwrap();
    stores.sort();
    assert_eq!(stores, ["1", "2", "3.foreign", "3.foreign-2", "3.foreign-3", "4", "5"]);
    assert_eq!(rig.storage.list("topics/3.foreign").unwrap(), ["x"]);
    assert_precious(&rig, "3.foreign-3");
}

/// Left under its number it would be removed by the start after the next topic was created.
#[tokio::test(start_paused = true)]
async fn a_log_is_not_opened_over_a_store_that_cannot_be_set_aside() {
    for op in [Op::Rename, Op::SyncDir] {
        let rig = with_an_old_catalog().await;
        let (settings, storage, clock, entropy) =
            (rig.settings.clone(), rig.storage.clone(), rig.clock.clone(), rig.entropy.clone());
        // The first sync of a directory is that of the root.
        let nth = if op == Op::Rename { 1 } else { 2 };
        storage.fail_next(op, nth, Fault::Eio);
        assert_eq!(rig.reopen().err().map(|error| error.code()), Some("storage_error"), "{op:?}");
        storage.crash_lose_all();
        let rig = Rig::open(settings, storage, clock, entropy).unwrap();
        rig.log.create(TopicSpec::events(topic("another"))).await.unwrap();
        let rig = rig.restart().await;
        assert_precious(&rig, "3.foreign");
    }
}
