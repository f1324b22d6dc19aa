//! Transactions: all or nothing, one owner, bounded.

use super::sample::{bounds, create, fill, nth, part};
use super::{Backend, Check, checks, read_all};
use crate::ErrorKind;
use crate::record::NewRecord;
use crate::transaction::COMMIT_BYTES_MAX;
use bytes::Bytes;

/// The checks, in reading order.
pub const CHECKS: &[Check<Backend>] = checks![Backend:
    nothing_is_readable_before_the_commit,
    abort_and_drop_leave_nothing,
    a_newer_owner_fences_the_older,
    names_do_not_fence_each_other,
    too_large_leaves_it_as_it_was,
];

/// Then everything is, in all topics, with the offsets that were answered.
async fn nothing_is_readable_before_the_commit(b: Backend) {
    let (one, two) = (create(&b, "a").await, create(&b, "b").await);
    let name = format!("{}-app", b.prefix);
    for round in 0..5 {
        let mut transaction = b.transactions.begin(&name).await.expect("begun");
        for n in 0..100 {
            let topic = if n % 3 == 0 { &two } else { &one };
            transaction.append(part(topic, nth(round * 100 + n))).expect("it fits");
        }
        assert_eq!(read_all(&*b.log, &one).await.len(), round * 66);
        // Others commit meanwhile and are not held back.
        fill(&*b.log, &create(&b, &format!("other-{round}")).await, 0, 10).await;
        let committed = transaction.commit().await.expect("committed");
        assert_eq!(committed.parts.len(), 100);
        assert_eq!(read_all(&*b.log, &one).await.len(), (round + 1) * 66);
        assert_eq!(read_all(&*b.log, &two).await.len(), (round + 1) * 34);
    }
}

/// Aborted, dropped: no record, no offset used.
async fn abort_and_drop_leave_nothing(b: Backend) {
    let topic = create(&b, "a").await;
    let name = format!("{}-app", b.prefix);
    for abort in [true, false] {
        let mut transaction = b.transactions.begin(&name).await.expect("begun");
        transaction.append(part(&topic, nth(1))).expect("it fits");
        match abort {
            true => transaction.abort(),
            false => drop(transaction),
        }
    }
    assert!(bounds(&*b.log, &topic).latest.iter().all(|&end| end == 0));
    let mut transaction = b.transactions.begin(&name).await.expect("begun");
    transaction.append(part(&topic, nth(1))).expect("it fits");
    transaction.commit().await.expect("committed");
    assert_eq!(read_all(&*b.log, &topic).await.len(), 1);
}

/// Once somebody begins under a name, earlier transactions of it commit nothing.
async fn a_newer_owner_fences_the_older(b: Backend) {
    let topic = create(&b, "a").await;
    let name = format!("{}-app", b.prefix);
    let mut old = b.transactions.begin(&name).await.expect("begun");
    old.append(part(&topic, nth(1))).expect("it fits");
    let mut new = b.transactions.begin(&name).await.expect("begun");
    let fenced = old.commit().await.expect_err("a newer owner began");
    assert_eq!(fenced.kind(), ErrorKind::Fenced);
    new.append(part(&topic, nth(2))).expect("it fits");
    new.commit().await.expect("committed");
    assert_eq!(read_all(&*b.log, &topic).await.len(), 1);
}

/// Owners of different names work side by side.
async fn names_do_not_fence_each_other(b: Backend) {
    let topic = create(&b, "a").await;
    let mut open = Vec::new();
    for n in 0..10 {
        let mut transaction = b.transactions.begin(&format!("{}-{n}", b.prefix)).await.expect("begun");
        transaction.append(part(&topic, nth(n))).expect("it fits");
        open.push(transaction);
    }
    for transaction in open.into_iter().rev() {
        transaction.commit().await.expect("committed");
    }
    assert_eq!(read_all(&*b.log, &topic).await.len(), 10);
}

/// What would pass the bound is refused; what was appended before stays and commits.
async fn too_large_leaves_it_as_it_was(b: Backend) {
    let topic = create(&b, "a").await;
    let mut transaction = b.transactions.begin(&format!("{}-app", b.prefix)).await.expect("begun");
    let value = Some(Bytes::from(vec![1; 8 << 20]));
    let record = |n: usize| NewRecord {
        key: Some(n.to_string().into()),
        value: value.clone(),
        ..NewRecord::default()
    };
    let mut taken = 0;
    let error = loop {
        match transaction.append(part(&topic, record(taken))) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken * (8 << 20) <= COMMIT_BYTES_MAX, "no bound");
    };
    assert_eq!((error.kind(), error.code()), (ErrorKind::TooLarge, "transaction_too_large"));
    drop(transaction);
    let mut transaction = b.transactions.begin(&format!("{}-app", b.prefix)).await.expect("begun");
    transaction.append(part(&topic, nth(1))).expect("it fits");
    let huge = NewRecord { value: Some(Bytes::from(vec![1; COMMIT_BYTES_MAX])), ..NewRecord::default() };
    assert_eq!(transaction.append(part(&topic, huge)).expect_err("too large").kind(), ErrorKind::TooLarge);
    transaction.append(part(&topic, nth(2))).expect("it fits");
    transaction.commit().await.expect("committed");
    assert_eq!(read_all(&*b.log, &topic).await.len(), 2);
}
