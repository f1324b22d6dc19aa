//! Real processes on a real directory: killed in the middle of publishing, and two of them at once.

use crate::publisher::{Acked, Publisher, check, open_dir, settings};
use dualstream_core::ErrorKind;
use dualstream_log::FileStorage;
use std::collections::BTreeMap;

const KILLS: u32 = 100;
/// Kills between two checks of everything.
const CHECK_EVERY: u32 = 10;

#[test]
fn killed_in_the_middle_of_publishing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut acked, mut seen) = (Acked::new(), BTreeMap::new());
    for round in 0..KILLS {
        let mut publisher = Publisher::start(dir.path(), round);
        let wanted = 1 + (round as usize * 7) % 60;
        assert_eq!(publisher.note(&mut acked, wanted), wanted, "round {round}: it ended by itself");
        publisher.kill(&mut acked);
        if round % CHECK_EVERY == CHECK_EVERY - 1 {
            check(dir.path(), &acked, &mut seen);
        }
    }
    let stored = check(dir.path(), &acked, &mut seen);
    println!("{KILLS} kills, {} events acknowledged, {stored} stored", acked.len());
    assert!(acked.len() > KILLS as usize && stored >= acked.len());
}

#[test]
fn second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut acked = Acked::new();
    let mut publisher = Publisher::start(dir.path(), 0);
    publisher.note(&mut acked, 1);
    for error in
        [FileStorage::open(dir.path()).unwrap_err(), open_dir(dir.path(), settings()).map(drop).unwrap_err()]
    {
        assert_eq!(error.code(), "data_dir_locked");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
    }
    publisher.kill(&mut acked);
    // The lock goes with the process.
    check(dir.path(), &acked, &mut BTreeMap::new());
}
