//! The names of the simulated disk: a tree of directories, each with the names it has and the names that are durable.

use super::content::Content;
use super::{Survival, below, lock};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

/// All directories and files of a disk.
#[derive(Default)]
pub(super) struct Tree {
    root: Shared<Directory>,
}

type Shared<T> = Arc<Mutex<T>>;
type Names = BTreeMap<String, Node>;

/// What a name stands for. Clones are links to the same thing.
#[derive(Clone)]
enum Node {
    File(Shared<Content>),
    Directory(Shared<Directory>),
}

#[derive(Default)]
struct Directory {
    live: Names,
    synced: Names,
    /// What turns `synced` into `live`, but for what a failed sync dropped.
    changes: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Link(String, Node),
    Unlink(String),
    /// Within one directory: one step.
    Move(String, String, Node),
}

impl Tree {
    pub(super) fn file(&self, path: &[&str]) -> io::Result<Shared<Content>> {
        let (parent, name) = self.parent(path)?;
        match lock(&parent).live.get(name) {
            Some(Node::File(file)) => Ok(file.clone()),
            Some(Node::Directory(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// The file a durable path leads to.
    pub(super) fn synced_file(&self, path: &[&str]) -> Option<Shared<Content>> {
        let (name, parents) = path.split_last()?;
        let mut directory = self.root.clone();
        for part in parents {
            let Some(Node::Directory(next)) = lock(&directory).synced.get(*part).cloned() else {
                return None;
            };
            directory = next;
        }
        match lock(&directory).synced.get(*name) {
            Some(Node::File(file)) => Some(file.clone()),
            _ => None,
        }
    }

    pub(super) fn names(&self, path: &[&str]) -> io::Result<Vec<String>> {
        let directory = self.directory(path)?;
        let names = lock(&directory).live.keys().cloned().collect();
        Ok(names)
    }

    pub(super) fn create_file(&self, path: &[&str]) -> io::Result<Shared<Content>> {
        let (parent, name) = self.parent(path)?;
        let file = Shared::default();
        lock(&parent).change(Change::Link(name.to_owned(), Node::File(Arc::clone(&file))));
        Ok(file)
    }

    pub(super) fn create_directory(&self, path: &[&str]) -> io::Result<()> {
        let mut directory = self.root.clone();
        for part in path {
            let found = lock(&directory).live.get(*part).cloned();
            directory = match found {
                Some(Node::Directory(next)) => next,
                Some(Node::File(_)) => return Err(ErrorKind::NotADirectory.into()),
                None => {
                    let next = Shared::default();
                    let link = Change::Link((*part).to_owned(), Node::Directory(Arc::clone(&next)));
                    lock(&directory).change(link);
                    next
                }
            };
        }
        Ok(())
    }

    pub(super) fn rename(&self, from: &[&str], to: &[&str]) -> io::Result<()> {
        let ((parent, name), (new_parent, new_name)) = (self.parent(from)?, self.parent(to)?);
        let node = lock(&parent).live.get(name).cloned().ok_or(ErrorKind::NotFound)?;
        if let Some(Node::Directory(_)) = lock(&new_parent).live.get(new_name) {
            return Err(ErrorKind::IsADirectory.into());
        }
        if !Arc::ptr_eq(&parent, &new_parent) {
            lock(&new_parent).change(Change::Link(new_name.to_owned(), node));
            lock(&parent).change(Change::Unlink(name.to_owned()));
        } else if name != new_name {
            lock(&parent).change(Change::Move(name.to_owned(), new_name.to_owned(), node));
        }
        Ok(())
    }

    pub(super) fn remove(&self, path: &[&str]) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let node = lock(&parent).live.get(name).cloned().ok_or(ErrorKind::NotFound)?;
        if let Node::Directory(directory) = node
            && !lock(&directory).live.is_empty()
        {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        lock(&parent).change(Change::Unlink(name.to_owned()));
        Ok(())
    }

    pub(super) fn sync(&self, path: &[&str]) -> io::Result<()> {
        let directory = self.directory(path)?;
        lock(&directory).sync();
        Ok(())
    }

    /// A sync that failed: the changes are taken for clean, and a crash loses them.
    pub(super) fn sync_failed(&self, path: &[&str]) -> io::Result<()> {
        let directory = self.directory(path)?;
        lock(&directory).changes.clear();
        Ok(())
    }

    /// Bytes of all files that have a name.
    pub(super) fn space(&self) -> u64 {
        space(&self.root)
    }

    pub(super) fn crash(&self, survival: Survival<'_>) {
        crash(&self.root, survival);
    }

    fn directory(&self, path: &[&str]) -> io::Result<Shared<Directory>> {
        let mut directory = self.root.clone();
        for part in path {
            let found = lock(&directory).live.get(*part).cloned();
            directory = match found {
                Some(Node::Directory(next)) => next,
                Some(Node::File(_)) => return Err(ErrorKind::NotADirectory.into()),
                None => return Err(ErrorKind::NotFound.into()),
            };
        }
        Ok(directory)
    }

    fn parent<'a>(&self, path: &[&'a str]) -> io::Result<(Shared<Directory>, &'a str)> {
        let (name, parents) = path.split_last().ok_or(ErrorKind::IsADirectory)?;
        Ok((self.directory(parents)?, name))
    }
}

impl Directory {
    fn change(&mut self, change: Change) {
        apply(&mut self.live, change.clone());
        self.changes.push(change);
    }

    fn sync(&mut self) {
        for change in self.changes.drain(..) {
            apply(&mut self.synced, change);
        }
    }
}

fn apply(names: &mut Names, change: Change) {
    match change {
        Change::Link(name, node) => {
            names.insert(name, node);
        }
        Change::Unlink(name) => {
            names.remove(&name);
        }
        Change::Move(from, to, node) => {
            names.remove(&from);
            names.insert(to, node);
        }
    }
}

fn space(directory: &Shared<Directory>) -> u64 {
    let nodes: Vec<Node> = lock(directory).live.values().cloned().collect();
    nodes
        .iter()
        .map(|node| match node {
            Node::File(file) => lock(file).space(),
            Node::Directory(directory) => space(directory),
        })
        .sum()
}

fn crash(directory: &Shared<Directory>, survival: Survival<'_>) {
    let nodes: Vec<Node> = {
        let mut directory = lock(directory);
        let changes = directory.changes.len() as u64;
        let kept = match survival {
            Survival::Nothing => 0,
            Survival::Everything => changes,
            Survival::Chance(entropy) => below(entropy, changes + 1),
        };
        directory.changes.truncate(kept as usize);
        directory.sync();
        directory.live = directory.synced.clone();
        directory.live.values().cloned().collect()
    };
    for node in nodes {
        match node {
            Node::File(file) => lock(&file).crash(survival),
            Node::Directory(directory) => crash(&directory, survival),
        }
    }
}
