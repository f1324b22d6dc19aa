//! Where the workspace is, which files it has, and what cargo knows of it.

use crate::process;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout these commands work on.
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace whose `cargo xtask` this is. Asked at run time: a binary from a shared target directory may
    /// have been built for another checkout.
    pub fn find() -> Result<Workspace> {
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest_dir.parent().context("xtask is a member of its workspace")?;
        Ok(Workspace { root: root.to_path_buf() })
    }

    /// The directory of the workspace's `Cargo.toml`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `program`, to be run at the root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// The cargo that runs us, to be run at the root.
    pub fn cargo(&self) -> Command {
        self.command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
    }

    /// Paths of all files that are or could be committed, relative to the root, sorted.
    pub fn files(&self) -> Result<Vec<String>> {
        let mut git = self.command("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = process::output(&mut git)?;
        let mut files: Vec<String> = listed.split_terminator('\0').map(String::from).collect();
        // Tracked, but deleted in the working tree.
        files.retain(|file| self.root.join(file).is_file());
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// `cargo metadata` of the members, without what they depend on.
    pub fn metadata(&self) -> Result<Value> {
        let mut cargo = self.cargo();
        cargo.args(["metadata", "--format-version", "1", "--no-deps"]);
        serde_json::from_str(&process::output(&mut cargo)?).context("cargo metadata prints JSON")
    }

    /// Where cargo puts what it builds.
    pub fn target_dir(&self) -> Result<PathBuf> {
        let metadata = self.metadata()?;
        let dir = metadata["target_directory"].as_str().context("cargo metadata names a target directory")?;
        Ok(PathBuf::from(dir))
    }
}
