//! Where a page of connections ended: an instance, and a place within it.

use dualstream_core::registry::{InstanceId, PageEnd, page_invalid};
use dualstream_core::{Error, Result};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// As text `instance`, `instance~client` or `instance:end`; an id of an instance has neither sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The instance.
    pub instance: InstanceId,
    /// Where in it; `None` at its beginning.
    pub end: Option<End>,
}

/// Where in an instance: by the list a node keeps of its own clients, or by the registry. The text says which, because
/// the node that is asked for the next page may be another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Behind this client, in the order of their ids.
    Client(Uuid),
    /// Where a page of the registry ended.
    Registry(PageEnd),
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Place> {
        let (instance, end) = match text.split_once([':', '~']) {
            Some((instance, end)) if text[instance.len()..].starts_with('~') => {
                let client = Uuid::parse_str(end).map_err(|_| page_invalid())?;
                (instance, Some(End::Client(client)))
            }
            Some((instance, end)) => (instance, Some(End::Registry(PageEnd(end.into())))),
            None => (text, None),
        };
        Ok(Place { instance: InstanceId::new(instance).map_err(|_| page_invalid())?, end })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            Some(End::Client(client)) => write!(f, "{}~{client}", self.instance),
            Some(End::Registry(end)) => write!(f, "{}:{}", self.instance, end.0),
            None => write!(f, "{}", self.instance),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_from_its_text() {
        let client = "a-1~0b7f6f0e-6a6b-4f0e-9f3d-1c2b3a495867";
        for text in ["a-1", "a-1:17", "a_1:x:y:", "a:", "a:~x", client] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        assert!(matches!(client.parse::<Place>().unwrap().end, Some(End::Client(_))));
        for text in ["", ":17", "a b:1", "a~", "a~17", "~"] {
            assert_eq!(text.parse::<Place>().unwrap_err().code(), "page_invalid");
        }
    }
}
