//! A copy of the workspace to plant bugs in, with a target directory of its own that all mutants share.
//!
//! A file is written only when its bytes change, so that cargo, which looks at times, rebuilds what changed and
//! nothing else.

use super::Hunter;
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `mutants/` in the target directory: `tree/`, `target/`, kept programs and logs.
pub struct Copy {
    source: PathBuf,
    dir: PathBuf,
}

impl Copy {
    /// Brings the copy up to date with the workspace.
    pub fn of(workspace: &Workspace) -> Result<Copy> {
        let copy =
            Copy { source: workspace.root().to_path_buf(), dir: workspace.target_dir()?.join("mutants") };
        let files: BTreeSet<String> = workspace.files()?.into_iter().collect();
        for stale in files_below(&copy.tree(), "")?.difference(&files) {
            fs::remove_file(copy.tree().join(stale))?;
        }
        copy.restore(&files)?;
        Ok(copy)
    }

    /// Builds a hunter from the copy as it stands; false if it does not compile.
    pub fn build(&self, hunter: Hunter) -> Result<bool> {
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
        cargo.args(["build", "--quiet", "--release"]).current_dir(self.tree());
        match hunter {
            Hunter::Sim | Hunter::SharedLog => cargo.args(["-p", program(hunter)]),
            Hunter::Races => cargo.args(["--manifest-path", "races/Cargo.toml"]),
        };
        cargo.env("CARGO_TARGET_DIR", self.target());
        // A mutant is built once and run for seconds: linking fast matters more than running fast.
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        let status = cargo.status().with_context(|| format!("cannot start `{}`", process::shown(&cargo)))?;
        Ok(status.success())
    }

    /// The hunter built last.
    pub fn built(&self, hunter: Hunter) -> PathBuf {
        self.target().join("release").join(program(hunter))
    }

    /// Puts the hunter built last aside.
    pub fn keep(&self, hunter: Hunter) -> Result<PathBuf> {
        let kept = self.dir.join(format!("baseline-{}", program(hunter)));
        fs::copy(self.built(hunter), &kept).context("it was built")?;
        Ok(kept)
    }

    /// Where what a hunter prints is kept.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    /// The text of a file of the copy.
    pub fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.tree().join(file)).ok()
    }

    /// Gives files of the copy these texts.
    pub fn write(&self, texts: &BTreeMap<String, String>) -> Result<()> {
        texts.iter().try_for_each(|(file, text)| write_changed(&self.tree().join(file), text.as_bytes()))
    }

    /// Gives files of the copy back what they hold in the workspace.
    pub fn restore<'a>(&self, files: impl IntoIterator<Item = &'a String>) -> Result<()> {
        for file in files {
            let bytes = fs::read(self.source.join(file)).with_context(|| format!("cannot read {file}"))?;
            write_changed(&self.tree().join(file), &bytes)?;
        }
        Ok(())
    }

    fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    fn target(&self) -> PathBuf {
        self.dir.join("target")
    }
}

fn program(hunter: Hunter) -> &'static str {
    match hunter {
        Hunter::Sim | Hunter::SharedLog => "dualstream-sim",
        Hunter::Races => "dualstream-races",
    }
}

fn write_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Paths relative to `root` of the files in it; none if it is not there.
fn files_below(root: &Path, folder: &str) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return Ok(files) };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        match entry.file_type()?.is_dir() {
            true => files.extend(files_below(root, &path)?),
            false => drop(files.insert(path)),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    /// A folder of its own for each test, removed when the test is over.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("dualstream-xtask-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _left_to_the_system = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_planted_bug_is_taken_out_again() {
        let folder = Folder::new("plant");
        let copy = Copy { source: folder.0.join("source"), dir: folder.0.join("mutants") };
        write_changed(&copy.source.join("a/x.rs"), b"good").unwrap();
        let files = BTreeSet::from(["a/x.rs".to_owned()]);
        copy.restore(&files).unwrap();
        copy.write(&BTreeMap::from([("a/x.rs".to_owned(), "bad".to_owned())])).unwrap();
        assert_eq!(copy.read("a/x.rs").as_deref(), Some("bad"));
        copy.restore(&files).unwrap();
        assert_eq!(copy.read("a/x.rs").as_deref(), Some("good"));
        assert_eq!(files_below(&copy.tree(), "").unwrap(), files);
    }

    #[test]
    fn an_unchanged_file_keeps_its_time() {
        let folder = Folder::new("time");
        let path = folder.0.join("x.rs");
        write_changed(&path, b"same").unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        File::options().append(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        write_changed(&path, b"same").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), long_ago);
    }
}
