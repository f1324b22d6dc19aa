//! Server-Sent Events (WHATWG HTML, section 9.2.6): bytes to messages, in bounded memory.

/// Most bytes of one message.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// `event:`, empty when it is absent.
    pub event: String,
    /// `data:` lines, joined by line breaks.
    pub data: String,
}

/// Takes the bytes of a stream as they come.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    message: Message,
    has_data: bool,
    id: Option<String>,
    last_id: Option<String>,
}

/// A message passed the limit.
#[derive(Debug, thiserror::Error)]
#[error("a message of the stream is longer than {MESSAGE_BYTES_MAX} bytes")]
pub struct TooLong;

impl Parser {
    /// The id of the last message that ended, also of one without data: what to resume after.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Takes bytes, gives the messages that end in them.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Message>, TooLong> {
        let mut messages = Vec::new();
        for &byte in bytes {
            let second_half = std::mem::replace(&mut self.after_cr, byte == b'\r') && byte == b'\n';
            match byte {
                b'\n' if second_half => {}
                b'\n' | b'\r' => messages.extend(self.end_line()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.message.data.len() > MESSAGE_BYTES_MAX {
                return Err(TooLong);
            }
        }
        Ok(messages)
    }

    fn end_line(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.end_message();
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.message.event = value.to_owned(),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "data" => {
                if self.has_data {
                    self.message.data.push('\n');
                }
                self.has_data = true;
                self.message.data.push_str(value);
            }
            _ => {}
        }
        None
    }

    fn end_message(&mut self) -> Option<Message> {
        if let Some(id) = self.id.take() {
            self.last_id = Some(id);
        }
        let message = std::mem::take(&mut self.message);
        std::mem::take(&mut self.has_data).then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b": hello\nretry: 100\n\nid: 1\nevent: push\ndata: {\"a\":1}\n\n\
        id: 2\r\ndata:x\r\ndata: y\r\n\r\nid: 3\n\n:beat\n\ndata\r\rid: 4\ndata: cut";

    #[test]
    fn any_cut_of_the_bytes_gives_the_same_messages() {
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let found: Vec<Message> =
                STREAM.chunks(size).flat_map(|chunk| parser.feed(chunk).unwrap()).collect();
            let texts: Vec<_> = found.iter().map(|m| (m.event.as_str(), m.data.as_str())).collect();
            assert_eq!(texts, [("push", "{\"a\":1}"), ("", "x\ny"), ("", "")], "{size}");
            assert_eq!(parser.last_id(), Some("3"), "the message with id 4 has not ended");
        }
    }

    #[test]
    fn messages_are_bounded() {
        let mut parser = Parser::default();
        let chunk = vec![b'x'; 1 << 20];
        assert!((0..9).any(|_| parser.feed(&chunk).is_err()));
    }
}
