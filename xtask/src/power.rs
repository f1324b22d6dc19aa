//! `cargo xtask power`: real power losses on a file system of its own, again and again.
//!
//! An ext4 image is mounted through a loop device, a process publishes into it, the ext4 shutdown ioctl throws away
//! what was not synced, and the log is opened again: nothing acknowledged may be missing. The test itself is
//! `crates/log/tests/it/power.rs`; here is what it needs and how it is asked for. Not part of `ci`: build machines
//! have no loop devices.

use crate::process;
use crate::workspace::Workspace;
use anyhow::{Result, ensure};
use std::path::Path;

/// Arguments of `cargo xtask power`.
#[derive(clap::Args)]
pub struct Args {
    /// How often the power is lost
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    cycles: u32,
}

/// Tells the test how often; once it is set, the test fails where it would else pass without testing anything.
const CYCLES_VARIABLE: &str = "DUALSTREAM_POWER_CYCLES";

/// Loses the power as often as asked.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let missing = missing(workspace)?;
    ensure!(
        missing.is_empty(),
        "power cannot be lost on this machine:\n  {}\n`cargo xtask sim` loses it on a simulated disk, anywhere",
        missing.join("\n  ")
    );
    let mut cargo = workspace.cargo();
    cargo.args(["test", "-p", "dualstream-log", "--test", "it", "--"]);
    cargo.args(["--ignored", "--exact", "--nocapture", "power::power_is_lost_in_the_middle_of_publishing"]);
    process::run(cargo.env("PATH", path()).env(CYCLES_VARIABLE, args.cycles.to_string()))
}

/// With the folders of `mkfs.ext4`, which not every root's shell looks into.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// What the test needs and this machine has not, with the mend.
fn missing(workspace: &Workspace) -> Result<Vec<&'static str>> {
    let is_root = process::output(workspace.command("id").arg("-u"))?.trim() == "0";
    let needs = [
        (is_root, "only root may mount a file system: run it as root"),
        (cfg!(target_os = "linux"), "the shutdown ioctl is that of Linux's ext4"),
        (
            Path::new("/dev/loop-control").exists(),
            "there are no loop devices (/dev/loop-control): modprobe loop, or not in a container",
        ),
        (
            process::succeeds(workspace.command("mkfs.ext4").arg("-V").env("PATH", path()))?,
            "there is no mkfs.ext4: apt-get install e2fsprogs",
        ),
        (
            process::succeeds(workspace.command("python3").args(["-c", "import fcntl"]))?,
            "there is no python3 to call the ioctl with: apt-get install python3",
        ),
    ];
    Ok(needs.into_iter().filter_map(|(met, mend)| (!met).then_some(mend)).collect())
}
