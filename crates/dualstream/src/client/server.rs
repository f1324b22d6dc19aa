//! Which server: `http://host:port`, with an optional path before every request.

use http::Uri;
use std::str::FromStr;

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
    prefix: String,
}

impl Server {
    /// `host:port`, to connect to and as `Host`.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The full path of a path of the API.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Server, String> {
        let uri: Uri = text.parse().map_err(|_| "not a URL like http://127.0.0.1:8000".to_owned())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err("https is not supported by this build: use http, or a local proxy".into());
            }
            _ => return Err("a URL begins with http://, like http://127.0.0.1:8000".into()),
        }
        if uri.query().is_some() || uri.authority().is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err("a server has no query and no password in its URL".into());
        }
        let host = uri.host().unwrap_or_default().to_owned();
        Ok(Server {
            host,
            port: uri.port_u16().unwrap_or(80),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let server: Server = "http://127.0.0.1:8000/base/".parse().unwrap();
        assert_eq!(
            (server.authority(), server.path("/v1/events")),
            ("127.0.0.1:8000".into(), "/base/v1/events".into())
        );
        assert_eq!("http://[::1]:9".parse::<Server>().unwrap().authority(), "[::1]:9");
        assert_eq!("http://example.org".parse::<Server>().unwrap().authority(), "example.org:80");
        for bad in ["", "localhost:8000", "https://x", "ftp://x", "http://a:b@x", "http://x?y=1", "/x"] {
            assert!(bad.parse::<Server>().is_err(), "{bad}");
        }
    }
}
