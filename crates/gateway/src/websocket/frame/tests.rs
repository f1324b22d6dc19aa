//! Frames whole, cut, broken and random.

use super::*;

const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// A masked frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = head(first & 0x0f, payload.len());
    out[0] = first;
    out[1] |= 0x80;
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

fn decoder(bytes: &[u8]) -> Decoder {
    Decoder::new(1_000, Bytes::copy_from_slice(bytes))
}

fn text(text: &str) -> Message {
    Message::Text(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn messages_come_out_whole_however_they_are_cut() {
    let long = "x".repeat(700);
    let bytes = [
        frame(0x81, b"one"),
        frame(0x01, "gr\u{fc}".as_bytes()[..3].as_ref()),
        frame(0x89, b"beat"),
        frame(0x00, "gr\u{fc}".as_bytes()[3..].as_ref()),
        frame(0x80, b"n"),
        frame(0x81, long.as_bytes()),
        frame(0x82, b"\xff"),
        frame(0x8a, b""),
        frame(0x88, &[0x0b, 0xb8]),
    ]
    .concat();
    let wanted = [
        text("one"),
        Message::Ping(Bytes::from_static(b"beat")),
        text("gr\u{fc}n"),
        text(&long),
        Message::Binary,
        Message::Pong,
        Message::Close(Some(3000)),
    ];
    for step in [1, 2, 7, bytes.len()] {
        let (mut decoder, mut found) = (decoder(&[]), Vec::new());
        for piece in bytes.chunks(step) {
            decoder.space().extend_from_slice(piece);
            while let Some(message) = decoder.next().unwrap() {
                found.push(message);
            }
        }
        assert_eq!(found, wanted, "{step}");
        assert!(!decoder.is_partial());
    }
}

#[test]
fn what_breaks_the_protocol_is_refused_with_its_code() {
    let unmasked = [0x81, 0x02, b'h', b'i'];
    let flags = |first: u8| frame(first, b"x");
    for (bytes, code) in [
        (flags(0xc1), 1002),
        (flags(0xa1), 1002),
        (flags(0x91), 1002),
        (flags(0x83), 1002),
        (flags(0x87), 1002),
        (flags(0x8b), 1002),
        (flags(0x8f), 1002),
        (unmasked.to_vec(), 1002),
        (flags(0x09), 1002),
        (frame(0x89, &[0; 126]), 1002),
        (flags(0x80), 1002),
        ([flags(0x01), flags(0x81)].concat(), 1002),
        (vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002),
        (frame(0x81, b"\xff"), 1007),
        ([frame(0x01, b"\xc3"), frame(0x80, b"x")].concat(), 1007),
        (frame(0x88, &[0x03]), 1002),
        (frame(0x88, &[0x03, 0xe8, 0xff]), 1007),
        (frame(0x88, &999u16.to_be_bytes()), 1002),
        (frame(0x88, &1004u16.to_be_bytes()), 1002),
        (frame(0x88, &1005u16.to_be_bytes()), 1002),
        (frame(0x88, &1006u16.to_be_bytes()), 1002),
        (frame(0x88, &1015u16.to_be_bytes()), 1002),
        (frame(0x88, &5000u16.to_be_bytes()), 1002),
        // Too long on the header alone: none of the payload is there.
        (vec![0x81, 0xfe, 0x03, 0xe9], 1009),
        (vec![0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0], 1009),
        ([frame(0x01, &[b'x'; 600]), vec![0x80, 0xfe, 0x01, 0x91]].concat(), 1009),
        ([frame(0x01, b""), frame(0x00, b"").repeat(1_024)].concat(), 1009),
    ] {
        let mut decoder = decoder(&bytes);
        let fault = loop {
            match decoder.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{bytes:x?} is no fault"),
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault.code, code, "{:x?} {}", &bytes[..bytes.len().min(16)], fault.reason);
    }
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let mut seed = 7u64;
    for _ in 0..20_000 {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u8
        };
        let bytes: Vec<u8> = (0..usize::from(next() % 40)).map(|_| next()).collect();
        let mut decoder = decoder(&bytes);
        while let Ok(Some(_)) = decoder.next() {}
    }
}

#[test]
fn frames_that_are_sent() {
    for length in [1, 125, 126, 65_535, 65_536] {
        let mut text = Text::default();
        text.payload().extend(std::iter::repeat_n(b'x', length));
        let frame = text.encode().to_vec();
        assert_eq!(frame[frame.len() - length..], vec![b'x'; length]);
        assert_eq!(frame[..frame.len() - length], head(TEXT, length));
    }
    assert_eq!(close_frame(3001, "shutdown")[..4], [0x88, 10, 0x0b, 0xb9]);
    let long = close_frame(3000, &"\u{fc}".repeat(100));
    assert_eq!((long.len(), std::str::from_utf8(&long[4..]).is_ok()), (126, true));
    assert_eq!((ping(), pong(b"x")), (vec![0x89, 0], vec![0x8a, 1, b'x']));
}
