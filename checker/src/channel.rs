//! Which keys a subscription wants.

/// A key, or all keys that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel<'a> {
    One(&'a str),
    Beginning(&'a str),
}

impl<'a> Channel<'a> {
    /// Text that ends in `*` is the beginning of keys.
    pub(crate) fn of(text: &'a str) -> Channel<'a> {
        match text.strip_suffix('*') {
            Some(beginning) => Channel::Beginning(beginning),
            None => Channel::One(text),
        }
    }

    pub(crate) fn takes(self, key: &str) -> bool {
        match self {
            Channel::One(wanted) => key == wanted,
            Channel::Beginning(beginning) => key.starts_with(beginning),
        }
    }
}
