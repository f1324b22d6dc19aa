//! Where a page of connections ended: an instance, and a place within it.

use dualstream_core::registry::{InstanceId, PageEnd, page_invalid};
use dualstream_core::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// As text `instance`, or `instance:end`; an id of an instance has no colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The instance.
    pub instance: InstanceId,
    /// Where in it; `None` at its beginning.
    pub end: Option<PageEnd>,
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Place> {
        let (instance, end) = match text.split_once(':') {
            Some((instance, end)) => (instance, Some(PageEnd(end.into()))),
            None => (text, None),
        };
        Ok(Place { instance: InstanceId::new(instance).map_err(|_| page_invalid())?, end })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            Some(end) => write!(f, "{}:{}", self.instance, end.0),
            None => write!(f, "{}", self.instance),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_from_its_text() {
        for text in ["a-1", "a-1:17", "a_1:x:y:", "a:"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for text in ["", ":17", "a b:1"] {
            assert_eq!(text.parse::<Place>().unwrap_err().code(), "page_invalid");
        }
    }
}
