//! As much of a Redis client as tests need: commands and their answers in RESP2, and what a subscriber is sent.
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word or a string.
    Text(String),
    /// A number.
    Integer(i64),
    /// Nothing.
    Nil,
    /// Values, one after the other.
    Array(Vec<Value>),
}

/// A plain connection.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects; every answer must come within `answer_max`.
    pub fn connect(address: SocketAddr, answer_max: Duration) -> Result<Client> {
        let stream = TcpStream::connect_timeout(&address, answer_max)?;
        stream.set_read_timeout(Some(answer_max))?;
        stream.set_nodelay(true)?;
        Ok(Client { address, stream: BufReader::new(stream) })
    }

    /// Sends a command and reads its answer.
    ///
    /// # Errors
    /// With the words of the server, when that answers with an error.
    pub fn command(&mut self, words: &[&str]) -> Result<Value> {
        self.send(words)?;
        self.read().with_context(|| format!("{} at {}", words.join(" "), self.address))
    }

    /// Sends a command whose answers are read one by one, as those of a subscriber.
    pub fn send(&mut self, words: &[&str]) -> Result<()> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        Ok(self.stream.get_mut().write_all(request.as_bytes())?)
    }

    /// The next answer, or the next thing a subscriber is sent.
    pub fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("it hung up");
        }
        let line = line.trim_end();
        let rest = line.get(1..).unwrap_or_default();
        match line.as_bytes().first() {
            Some(b'+') => Ok(Value::Text(rest.into())),
            Some(b'-') => bail!("{rest}"),
            Some(b':') => Ok(Value::Integer(rest.parse()?)),
            Some(b'$' | b'*') if rest == "-1" => Ok(Value::Nil),
            Some(b'$') => self.bulk(rest.parse()?),
            Some(b'*') => {
                Ok(Value::Array((0..rest.parse()?).map(|_: usize| self.read()).collect::<Result<_>>()?))
            }
            _ => bail!("it is no Redis server: {line}"),
        }
    }

    fn bulk(&mut self, length: usize) -> Result<Value> {
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes)?;
        Ok(Value::Text(String::from_utf8_lossy(&bytes[..length]).into_owned()))
    }
}

impl Value {
    /// The text, if it is one.
    pub fn text(&self) -> Result<&str> {
        match self {
            Value::Text(text) => Ok(text),
            other => bail!("{other:?} is no text"),
        }
    }

    /// The number, if it is one.
    pub fn integer(&self) -> Result<i64> {
        match self {
            Value::Integer(number) => Ok(*number),
            other => bail!("{other:?} is no number"),
        }
    }

    /// The values; none of nothing.
    pub fn array(&self) -> Result<&[Value]> {
        match self {
            Value::Array(values) => Ok(values),
            Value::Nil => Ok(&[]),
            other => bail!("{other:?} is no array"),
        }
    }

    /// What stands after a name among names and values, as in `SENTINEL MASTER`.
    pub fn field(&self, name: &str) -> Result<&str> {
        let pairs = self.array()?.chunks_exact(2);
        let mut named = pairs.filter(|pair| matches!(&pair[0], Value::Text(text) if text == name));
        named.next().with_context(|| format!("there is no {name} in {self:?}"))?[1].text()
    }
}
