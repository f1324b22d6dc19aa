//! Recording: what handles write, from many threads, and what becomes of a history that breaks a promise.

use dualstream_checker::{
    Blame, Event, History, Kind, Operation, Place, Recorder, Rules, Start, judge, value_crc,
};

const EPOCH: u64 = 3;

fn event<'a>(id: &'a str, key: &'a str) -> Event<'a> {
    Event { topic: "events", key, id, crc: value_crc(id.as_bytes()) }
}

#[test]
fn many_threads_write_one_history() {
    let recorder = Recorder::new();
    let chain = recorder.subscribe("c", "a", Some("events"), "gh:*", Start::Earliest);
    std::thread::scope(|scope| {
        for partition in 0..12_u32 {
            let (recorder, chain) = (recorder.clone(), chain.clone());
            scope.spawn(move || {
                let process = recorder.process(&format!("p{partition}"));
                for offset in 0..100 {
                    let (id, key) = (format!("{partition}-{offset}"), format!("gh:{partition}"));
                    let place = Place { epoch: EPOCH, partition, offset };
                    process.invoke(event(&id, &key)).ok(place);
                    chain.delivered(&id, &key, None, Some(place));
                }
            });
        }
    });
    chain.told(EPOCH, &[100; 12]);
    let read = recorder.full_read("final", "a", "events", EPOCH, &[0; 12]);
    for partition in 0..12_u32 {
        for offset in 0..100 {
            let (id, key) = (format!("{partition}-{offset}"), format!("gh:{partition}"));
            let place = Place { epoch: EPOCH, partition, offset };
            read.met(&id, &key, value_crc(id.as_bytes()), place);
        }
    }
    read.ends(&[100; 12]);
    let report = recorder.expect_clean(&Rules::default(), "never written".as_ref());
    assert_eq!((report.totals.acknowledged, report.totals.delivered, report.totals.read), (1200, 1200, 1200));
}

#[test]
fn outcomes_are_recorded_as_they_are_and_a_dropped_call_as_unknown() {
    let recorder = Recorder::new();
    let process = recorder.process("p");
    process.invoke(event("a", "gh:x")).fail("too_large", Blame::Caller);
    process.invoke(event("b", "gh:x")).info("ack_unknown");
    drop(process.invoke_in_batch(event("c", "gh:x"), 7));
    let history = recorder.history();
    let operations: Vec<_> = history.operations().map(|(_, operation)| operation).collect();
    assert_eq!(
        operations[1],
        Operation::Fail { process: "p", id: "a", code: "too_large", blame: Blame::Caller }
    );
    assert_eq!(operations[3], Operation::Info { process: "p", id: "b", code: "ack_unknown" });
    assert!(matches!(operations[4], Operation::Invoke { id: "c", batch: Some(7), .. }));
    assert_eq!(operations[5], Operation::Info { process: "p", id: "c", code: "abandoned" });
    assert!(judge(&history, &Rules::default()).is_clean());
}

#[test]
fn a_history_that_breaks_a_promise_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("history.jsonl");
    let recorder = Recorder::new();
    recorder.gauge("a", "clients", 1);
    let judged = std::panic::catch_unwind(|| recorder.expect_clean(&Rules::default(), &kept));
    let said = *judged.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("leak (I11 no leak)") && said.contains("history.jsonl"), "{said}");
    assert_eq!(judge(&History::read(&kept).unwrap(), &Rules::default()).kinds(), [Kind::Leak]);
}
