//! Redis: one server that keeps nothing on disk.

use crate::ports;
use crate::process::{Launch, Process};
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

const READY_MAX: Duration = Duration::from_secs(20);
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Ports may be taken by another program between the look and the start.
const TRIES: u32 = 5;

/// A Redis server.
#[derive(Debug)]
pub struct Redis {
    /// Where it serves, also after a restart.
    pub address: SocketAddr,
    /// The process.
    pub process: Process,
}

impl Redis {
    /// Starts one with its files in `dir`, and waits until it answers.
    pub fn start(dir: &Path, is_detached: bool) -> Result<Redis> {
        std::fs::create_dir_all(dir)?;
        let mut outcome = Redis::try_start(dir, is_detached);
        for _ in 1..TRIES {
            if outcome.as_ref().is_err_and(|error| format!("{error:#}").contains("Address already in use")) {
                outcome = Redis::try_start(dir, is_detached);
            }
        }
        outcome
    }

    fn try_start(dir: &Path, is_detached: bool) -> Result<Redis> {
        let address = ports::free(1)?[0];
        let port = address.port().to_string();
        let dir_text = dir.to_str().context("a directory of Redis has a UTF-8 name")?;
        let args =
            ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir_text];
        let launch = Launch {
            name: "redis-server".into(),
            program: "redis-server".into(),
            args: args.map(Into::into).to_vec(),
            log: dir.join("redis.log"),
            is_detached,
        };
        let process = Process::start(launch).context("Redis is the Debian package redis-server")?;
        let mut redis = Redis { address, process };
        redis.until_ready()?;
        Ok(redis)
    }

    /// Waits until it answers.
    pub fn until_ready(&mut self) -> Result<()> {
        let address = self.address;
        self.process.until(READY_MAX, "answers", || ping(address).is_ok())
    }

    /// Starts it again after its end, and waits until it answers.
    pub fn restart(&mut self) -> Result<()> {
        self.process.restart()?;
        self.until_ready()
    }
}

/// Asks a server whether it is there.
pub fn ping(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    anyhow::ensure!(answer == *b"+PONG\r\n", "{address} is no Redis server");
    Ok(())
}
