//! Verdicts on single texts, and agreement with `serde_json` on random ones.

use super::*;

fn code(text: &str) -> String {
    match check(text.as_bytes()) {
        Ok(_) => "ok".into(),
        Err(error) => format!("{}: {}", error.code(), error.message()),
    }
}

#[test]
fn valid_texts_pass() {
    let deep = format!("{}1{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    let long = "1".repeat(NUMBER_BYTES_MAX);
    for text in [
        "0",
        "-0",
        "1.5e+3",
        "true",
        "null",
        "\"\"",
        " [ ] ",
        "{}",
        r#"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#,
        r#""\ud83d\ude00 \u0000 \/""#,
        "\"grün\u{7f}\u{2028}\"",
        "1e400",
        &deep,
        &long,
    ] {
        assert_eq!(code(text), "ok", "{text}");
    }
}

#[test]
fn invalid_texts_name_their_place() {
    let deep = "[".repeat(DEPTH_MAX + 1);
    let long = "1".repeat(NUMBER_BYTES_MAX + 1);
    let keys: Vec<String> = (0..=KEYS_MAX).map(|i| format!("\"{i}\":0")).collect();
    let keys = format!("{{{}}}", keys.join(","));
    for (text, wanted) in [
        ("", "invalid_json: the text ends where a value is expected, at 1:1"),
        ("{\n \"a\": }", "invalid_json: a value is expected, at 2:7"),
        ("{} x", "invalid_json: something follows the value, at 1:4"),
        ("\u{feff}{}", "invalid_json: the text begins with a byte order mark, at 1:1"),
        ("NaN", "invalid_json: a value is expected, at 1:1"),
        ("nul", "invalid_json: a value is expected, at 1:1"),
        ("[1,]", "invalid_json: a value is expected, at 1:4"),
        ("{\"a\":1,}", "invalid_json: a key in double quotes is expected, at 1:8"),
        ("{\"a\" 1}", "invalid_json: ':' is expected, at 1:6"),
        ("{\"a\":1 \"b\":2}", "invalid_json: ',' or '}' is expected, at 1:8"),
        ("01", "invalid_json: something follows the value, at 1:2"),
        ("-", "invalid_json: a digit is expected, at 1:2"),
        ("1.", "invalid_json: a digit is expected, at 1:3"),
        ("+1", "invalid_json: a value is expected, at 1:1"),
        ("'a'", "invalid_json: a value is expected, at 1:1"),
        ("\"a", "invalid_json: the text ends inside a string, at 1:3"),
        ("\"ü\t\"", "invalid_json: a control character stands in a string, at 1:3"),
        (r#""\x""#, "invalid_json: an escape is not valid, at 1:2"),
        (r#"["\ud800"]"#, "invalid_json: an escape is not valid in this string, at 1:2"),
        (r#"{"a":1,"a":2}"#, "invalid_json: an object has the same key twice, at 1:8"),
        (r#"{"a":1,"\u0061":2}"#, "invalid_json: an object has the same key twice, at 1:8"),
        (&deep, "too_deep: arrays and objects are nested deeper than 64, at 1:65"),
        (&long, "too_large: a number is longer than 1024 bytes, at 1:1"),
        (&keys, "too_large: more than 10000 keys, at 1:88892"),
    ] {
        assert_eq!(code(text), wanted, "{text:.60}");
    }
    assert!(check(b"\"\xff\"").unwrap_err().message().contains("not UTF-8, at 1:2"));
}

#[test]
fn a_duplicate_key_is_found_in_objects_of_any_size() {
    for size in [2, 15, 16, 17, 18, 40, 1_000] {
        for twin in [0, size / 3, size - 2] {
            let mut keys: Vec<String> = (0..size).map(|i| format!("\"k{i}\":{{\"k0\":1}}")).collect();
            assert_eq!(code(&format!("{{{}}}", keys.join(","))), "ok");
            keys[size - 1] = format!("\"k{twin}\":0");
            assert!(code(&format!("{{{}}}", keys.join(","))).contains("same key twice"), "{size} {twin}");
        }
    }
}

#[test]
fn members_are_slices_and_compacted_only_where_needed() {
    let text = Bytes::from_static(b" {\"a\":[1,2], \"b\" : { \"c d\" : \"x \\\" y\\\\\" }\n} ");
    let fields = object(&text).unwrap();
    assert_eq!(fields.iter().map(|f| f.name.as_ref()).collect::<Vec<_>>(), ["a", "b"]);
    let a = fields[0].value.compact(&text);
    assert_eq!((&a[..], a.as_ptr()), (&b"[1,2]"[..], text[6..].as_ptr()));
    assert_eq!(&fields[1].value.compact(&text)[..], br#"{"c d":"x \" y\\"}"#);
    assert!(object(b"[]").unwrap_err().message().contains("an object is expected"));
}

#[test]
fn elements_are_counted_one_by_one() {
    let keys: Vec<String> = (0..KEYS_MAX).map(|i| format!("\"{i}\":0")).collect();
    let one = format!("{{{}}}", keys.join(","));
    let two = format!("[{one},{one}]");
    assert_eq!(array(two.as_bytes()).unwrap().len(), 2);
    let (index, error) = array(b"[{},{},{]").unwrap_err();
    assert_eq!((index, error.code()), (2, "invalid_json"));
    assert!(error.message().ends_with("at 1:9"));
}

#[test]
fn agrees_with_serde_json_on_random_texts() {
    let alphabet = br#"{}[]",:\u0eE+-.19 tfnrulasd"#;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..300_000 {
        let mut text = Vec::new();
        for _ in 0..1 + round % 9 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push(alphabet[(state >> 33) as usize % alphabet.len()]);
        }
        let theirs = serde_json::from_slice::<serde_json::Value>(&text);
        let out_of_range = theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
        match check(&text) {
            Ok(_) => assert!(theirs.is_ok() || out_of_range, "{}", String::from_utf8_lossy(&text)),
            Err(error) if error.message().contains("same key twice") => {}
            Err(_) => assert!(theirs.is_err(), "{}", String::from_utf8_lossy(&text)),
        }
    }
}
