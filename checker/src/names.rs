//! Every name of a history once: ids, keys, topics, processes. A name is compared and indexed as a number.

use std::collections::HashMap;
use std::sync::Arc;

/// A name in one [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(u32);

impl Name {
    /// Its number: from 0, without holes, in the order in which names came.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The names of one history.
#[derive(Clone, Debug, Default)]
pub struct Names {
    texts: Vec<Arc<str>>,
    known: HashMap<Arc<str>, Name>,
}

impl Names {
    /// The name of this text, given to it now if it has none.
    pub fn of(&mut self, text: &str) -> Name {
        if let Some(&name) = self.known.get(text) {
            return name;
        }
        let name = Name(u32::try_from(self.texts.len()).expect("a history has fewer than 2³² names"));
        let text: Arc<str> = text.into();
        self.texts.push(text.clone());
        self.known.insert(text, name);
        name
    }

    /// The text of a name.
    pub fn text(&self, name: Name) -> &str {
        &self.texts[name.index()]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}
