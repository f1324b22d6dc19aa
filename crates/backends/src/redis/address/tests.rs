//! What is an address, and that none tells its password.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use super::*;

#[test]
fn addresses_are_read() {
    for (url, shown) in [
        ("redis://localhost", "redis://localhost:6379"),
        ("redis://10.0.0.1:7000/3", "redis://10.0.0.1:7000/3"),
        ("redis://[::1]:7000", "redis://[::1]:7000"),
        ("redis+sentinel://a,b:1,c/main/2", "redis+sentinel://a:26379,b:1,c:26379/main/2"),
        ("redis+cluster://a,b:1", "redis+cluster://a:6379,b:1"),
    ] {
        assert_eq!(Address::parse(url).unwrap().to_string(), shown);
    }
}

#[test]
fn who_gets_in_is_read_and_not_shown() {
    let url = "redis+sentinel://us%40er:se%2Fcr%3Aet@a/main?sentinel_user=watch&sentinel_password=hid%26den";
    let address = Address::parse(url).unwrap();
    assert_eq!(address.login.user.as_deref(), Some("us@er"));
    assert_eq!(address.login.password.as_deref(), Some("se/cr:et"));
    let Kind::Sentinel { login, .. } = &address.kind else { panic!("a Sentinel") };
    assert_eq!((login.user.as_deref(), login.password.as_deref()), (Some("watch"), Some("hid&den")));
    let shown = format!("{address} {address:?}");
    assert!(!shown.contains("se/") && !shown.contains("hid"), "{shown}");
    let only = Address::parse("redis://:only@a").unwrap();
    assert_eq!((only.login.user, only.login.password.as_deref()), (None, Some("only")));
    assert_eq!(Address::parse("redis://a").unwrap().with_password("x").login.password.as_deref(), Some("x"));
}

#[test]
fn what_is_no_address_is_said_without_the_password() {
    for (url, word) in [
        ("localhost:6379", "begins with"),
        ("http://:secret@a", "no scheme"),
        ("redis+mesh://:secret@a", "no scheme"),
        ("redis://:secret@", "a host is"),
        ("redis://:secret@a:0", "port of a host"),
        ("redis://secret:word", "port of a host"),
        ("secret://word@a", "no scheme"),
        ("redis+secret://a", "no scheme"),
        ("redis://:x?secret", "no parameter of it"),
        ("redis+sentinel://user:12/secret@a", "name of a master"),
        ("redis://:secret@a b", "a host is"),
        ("redis://:secret@a/x", "a number"),
        ("redis://:secret@a,b", "several hosts"),
        ("redis://:secret@a?ssl=secret", "no parameter of it"),
        ("redis://:x?secret@a", "no parameter of it"),
        ("redis://:x/secret@a", "a host is"),
        ("redis+sentinel://:secret@a", "name of the master"),
        ("redis+cluster://:secret@a/1", "no path"),
        ("redis://:secret%ff@a", "no UTF-8"),
    ] {
        let error = Address::parse(url).unwrap_err();
        assert_eq!(error.code(), "invalid_redis_address");
        assert!(error.message().contains(word), "{url}: {error}");
        assert!(!error.message().contains("secret"), "{error}");
    }
}
