//! Starting programs: echoed, checked, and stopped with all they started when their time is over.

use anyhow::{Context, Result, bail};
use std::io::ErrorKind;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(50);

/// Shows `command`, runs it, and fails unless it exits 0.
pub fn run(command: &mut Command) -> Result<()> {
    let line = echo(command);
    let status = command.status().with_context(|| cannot_start(command))?;
    check(&line, status)
}

/// As [`run`], but stops the program and fails once `deadline` has passed.
pub fn run_until(command: &mut Command, deadline: Instant) -> Result<()> {
    let line = echo(command);
    match status_until(command, deadline)? {
        Some(status) => check(&line, status),
        None => bail!("`{line}` did not end and was stopped"),
    }
}

/// How `command` ended, or `None` if it had to be stopped at `deadline`.
pub fn status_until(command: &mut Command, deadline: Instant) -> Result<Option<ExitStatus>> {
    let mut child = command.spawn().with_context(|| cannot_start(command))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            stop(&mut child)?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// What `command` writes to its standard output; fails unless it exits 0.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| cannot_start(command))?;
    check(&shown(command), output.status)?;
    String::from_utf8(output.stdout).with_context(|| format!("`{}` printed no UTF-8", shown(command)))
}

/// Whether `command` can be started and exits 0; its output is thrown away.
pub fn succeeds(command: &mut Command) -> Result<bool> {
    match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) => Ok(status.success()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| cannot_start(command)),
    }
}

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn echo(command: &Command) -> String {
    let line = shown(command);
    println!("$ {line}");
    line
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`", shown(command))
}

fn check(line: &str, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Ends `child` and its descendants, which would otherwise live on: cargo does not take its tests along.
fn stop(child: &mut Child) -> Result<()> {
    for pid in descendants(&child.id().to_string()) {
        let _already_gone = Command::new("kill").args(["-KILL", &pid]).stderr(Stdio::null()).status();
    }
    let _already_gone = child.kill();
    child.wait()?;
    Ok(())
}

fn descendants(pid: &str) -> Vec<String> {
    let Ok(output) = Command::new("pgrep").args(["-P", pid]).output() else { return Vec::new() };
    let children = String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect::<Vec<_>>();
    let below = children.iter().flat_map(|child| descendants(child)).collect::<Vec<_>>();
    [children, below].concat()
}

#[cfg(test)]
mod tests;
