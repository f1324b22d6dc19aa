//! Tests of the directory on disk: locks, refusals, and the rules of the seam.

use super::*;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_directory_has_one_owner_who_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/b");
    let storage = FileStorage::open(&dir).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let error = FileStorage::open(&dir).unwrap_err();
    assert_eq!((error.code(), error.kind()), ("data_dir_locked", ErrorKind::Unavailable));
    let owner = format!("in use by process {};", std::process::id());
    assert!(error.message().contains(&owner) && error.message().contains(dir.to_str().unwrap()), "{error}");
    assert!(error.message().contains("--data-dir"), "{error}");
    drop(storage);
    FileStorage::open(&dir).expect("the lock goes with its owner");
}

#[test]
fn a_directory_that_cannot_be_written_says_so() {
    let parent = tempfile::tempdir().unwrap();
    let blocked = parent.path().join("file");
    fs::write(&blocked, "").unwrap();
    for dir in [blocked.clone(), blocked.join("below")] {
        let error = FileStorage::open(&dir).unwrap_err();
        assert_eq!(error.code(), "data_dir_not_writable");
        assert!(error.message().contains(dir.to_str().unwrap()), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[test]
fn files_are_written_read_renamed_and_removed() {
    let parent = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(parent.path()).unwrap();
    storage.create_dir("d/e").unwrap();
    storage.create_dir("d/e").unwrap();
    let file = storage.open("d/e/f", Mode::Write).unwrap();
    file.write_at(b"world", 6).unwrap();
    file.write_at(b"hello", 0).unwrap();
    file.sync().unwrap();
    storage.sync_dir("d/e").unwrap();
    let mut buf = [0; 16];
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 11);
    assert_eq!(&buf[..11], b"hello\0world");
    storage.open("d/e/a", Mode::Write).unwrap();
    assert_eq!(storage.list("d/e").unwrap(), ["a", "f"]);
    storage.rename("d/e/f", "d/e/a").unwrap();
    storage.remove("d/e/a").unwrap();
    storage.remove("d/e").unwrap();
    assert_eq!(file.read_at(&mut buf, 9).unwrap(), 2, "an open handle outlives the name");
    assert_eq!(storage.list("d/e").unwrap(), [""; 0]);
    assert_eq!(storage.open("x", Mode::Read).err().unwrap().kind(), io::ErrorKind::NotFound);
    assert_eq!(storage.open("../x", Mode::Write).err().unwrap().kind(), io::ErrorKind::InvalidInput);
    let (free, total) = storage.free_bytes().unwrap();
    assert!(free > 0 && free <= total);
}

#[test]
fn reserved_space_is_not_length() {
    let parent = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(parent.path()).unwrap();
    let file = storage.open("f", Mode::Write).unwrap();
    file.allocate(0).unwrap();
    file.allocate(1 << 20).unwrap();
    assert!(file.is_empty().unwrap());
    file.write_at(b"abc", 0).unwrap();
    file.truncate(2).unwrap();
    assert_eq!(file.len().unwrap(), 2);
}

#[test]
fn what_is_only_read_is_not_made_locked_or_written() {
    let parent = tempfile::tempdir().unwrap();
    let none = parent.path().join("none");
    let error = FileStorage::read_only(&none).unwrap_err();
    assert_eq!((error.code(), error.kind()), ("data_dir_not_readable", ErrorKind::NotFound));
    assert!(!none.exists() && error.message().contains("--data-dir"), "{error}");

    let owner = FileStorage::open(parent.path()).unwrap();
    owner.open("f", Mode::Write).unwrap().write_at(b"abc", 0).unwrap();
    let storage = FileStorage::read_only(parent.path()).unwrap();
    assert_eq!(storage.open("f", Mode::Read).unwrap().len().unwrap(), 3);
    assert!(storage.free_bytes().unwrap().1 > 0);
    let refused = [
        storage.open("f", Mode::Write).err(),
        storage.create_dir("d").err(),
        storage.rename("f", "g").err(),
        storage.remove("f").err(),
    ];
    assert!(refused.into_iter().all(|e| e.unwrap().kind() == io::ErrorKind::ReadOnlyFilesystem));
    assert_eq!(storage.list("").unwrap(), ["f", "lock"]);
    drop(owner);
    FileStorage::open(parent.path()).expect("who only reads holds no lock");
}
