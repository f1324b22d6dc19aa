//! A load balancer before nodes: nginx or HAProxy with the settings of the guide, other ports put in.

use crate::ports;
use crate::process::{Launch, Process};
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

const NGINX: &str = include_str!("../../docs/guide/nginx.conf");
const HAPROXY: &str = include_str!("../../docs/guide/haproxy.cfg");
const READY_MAX: Duration = Duration::from_secs(20);
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
}

/// A running balancer.
#[derive(Debug)]
pub struct Balancer {
    /// Where clients connect.
    pub address: SocketAddr,
    /// The process.
    pub process: Process,
}

impl Balancer {
    /// Starts one before these nodes, with its files in `dir`, and waits until it takes connections.
    pub fn start(kind: Kind, dir: &Path, nodes: &[SocketAddr]) -> Result<Balancer> {
        fs::create_dir_all(dir)?;
        ports::tried(|| Balancer::try_start(kind, dir, nodes))
    }

    fn try_start(kind: Kind, dir: &Path, nodes: &[SocketAddr]) -> Result<Balancer> {
        let address = ports::free(1)?[0];
        let file = dir.join("settings");
        let (program, text, args) = match kind {
            Kind::Nginx => ("nginx", nginx(dir, address, nodes)?, vec!["-p".into(), dir.into(), "-c".into()]),
            Kind::Haproxy => ("haproxy", haproxy(address, nodes)?, vec!["-db".into(), "-f".into()]),
        };
        fs::write(&file, text)?;
        let launch = Launch {
            name: program.into(),
            program: program.into(),
            args: args.into_iter().chain([OsString::from(&file)]).collect(),
            log: dir.join("log"),
            is_detached: false,
        };
        let mut process = Process::start(launch)
            .with_context(|| format!("{program} is the Debian package of that name"))?;
        let is_there = || TcpStream::connect_timeout(&address, CONNECT_MAX).is_ok();
        process.until(READY_MAX, "takes connections", is_there)?;
        Ok(Balancer { address, process })
    }
}

fn nginx(dir: &Path, address: SocketAddr, nodes: &[SocketAddr]) -> Result<String> {
    let dir = dir.display();
    // As the system would start it, but with its files in a directory of its own, and as one process in the foreground:
    // workers would live on and serve when that is killed.
    let own = format!("daemon off;\nmaster_process off;\npid {dir}/pid;\nerror_log stderr;\n");
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String = paths.iter().map(|name| format!("    {name}_temp_path {dir}/{name};\n")).collect();
    let text = replaced(NGINX, "http {\n", &format!("http {{\n    access_log off;\n{paths}"))?;
    let text = replaced(&text, "listen 8080;", &format!("listen {address};"))?;
    let servers = lines_of(&text, "server 127.0.0.1:")?;
    let line = |node: &SocketAddr| format!("        server {node} max_fails=1 fail_timeout=5s;\n");
    Ok(own + &replaced(&text, servers, &nodes.iter().map(line).collect::<String>())?)
}

fn haproxy(address: SocketAddr, nodes: &[SocketAddr]) -> Result<String> {
    let text = replaced(HAPROXY, "bind :8080", &format!("bind {address}"))?;
    let servers = lines_of(&text, "server node")?;
    let line = |(index, node): (usize, &SocketAddr)| format!("    server node{} {node}\n", index + 1);
    replaced(&text, servers, &nodes.iter().enumerate().map(line).collect::<String>())
}

/// What stands there exactly once, in other words.
fn replaced(text: &str, old: &str, new: &str) -> Result<String> {
    ensure!(text.matches(old).count() == 1, "the guide's settings have not one '{old}'");
    Ok(text.replace(old, new))
}

/// The lines beside each other that begin so.
fn lines_of<'a>(text: &'a str, beginning: &str) -> Result<&'a str> {
    let is_one = |line: &&str| line.trim_start().starts_with(beginning);
    let first =
        text.find(beginning).with_context(|| format!("the guide's settings have no '{beginning}'"))?;
    let first = text[..first].rfind('\n').map_or(0, |end| end + 1);
    let length: usize = text[first..].split_inclusive('\n').take_while(is_one).map(str::len).sum();
    Ok(&text[first..first + length])
}
