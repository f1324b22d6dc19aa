//! `cargo xtask test`: installs what the tests need from the system, then runs `ci`.
//!
//! Only Debian packages, only as root, and only what is missing; anywhere else it says what will not work and how to
//! mend it, and goes on.

use crate::ci;
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::path::Path;

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// Only say what is missing
    #[arg(long)]
    no_install: bool,
    #[command(flatten)]
    ci: ci::Args,
}

/// What the tests need beside the Rust toolchain.
const NEEDS: [Need; 12] = [
    Need {
        package: "e2fsprogs",
        proof: "/usr/sbin/mkfs.ext4",
        needed_by: "the log's tests on a small file system of their own (they skip themselves without it)",
    },
    Need {
        package: "curl",
        proof: "/usr/bin/curl",
        needed_by: "the tests of the commands in the README (they fail without it)",
    },
    Need {
        package: "nodejs",
        proof: "/usr/bin/node",
        needed_by: "the tests of the page and of the JavaScript SDK (they fail without node 18, which Debian 12 has)",
    },
    Need { package: "npm", proof: "/usr/bin/npm", needed_by: "the same tests, which install what they pin" },
    Need {
        package: "chromium",
        proof: "/usr/bin/chromium",
        needed_by: "the test of the page in a browser (it fails without it)",
    },
    Need {
        package: "default-jre-headless",
        proof: "/usr/bin/java",
        needed_by: "the tests against Kafka (they fail without Java 17; --no-services leaves them out)",
    },
    Need {
        package: "maven",
        proof: "/usr/bin/mvn",
        needed_by: "the same tests: it fetches Kafka's jars, once (they fail without it)",
    },
    Need {
        package: "redis-server",
        proof: "/usr/bin/redis-server",
        needed_by: "the tests against Redis (they fail without it; --no-services leaves them out)",
    },
    Need {
        package: "openssl",
        proof: "/usr/bin/openssl",
        needed_by: "the tests against Redis with TLS (they fail without it; --no-services leaves them out)",
    },
    Need {
        package: "nginx",
        proof: "/usr/sbin/nginx",
        needed_by: "the tests of several nodes (they fail without it; --no-services leaves them out)",
    },
    Need { package: "haproxy", proof: "/usr/sbin/haproxy", needed_by: "the same tests" },
    Need {
        package: "golang-go",
        proof: "/usr/bin/go",
        needed_by: "the test of the Go SDK (it leaves itself out without it, but not where CI is set)",
    },
];

struct Need {
    package: &'static str,
    /// There is no need for the package where this file, or one of this name on the PATH, exists.
    proof: &'static str,
    needed_by: &'static str,
}

/// Installs what is missing, or says what that means, and runs the suites.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !need.is_met()).collect();
    match (missing.is_empty(), hindrance(workspace, args.no_install)?) {
        (true, _) => println!("everything the tests need from the system is installed"),
        (false, None) => install(workspace, &missing)?,
        (false, Some(hindrance)) => println!("{}", shortage(&missing, hindrance)),
    }
    ci::run(workspace, &args.ci)
}

impl Need {
    fn is_met(&self) -> bool {
        let name = Path::new(self.proof).file_name().expect("a proof names a file");
        let path = std::env::var_os("PATH").unwrap_or_default();
        Path::new(self.proof).exists() || std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
    }
}

/// Why nothing can be installed here, if so.
fn hindrance(workspace: &Workspace, no_install: bool) -> Result<Option<&'static str>> {
    if no_install {
        return Ok(Some("not installed because of --no-install"));
    }
    if !process::succeeds(workspace.command("apt-get").arg("--version"))? {
        return Ok(Some("not installed because this is no Debian (there is no apt-get)"));
    }
    let user = process::output(workspace.command("id").arg("-u"))?;
    Ok((user.trim() != "0").then_some("not installed because only root may"))
}

fn install(workspace: &Workspace, missing: &[&Need]) -> Result<()> {
    let packages = missing.iter().map(|need| need.package);
    let advice = "cannot install what the tests need; `cargo xtask test --no-install` goes on without it";
    process::run(workspace.command("apt-get").args(["update", "--quiet"])).context(advice)?;
    let mut apt = workspace.command("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(packages);
    process::run(&mut apt).context(advice)
}

fn shortage(missing: &[&Need], hindrance: &str) -> String {
    let mut lines = vec![format!("missing, and {hindrance}:")];
    lines.extend(missing.iter().map(|need| format!("  {:<12} for {}", need.package, need.needed_by)));
    let packages: Vec<_> = missing.iter().map(|need| need.package).collect();
    lines.push(format!(
        "  mend: apt-get install {}  (elsewhere: the package of that program)",
        packages.join(" ")
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENT: Need =
        Need { package: "nothing", proof: "/no/such/program-at-all", needed_by: "the tests of nothing" };

    #[test]
    fn a_need_is_met_by_its_file_or_by_the_path() {
        assert!(Need { proof: "/bin/sh", ..ABSENT }.is_met());
        assert!(Need { proof: "/elsewhere/sh", ..ABSENT }.is_met());
        assert!(!ABSENT.is_met());
    }

    #[test]
    fn a_shortage_names_the_tests_and_the_mend() {
        let text = shortage(&[&ABSENT], "not installed because only root may");
        assert!(text.contains("the tests of nothing") && text.contains("apt-get install nothing"), "{text}");
    }
}
