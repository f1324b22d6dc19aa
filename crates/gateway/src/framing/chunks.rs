//! The chunked coding (RFC 9112, section 7.1), to find its end.

use super::head::{FIELDS_MAX, is_token};

/// Bytes of chunk extensions in one body. Nothing is known that uses them.
const EXTENSION_BYTES_MAX: u32 = 4 << 10;
/// Bytes of trailer fields in one body.
const TRAILER_BYTES_MAX: u32 = 8 << 10;
/// Hexadecimal digits of a size.
const DIGITS_MAX: u8 = 15;

/// Where a chunked body stands.
#[derive(Debug, Default)]
pub struct Chunks {
    at: At,
    /// Size of the chunk, as far as it is read; then bytes of it that are still to come.
    left: u64,
    digits: u8,
    extension_bytes: u32,
    trailer_bytes: u32,
    fields: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum At {
    #[default]
    Size,
    Extension,
    /// At the LF after a size.
    SizeEnd,
    Data,
    /// At the CR, then the LF, after the data of a chunk.
    DataCr,
    DataLf,
    /// At a line after the last chunk.
    Field,
    FieldName,
    FieldValue,
    FieldEnd,
    /// At the LF of the empty line that ends it all.
    End,
}

impl Chunks {
    /// Takes the next bytes. Where among them the body ends, `None` when all belong to it.
    ///
    /// # Errors
    /// So many bytes are fine; the one after them is not.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, usize> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let At::Data = self.at {
                let used = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.left -= used as u64;
                at += used;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            if let (At::End, b'\n') = (self.at, byte) {
                return Ok(Some(at + 1));
            }
            self.at = self.next(byte).ok_or(at)?;
            at += 1;
        }
        Ok(None)
    }

    /// What stands after `byte`, which is not data; `None` when it may not be there.
    fn next(&mut self, byte: u8) -> Option<At> {
        match (self.at, byte) {
            (At::Size, b'\r' | b';') if self.digits == 0 => None,
            (At::Size | At::Extension, b'\r') => Some(At::SizeEnd),
            (At::Size, b';') => Some(At::Extension),
            (At::Size, digit) => self.push_digit(digit),
            (At::Extension, byte) => {
                self.extension_bytes += 1;
                (is_text(byte) && self.extension_bytes <= EXTENSION_BYTES_MAX).then_some(At::Extension)
            }
            (At::SizeEnd, b'\n') => {
                self.digits = 0;
                Some(if self.left == 0 { At::Field } else { At::Data })
            }
            (At::DataCr, b'\r') => Some(At::DataLf),
            (At::DataLf, b'\n') => Some(At::Size),
            (At::Field, b'\r') => Some(At::End),
            (At::Field, byte) if is_token(byte) => {
                self.fields += 1;
                self.count(At::FieldName)
            }
            (At::FieldName, b':') => Some(At::FieldValue),
            (At::FieldName, byte) if is_token(byte) => self.count(At::FieldName),
            (At::FieldValue, b'\r') => Some(At::FieldEnd),
            (At::FieldValue, byte) if is_text(byte) => self.count(At::FieldValue),
            (At::FieldEnd, b'\n') => Some(At::Field),
            _ => None,
        }
    }

    fn push_digit(&mut self, digit: u8) -> Option<At> {
        let value = char::from(digit).to_digit(16)?;
        self.digits += 1;
        self.left = self.left << 4 | u64::from(value);
        (self.digits <= DIGITS_MAX).then_some(At::Size)
    }

    fn count(&mut self, next: At) -> Option<At> {
        self.trailer_bytes += 1;
        (self.trailer_bytes <= TRAILER_BYTES_MAX && self.fields <= FIELDS_MAX).then_some(next)
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
