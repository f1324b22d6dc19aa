//! Certificates for servers and clients of tests, signed by an authority made for the test. Made with `keytool`, which
//! comes with the Java runtime that Kafka needs; what must be PEM is made of that with `openssl`. Nothing here is secret:
//! the password of every file is [`PASSWORD`].

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Of all key stores.
pub const PASSWORD: &str = "changeit";

const VALID_DAYS: &str = "30";
/// What a server's certificate stands for.
const NAMES: &str = "san=ip:127.0.0.1,dns:localhost";

/// An authority that signs certificates.
#[derive(Clone, Debug)]
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// Makes one, with its files in `dir`.
    pub fn create(dir: &Path) -> Result<Authority> {
        std::fs::create_dir_all(dir)?;
        let authority = Authority { dir: dir.to_owned() };
        authority.generate("ca", &["-ext", "bc:c"])?;
        let certificate = authority.certificate();
        let file = certificate.to_str().context("a directory of tests has a UTF-8 name")?;
        authority.keytool(&["-exportcert", "-rfc", "-alias", "ca", "-file", file])?;
        Ok(authority)
    }

    /// Its own certificate, in PEM: what others must trust.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate of this name, signed, with its key: a PKCS #12 file with nothing else in it. It is good for servers
    /// on 127.0.0.1 and localhost, and for clients.
    pub fn issue(&self, name: &str) -> Result<PathBuf> {
        self.generate(name, &["-signer", "ca", "-ext", NAMES])?;
        let store = self.dir.join(format!("{name}.p12"));
        let file = store.to_str().context("a directory of tests has a UTF-8 name")?;
        let from = self.keys();
        let from = from.to_str().context("a directory of tests has a UTF-8 name")?;
        run(&[
            "-importkeystore",
            "-srckeystore",
            from,
            "-srcstorepass",
            PASSWORD,
            "-srcalias",
            name,
            "-destkeystore",
            file,
            "-deststorepass",
            PASSWORD,
        ])?;
        Ok(store)
    }

    /// The same in one PEM file, certificate and key, without a password.
    pub fn issue_pem(&self, name: &str) -> Result<PathBuf> {
        let store = self.issue(name)?;
        let pem = self.dir.join(format!("{name}.pem"));
        let password = format!("pass:{PASSWORD}");
        let mut openssl = Command::new("openssl");
        openssl.args(["pkcs12", "-nodes", "-passin", &password, "-in"]).arg(&store).arg("-out").arg(&pem);
        ended(&mut openssl, "openssl pkcs12", "cannot start openssl")?;
        Ok(pem)
    }

    /// Where all keys are, the authority's own too.
    fn keys(&self) -> PathBuf {
        self.dir.join("keys.p12")
    }

    fn generate(&self, name: &str, more: &[&str]) -> Result<()> {
        let subject = format!("CN={name}");
        let key = ["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-validity", VALID_DAYS];
        self.keytool(&[&key[..], &["-alias", name, "-dname", &subject], more].concat())
    }

    fn keytool(&self, args: &[&str]) -> Result<()> {
        let keys = self.keys();
        let keys = keys.to_str().context("a directory of tests has a UTF-8 name")?;
        run(&[args, &["-keystore", keys, "-storepass", PASSWORD]].concat())
    }
}

fn run(args: &[&str]) -> Result<()> {
    let what = format!("keytool {}", args[0]);
    ended(Command::new("keytool").args(args), &what, "cannot start keytool, which comes with Java")
}

fn ended(command: &mut Command, what: &str, advice: &'static str) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().context(advice)?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{what} failed:\n{}", String::from_utf8_lossy(&said));
    }
    Ok(())
}
