//! What a simulated event says: its number, which no other event has, and padding.
//!
//! So whoever reads an event anywhere can tell which one it is and whether every byte of it is right.

use bytes::Bytes;

const HEAD: &str = "{\"n\":";
const MIDDLE: &str = ",\"p\":\"";

/// The JSON text of event `n`, `bytes` long unless its number alone takes more.
pub fn body(n: u64, bytes: usize) -> Bytes {
    let mut text = format!("{HEAD}{n}");
    let padding = bytes.saturating_sub(text.len() + MIDDLE.len() + 2);
    if padding > 0 {
        text.push_str(MIDDLE);
        // Not one letter for all events: a byte taken from a neighbour must show.
        let letters = (0..padding as u64).map(|i| char::from(b'a' + ((n * 7 + i) % 26) as u8));
        text.extend(letters);
        text.push('"');
    }
    text.push('}');
    Bytes::from(text)
}

/// The number of the event whose JSON text this is.
pub fn number(text: &str) -> Option<u64> {
    let rest = text.strip_prefix(HEAD)?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_length_and_number() {
        for bytes in [1, 20, 4096] {
            let text = body(123, bytes);
            assert_eq!(number(std::str::from_utf8(&text).unwrap()), Some(123));
            assert!(bytes == 1 || text.len() == bytes);
        }
        assert_eq!(number("{\"n\":}"), None);
        assert_eq!(number("null"), None);
    }
}
