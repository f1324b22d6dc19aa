//! A server as a child process: what it writes goes to a file, and it ends with the value.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);
/// An ordered end that takes longer is none.
const STOP_MAX: Duration = Duration::from_secs(30);
/// What an error shows of a server's log.
const LOG_LINES_SHOWN: usize = 30;

/// How a server is started, and started again.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What messages call it.
    pub name: String,
    /// The program, looked for in the PATH.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The file its output is appended to.
    pub log: PathBuf,
    /// Whether it stays when this program or its terminal ends: only for [`Process::leave`].
    pub is_detached: bool,
}

/// A running server, killed with the value.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    /// `None` after its end.
    child: Option<Child>,
}

impl Process {
    /// Starts a program; whether it serves yet is for [`until`](Process::until) to say.
    pub fn start(launch: Launch) -> Result<Process> {
        let mut process = Process { launch, child: None };
        process.restart()?;
        Ok(process)
    }

    /// Starts it again as it was, after its end.
    pub fn restart(&mut self) -> Result<()> {
        let Launch { name, program, args, log, is_detached } = &self.launch;
        if self.child.is_some() {
            bail!("{name} runs: end it before it is started again");
        }
        let out = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        if *is_detached {
            command.process_group(0);
        }
        let child =
            command.spawn().with_context(|| format!("cannot start {name} ({})", program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The file its output is in.
    pub fn log(&self) -> &Path {
        &self.launch.log
    }

    /// SIGKILL, as a crash would end it.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGSTOP: it hangs, its connections stay open.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT, after a pause.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + STOP_MAX;
        while self.is_running()? {
            if Instant::now() >= deadline {
                bail!("{} did not end; it wrote:\n{}", self.launch.name, self.last_lines());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Waits until `is_ready`; fails when it has ended by itself, or after `max`, with the last lines it wrote.
    pub fn until(&mut self, max: Duration, what: &str, mut is_ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + max;
        while !is_ready() {
            let name = self.launch.name.clone();
            if !self.is_running()? {
                bail!("{name} ended by itself; it wrote:\n{}", self.last_lines());
            }
            if Instant::now() >= deadline {
                bail!("{name} {what} not within {max:?}; it wrote:\n{}", self.last_lines());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Lets it run after this program: its process id.
    pub fn leave(mut self) -> Option<u32> {
        self.child.take().map(|child| child.id())
    }

    fn is_running(&mut self) -> Result<bool> {
        let Some(child) = &mut self.child else { return Ok(false) };
        if child.try_wait()?.is_some() {
            self.child = None;
        }
        Ok(self.child.is_some())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let name = &self.launch.name;
        let id = self.id().with_context(|| format!("{name} does not run"))?;
        send(id, signal).with_context(|| format!("cannot signal {name}"))
    }

    fn last_lines(&self) -> String {
        let text = fs::read(&self.launch.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

/// SIGSTOP for a process that somebody else started: it hangs, its connections stay open.
pub fn pause(id: u32) -> Result<()> {
    send(id, Signal::STOP)
}

/// SIGCONT for such a process.
pub fn resume(id: u32) -> Result<()> {
    send(id, Signal::CONT)
}

/// SIGTERM for such a process: it is asked to end.
pub fn terminate(id: u32) -> Result<()> {
    send(id, Signal::TERM)
}

/// Sends a signal to a process.
pub(crate) fn send(id: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).context("a process id is a positive number")?;
    Ok(kill_process(pid, signal)?)
}
