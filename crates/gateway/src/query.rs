//! The query string of a request, strictly: every name known, and given once unless it may repeat.

use dualstream_core::Error;
use http::Uri;

/// Names and values of a query string.
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads the query of `uri`, in which only the names of `known` may occur.
    ///
    /// # Errors
    /// `unknown_parameter`.
    pub fn new(uri: &Uri, known: &[&str]) -> Result<Query, Error> {
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(Query { pairs }),
            Some((name, _)) => {
                let name: String = name.chars().take(64).collect();
                let message = format!("the parameters here are {}", known.join(", "));
                Err(Error::invalid("unknown_parameter", name, message))
            }
        }
    }

    /// The value of a name that may occur once.
    ///
    /// # Errors
    /// `repeated_parameter`.
    pub fn one(&self, name: &'static str) -> Result<Option<&str>, Error> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => {
                Err(Error::invalid("repeated_parameter", name, format!("{name} may be given once")))
            }
            (value, None) => Ok(value),
        }
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A number of `1..=max`.
    ///
    /// # Errors
    /// `invalid_parameter` with the limit.
    pub fn count(&self, name: &'static str, max: usize) -> Result<Option<usize>, Error> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        text.parse().ok().filter(|count| (1..=max).contains(count)).map(Some).ok_or_else(|| {
            let message = format!("{name} is a number from 1 to {max}");
            Error::invalid("invalid_parameter", name, message).with_limit(max as u64)
        })
    }

    /// One of some words.
    ///
    /// # Errors
    /// `invalid_parameter` with the words.
    pub fn word<T: Copy>(&self, name: &'static str, words: &[(&str, T)]) -> Result<Option<T>, Error> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| Some(*value)).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Error::invalid("invalid_parameter", name, format!("{name} is {}", words.join(" or ")))
        })
    }
}
