//! Events as lines (NDJSON, plain or CloudEvents): read in bounded memory, checked as far as ids need it, given an id
//! where they have none, and cut into batches of the size of one request.
//!
//! Whether a line is a legal event is the server's business.

use super::line_id::LineIds;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::io::{self, BufRead, BufReader, Read};

/// Most lines of one batch.
pub const BATCH_LINES_MAX: usize = 500;
/// Most bytes of one batch; one line always fits.
pub const BATCH_BYTES_MAX: usize = 512 << 10;
/// Longest line: no legal event is longer.
const LINE_BYTES_MAX: usize = 2 << 20;
const READ_BYTES: usize = 256 << 10;

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `{"type","source_type","source_id","data", …}`.
    #[default]
    Plain,
    /// CloudEvents 1.0: it has a `specversion`.
    CloudEvent,
}

/// A line to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in the input, from 1.
    pub number: u64,
    /// One JSON object with an `id`, without line end.
    pub text: Vec<u8>,
    /// How it is written.
    pub form: Form,
}

/// A line that is not sent, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its number in the input, from 1.
    pub number: u64,
    /// One sentence.
    pub reason: String,
}

/// Lines that go into one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The lines, in order, all of one form.
    pub lines: Vec<Line>,
    /// Lines met on the way that are not sent.
    pub rejected: Vec<Rejected>,
    /// Bytes of input read for it.
    pub input_bytes: u64,
}

/// Cuts an input into batches.
pub struct Batches<R> {
    reader: BufReader<R>,
    ids: LineIds,
    /// Sends what it has rather than wait for input: for a pipe somebody types or trickles into.
    eager: bool,
    number: u64,
    held: Option<(Line, u64)>,
}

impl<R: Read> Batches<R> {
    /// For a file: ids by content.
    pub fn of_file(file: R) -> Batches<R> {
        Batches::new(file, LineIds::of_file(), false)
    }

    /// For a pipe with a name, like `/dev/stdin`: ids by content, sent as it comes.
    pub fn of_pipe(pipe: R) -> Batches<R> {
        Batches::new(pipe, LineIds::of_file(), true)
    }

    /// For standard input: fresh ids, sent as it comes.
    pub fn of_stream(stream: R) -> Batches<R> {
        Batches::new(stream, LineIds::fresh(), true)
    }

    fn new(input: R, ids: LineIds, eager: bool) -> Batches<R> {
        Batches { reader: BufReader::with_capacity(READ_BYTES, input), ids, eager, number: 0, held: None }
    }

    /// The next batch; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<Batch>> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        if let Some((line, input_bytes)) = self.held.take() {
            bytes = line.text.len() + 1;
            batch.lines.push(line);
            batch.input_bytes = input_bytes;
        }
        while batch.lines.len() < BATCH_LINES_MAX && batch.rejected.len() < BATCH_LINES_MAX {
            if self.eager && !batch.lines.is_empty() && !self.reader.buffer().contains(&b'\n') {
                break;
            }
            let Some((line, input_bytes)) = self.next_line()? else { break };
            match line {
                Ok(None) => {}
                Err(rejected) => batch.rejected.push(rejected),
                Ok(Some(line)) if !fits(&line, bytes, &batch) => {
                    self.held = Some((line, input_bytes));
                    break;
                }
                Ok(Some(line)) => {
                    bytes += line.text.len() + 1;
                    batch.lines.push(line);
                }
            }
            batch.input_bytes += input_bytes;
        }
        Ok((batch != Batch::default()).then_some(batch))
    }

    /// One line of input: nothing for a blank one, and how many bytes it took.
    #[allow(clippy::type_complexity)]
    fn next_line(&mut self) -> io::Result<Option<(Result<Option<Line>, Rejected>, u64)>> {
        let mut text = Vec::new();
        let mut taken =
            self.reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut text)? as u64;
        if taken == 0 {
            return Ok(None);
        }
        self.number += 1;
        let number = self.number;
        if text.len() > LINE_BYTES_MAX && text.last() != Some(&b'\n') {
            taken += self.skip_line()?;
            let reason = format!("the line is longer than {LINE_BYTES_MAX} bytes");
            return Ok(Some((Err(Rejected { number, reason }), taken)));
        }
        let end = text.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |at| at + 1);
        let line = match text[..end].trim_ascii().is_empty() {
            true => Ok(None),
            false => with_id(&text[..end], &mut self.ids)
                .map(|(text, form)| Some(Line { number, text, form }))
                .map_err(|reason| Rejected { number, reason }),
        };
        Ok(Some((line, taken)))
    }

    fn skip_line(&mut self) -> io::Result<u64> {
        let mut skipped = 0;
        loop {
            let buffer = self.reader.fill_buf()?;
            let end = buffer.iter().position(|&b| b == b'\n').map(|at| at + 1);
            let count = end.unwrap_or(buffer.len());
            self.reader.consume(count);
            skipped += count as u64;
            if end.is_some() || count == 0 {
                return Ok(skipped);
            }
        }
    }
}

/// Whether a line may join a batch that has so many bytes.
fn fits(line: &Line, bytes: usize, batch: &Batch) -> bool {
    batch.lines.last().is_none_or(|last| last.form == line.form && bytes + line.text.len() < BATCH_BYTES_MAX)
}

/// The part of an event that matters here.
#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow, default)]
    specversion: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

/// Tells `"id":null` from no id.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The line as one JSON object that has an id.
fn with_id(line: &[u8], ids: &mut LineIds) -> Result<(Vec<u8>, Form), String> {
    let text = line.trim_ascii();
    let Some(rest) = text.strip_prefix(b"{") else { return Err("the line is not a JSON object".into()) };
    let probe: Probe<'_> =
        serde_json::from_slice(text).map_err(|error| format!("the line is not JSON: {error}"))?;
    let form = if probe.specversion.is_some() { Form::CloudEvent } else { Form::Plain };
    match probe.id.map(RawValue::get) {
        Some("null") => Err("`id` is null: leave it out, or give a string".into()),
        Some(_) => Ok((text.to_vec(), form)),
        None => {
            let comma = if rest.trim_ascii_start().starts_with(b"}") { "" } else { "," };
            Ok(([format!("{{\"id\":\"{}\"{comma}", ids.next(line)).as_bytes(), rest].concat(), form))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(input: &[u8]) -> Vec<Batch> {
        let mut batches = Batches::of_file(input);
        std::iter::from_fn(|| batches.next().unwrap()).collect()
    }

    #[test]
    fn lines_get_ids_where_they_have_none() {
        let found = batches(b"{\"id\":\"own\",\"type\":\"t\"}\r\n\n  \n{\"type\":\"t\"}\n{ }");
        let texts: Vec<_> = found[0]
            .lines
            .iter()
            .map(|line| (line.number, String::from_utf8(line.text.clone()).unwrap()))
            .collect();
        assert_eq!(texts[0], (1, "{\"id\":\"own\",\"type\":\"t\"}".into()));
        assert_eq!(
            (texts[1].0, &texts[1].1[..7], &texts[1].1[39..]),
            (4, "{\"id\":\"", "\",\"type\":\"t\"}")
        );
        assert_eq!((texts[2].0, &texts[2].1[39..]), (5, "\" }"));
        assert_eq!(found[0].input_bytes, 45);
    }

    #[test]
    fn what_is_no_object_is_rejected_by_its_number() {
        let mut long = vec![b' '; LINE_BYTES_MAX + 10];
        long.extend(b"\n[1]\n{\"a\":\n{\"id\":null}\n{\"id\":\"a\",\"id\":\"b\"}\n\xff\n{\"id\":\"x\"}");
        let found = batches(&long);
        let rejected: Vec<_> = found[0].rejected.iter().map(|r| r.number).collect();
        assert_eq!(rejected, [1, 2, 3, 4, 5, 6]);
        assert_eq!(found[0].lines.len(), 1);
    }

    #[test]
    fn a_batch_has_one_form() {
        let found = batches(
            b"{\"id\":\"1\"}\n{\"specversion\":\"1.0\"}\n{\"specversion\":\"1.0\"}\n{\"id\":\"2\"}\n",
        );
        let forms: Vec<_> = found.iter().map(|batch| (batch.lines.len(), batch.lines[0].form)).collect();
        assert_eq!(forms, [(1, Form::Plain), (2, Form::CloudEvent), (1, Form::Plain)]);
    }

    #[test]
    fn batches_are_bounded_in_lines_and_bytes() {
        let many = "{\"id\":\"x\"}\n".repeat(1200);
        let sizes: Vec<_> = batches(many.as_bytes()).iter().map(|batch| batch.lines.len()).collect();
        assert_eq!(sizes, [500, 500, 200]);
        let large = format!("{{\"id\":\"x\",\"data\":\"{}\"}}\n", "y".repeat(200 << 10)).repeat(5);
        let found = batches(large.as_bytes());
        assert_eq!(found.iter().map(|batch| batch.lines.len()).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(found.iter().map(|batch| batch.input_bytes).sum::<u64>(), large.len() as u64);
        let huge = format!("{{\"id\":\"x\",\"data\":\"{}\"}}\n", "y".repeat(800 << 10));
        assert_eq!(batches(huge.as_bytes())[0].lines.len(), 1);
    }

    #[test]
    fn a_stream_is_sent_as_it_comes() {
        struct Trickle(Vec<&'static [u8]>);
        impl Read for Trickle {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let Some(piece) = (!self.0.is_empty()).then(|| self.0.remove(0)) else { return Ok(0) };
                buffer[..piece.len()].copy_from_slice(piece);
                Ok(piece.len())
            }
        }
        let mut batches =
            Batches::of_stream(Trickle(vec![b"{\"id\":\"a\"}\n{\"id\":\"b\"}\n", b"{\"id\":\"c\"}\n"]));
        assert_eq!(batches.next().unwrap().unwrap().lines.len(), 2);
        assert_eq!(batches.next().unwrap().unwrap().lines.len(), 1);
        assert_eq!(batches.next().unwrap(), None);
    }
}
