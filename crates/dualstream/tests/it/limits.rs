//! The reference page of limits against the settings that are compiled in.

use crate::server::{ANY, Server};
use dualstream::settings::DEFAULT_TOML;
use std::io::{Read, Write};
use std::net::TcpStream;
use toml::{Table, Value};

const LIMITS: &str = include_str!("../../../../docs/reference/limits.md");

/// `64MiB` as the page writes it: `64 MiB`; a number with commas: `15,000`.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap();
            if unit == 0 { text.clone() } else { format!("{} {}", &text[..unit], &text[unit..]) }
        }
        Value::Integer(number) => {
            let digits = number.to_string();
            let groups: Vec<&str> =
                digits.as_bytes().rchunks(3).rev().map(|g| str::from_utf8(g).unwrap()).collect();
            groups.join(",")
        }
        other => panic!("{other} is no limit"),
    }
}

#[test]
fn the_page_of_limits_has_the_defaults() {
    let defaults: Table = DEFAULT_TOML.parse().unwrap();
    let table = LIMITS.split("\n## ").nth(1).unwrap();
    let mut rows = 0;
    for line in table.lines().filter(|line| line.contains(" | `")) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let path = cells[2].split('`').nth(1).unwrap();
        let value = match path.split_once('.') {
            Some((section, name)) => &defaults[section][name],
            None => &defaults[path],
        };
        let wanted = shown(value);
        let is_shown =
            cells[1] == wanted || cells[1].strip_prefix(&wanted).is_some_and(|rest| rest.starts_with('/'));
        assert!(is_shown, "{line}: the default is {wanted}");
        rows += 1;
    }
    assert!(rows >= 20, "{rows} rows");
}

#[test]
fn the_page_of_limits_has_every_setting_of_limits() {
    let defaults: Table = DEFAULT_TOML.parse().unwrap();
    for name in defaults["limits"].as_table().unwrap().keys() {
        assert!(LIMITS.contains(&format!("`limits.{name}`")), "limits.{name} is not on the page");
    }
}

#[test]
fn a_limit_that_is_set_is_the_limit_of_connections() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), ANY, &["--set", "limits.message_bytes_max=1KiB"]);
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket
        .write_all(
            b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    // The header alone of a message of 1,025 bytes.
    socket.write_all(&[0x81, 0xfe, 0x04, 0x01, 0, 0, 0, 0]).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let closed = [&[0x88, 17][..], &1009_u16.to_be_bytes(), b"message too big"].concat();
    assert!(answer.ends_with(&closed), "{}", String::from_utf8_lossy(&answer));
}
