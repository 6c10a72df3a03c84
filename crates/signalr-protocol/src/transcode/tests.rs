use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn check_to_msgpack(json: &str, expected: &Expect) {
    let mut out = Vec::new();
    match json_to_msgpack(json.as_bytes(), &mut out) {
        Ok(()) => {
            expected.assert_eq(&out.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "));
        }
        Err(error) => expected.assert_eq(&format!("error: {error}")),
    }
}

fn check_to_json(msgpack: &[u8], expected: &Expect) {
    let mut out = Vec::new();
    match msgpack_to_json(msgpack, &mut out) {
        Ok(()) => expected.assert_eq(&String::from_utf8(out).unwrap()),
        Err(error) => expected.assert_eq(&format!("error: {error}")),
    }
}

#[test]
fn json_is_transcoded_to_the_shortest_messagepack() {
    check_to_msgpack("null", &expect!["c0"]);
    check_to_msgpack(" [true, false] ", &expect!["92 c3 c2"]);
    check_to_msgpack("[0,127,128,-1,-33,65536]", &expect!["96 00 7f cc 80 ff d0 df ce 00 01 00 00"]);
    check_to_msgpack("18446744073709551615", &expect!["cf ff ff ff ff ff ff ff ff"]);
    check_to_msgpack("-9223372036854775808", &expect!["d3 80 00 00 00 00 00 00 00"]);
    check_to_msgpack("1.5", &expect!["cb 3f f8 00 00 00 00 00 00"]);
    check_to_msgpack(r#"{"b":"ü","a":{}}"#, &expect!["82 a1 62 a2 c3 bc a1 61 80"]);
    check_to_msgpack("[1", &expect!["error: the value is not JSON"]);
    check_to_msgpack("1 2", &expect!["error: bytes follow the value"]);
    check_to_msgpack(&"[".repeat(200), &expect!["error: the value nests deeper than 127 levels"]);
}

#[test]
fn long_containers_get_long_headers() {
    for (count, head) in [
        (15, &[0x9f][..]),
        (16, &[0xdc, 0, 16]),
        (65_535, &[0xdc, 0xff, 0xff]),
        (65_536, &[0xdd, 0, 1, 0, 0]),
    ] {
        let json = format!("[{}]", vec!["7"; count].join(","));
        let mut out = Vec::new();
        json_to_msgpack(json.as_bytes(), &mut out).unwrap();
        assert_eq!(&out[..head.len()], head);
        assert!(out[head.len()..].iter().all(|byte| *byte == 7) && out.len() == head.len() + count);
    }
    let json = format!("{{{}}}", (0..16).map(|n| format!("\"{n:x}\":[]")).collect::<Vec<_>>().join(","));
    let mut out = Vec::new();
    json_to_msgpack(json.as_bytes(), &mut out).unwrap();
    assert_eq!(&out[..6], [0xde, 0, 16, 0xa1, b'0', 0x90]);
}

#[test]
fn messagepack_types_without_a_json_form_are_transcoded() {
    check_to_json(
        b"\x93\xc0\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xd0\x80",
        &expect!["[null,18446744073709551615,-128]"],
    );
    check_to_json(b"\x82\xa1a\x01\x02\xc4\x04\xff\xfe\xfd\x00", &expect![[r#"{"a":1,"2":"//79AA=="}"#]]);
    check_to_json(b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", &expect!["null"]);
    check_to_json(b"\xd6\xff\x65\x92\x00\x80", &expect![[r#""2024-01-01T00:00:00Z""#]]);
    check_to_json(b"\xd7\xff\x77\x35\x94\x00\x65\xe0\x0b\x7f", &expect![[r#""2024-02-29T04:43:43.5Z""#]]);
    check_to_json(
        b"\xc7\x0c\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff",
        &expect![[r#""1969-12-31T23:59:59Z""#]],
    );
    check_to_json(b"\xd4\x07x", &expect![[r#""eA==""#]]);
    check_to_json(b"\x81\x90\x01", &expect!["error: a key of a map is neither text nor a number"]);
    check_to_json(b"\x92\x01", &expect!["error: the value is not MessagePack"]);
    check_to_json(b"\x01\x01", &expect!["error: bytes follow the value"]);
    check_to_json(&[0x91; 1000], &expect!["error: the value nests deeper than 127 levels"]);
}

#[test]
fn check_json_accepts_only_json_that_can_be_transcoded() {
    let check = |json: &str, fits: bool| {
        assert_eq!(check_json(json.as_bytes()).is_ok(), fits, "{json}");
        assert_eq!(json_to_msgpack(json.as_bytes(), &mut Vec::new()).is_ok(), fits, "{json}");
    };
    check(r#"[null,true,-1,18446744073709551616,1.5,"\ud83d\ude00",{"a":[]}]"#, true);
    for json in ["[1e999]", r#"["\ud800"]"#, r#"{"\udc00":1}"#, "-1.0e-99999999999999999999"] {
        check(json, true);
    }
    for json in ["[1] [2]", "[1,]", "\u{feff}1", "[\"\\x\"]", ""] {
        check(json, false);
    }
    assert!(check_json(b"\"\xff\"").is_err());
}

#[test]
fn unpaired_surrogates_and_huge_numbers_are_transcoded_both_ways() {
    check_to_msgpack(r#""a\ud83d""#, &expect!["a4 61 ed a0 bd"]);
    check_to_msgpack(
        r#"{"\ude00\ud83d\ude00":1e400}"#,
        &expect!["81 a7 ed b8 80 f0 9f 98 80 cb 7f f0 00 00 00 00 00 00"],
    );
    check_to_msgpack("-0", &expect!["cb 80 00 00 00 00 00 00 00"]);
    check_to_msgpack("123456789.01234567890123456789e-10", &expect!["cb 3f 89 48 b0 f9 05 91 e6"]);
    check_to_json(b"\xa4a\xed\xa0\xbd", &expect![[r#""a\ud83d""#]]);
    check_to_json(
        b"\x81\xa3\xed\xb8\x80\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
        &expect![[r#"{"\ude00":null}"#]],
    );
    check_to_json(b"\xa2\xffa", &expect![[r#""�a""#]]);
}

#[test]
fn check_json_and_transcoding_have_the_same_depth_limit() {
    for (depth, fits) in [(DEPTH_MAX, true), (DEPTH_MAX + 1, false)] {
        let json = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check_json(json.as_bytes()).is_ok(), fits);
        assert_eq!(json_to_msgpack(json.as_bytes(), &mut Vec::new()).is_ok(), fits);
        let mut msgpack = vec![0x91; depth - 1];
        msgpack.push(0x90);
        assert_eq!(msgpack_to_json(&msgpack, &mut Vec::new()).is_ok(), fits);
    }
}

/// A value of JavaScript after `JSON.parse`: strings of 16-bit units, numbers of 64 bits.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(Vec<u16>),
    Array(Vec<Value>),
    Object(Vec<(Vec<u16>, Value)>),
}

/// JSON texts with all syntactic variants, each with its value.
fn any_json() -> impl Strategy<Value = (String, Value)> {
    let number = "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,22})?".prop_map(|text: String| {
        let number: f64 = text.parse().unwrap();
        // MessagePack infinity becomes null, as in `JSON.stringify`.
        let value = if number.is_finite() { Value::Number(number) } else { Value::Null };
        (text, value)
    });
    let leaf = prop_oneof![
        Just(("null".to_owned(), Value::Null)),
        any::<bool>().prop_map(|truth| (truth.to_string(), Value::Bool(truth))),
        number,
        any::<i64>()
            .prop_map(|number| (number.to_string(), Value::Number(number.to_string().parse().unwrap()))),
        any_text().prop_map(|(text, units)| (text, Value::Text(units))),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        let space = "[ \t\r\n]{0,2}";
        let element = (space, inner.clone(), space)
            .prop_map(|(before, (text, value), behind)| (before + &text + &behind, value));
        let member = (space, any_text(), space, inner, space)
            .prop_map(|(a, name, b, value, c)| (a + &name.0 + &b + ":" + &c + &value.0, (name.1, value.1)));
        prop_oneof![
            prop::collection::vec(element, 0..20).prop_map(|elements| {
                let (texts, values): (Vec<_>, Vec<_>) = elements.into_iter().unzip();
                (format!("[{}]", texts.join(",")), Value::Array(values))
            }),
            prop::collection::vec(member, 0..20).prop_map(|members| {
                let (texts, values): (Vec<_>, Vec<_>) = members.into_iter().unzip();
                (format!("{{{}}}", texts.join(",")), Value::Object(values))
            }),
        ]
    })
}

/// A string with required and optional escapes, and unpaired surrogates; and its 16-bit units.
fn any_text() -> impl Strategy<Value = (String, Vec<u16>)> {
    let escaped = any::<u16>().prop_map(|unit| (format!("\\u{unit:04x}"), vec![unit]));
    let half = (0xd7ff_u16..=0xe000).prop_map(|unit| (format!("\\u{unit:04X}"), vec![unit]));
    let short = prop::sample::select(vec![
        ('b', 8),
        ('f', 12),
        ('n', 10),
        ('r', 13),
        ('t', 9),
        ('/', 47),
        ('"', 34),
        ('\\', 92),
    ])
    .prop_map(|(letter, unit)| (format!("\\{letter}"), vec![unit]));
    let plain = any::<char>()
        .prop_filter("must be escaped", |character| !matches!(character, '"' | '\\' | '\0'..' '))
        .prop_map(|character| (character.to_string(), character.encode_utf16(&mut [0; 2]).to_vec()));
    let part = prop_oneof![escaped, half, short, plain.clone(), plain];
    prop::collection::vec(part, 0..20).prop_map(|parts| {
        let (texts, units): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        (format!("\"{}\"", texts.concat()), units.concat())
    })
}

/// A simple JSON parser; panics on an error.
fn read(json: &[u8], at: &mut usize) -> Value {
    let next = |at: &mut usize| {
        *at += 1;
        json[*at - 1]
    };
    match next(at) {
        b'n' => {
            *at += 3;
            Value::Null
        }
        b't' => {
            *at += 3;
            Value::Bool(true)
        }
        b'f' => {
            *at += 4;
            Value::Bool(false)
        }
        b'"' => Value::Text(read_text(json, at)),
        b'[' => {
            let mut elements = Vec::new();
            while json[*at] != b']' {
                elements.push(read(json, at));
                *at += usize::from(json[*at] == b',');
            }
            *at += 1;
            Value::Array(elements)
        }
        b'{' => {
            let mut members = Vec::new();
            while json[*at] != b'}' {
                assert_eq!(next(at), b'"');
                let name = read_text(json, at);
                assert_eq!(next(at), b':');
                members.push((name, read(json, at)));
                *at += usize::from(json[*at] == b',');
            }
            *at += 1;
            Value::Object(members)
        }
        _ => {
            let begin = *at - 1;
            while json.get(*at).is_some_and(|byte| !b",]}".contains(byte)) {
                *at += 1;
            }
            Value::Number(std::str::from_utf8(&json[begin..*at]).unwrap().parse().unwrap())
        }
    }
}

fn read_text(json: &[u8], at: &mut usize) -> Vec<u16> {
    let mut units = Vec::new();
    loop {
        match json[*at] {
            b'"' => {
                *at += 1;
                return units;
            }
            b'\\' => {
                let escape = json[*at + 1];
                *at += 2;
                if escape == b'u' {
                    let digits = std::str::from_utf8(&json[*at..*at + 4]).unwrap();
                    units.push(u16::from_str_radix(digits, 16).unwrap());
                    *at += 4;
                } else {
                    let letters = b"bfnrt";
                    let letter = letters.iter().position(|letter| *letter == escape);
                    units.push(letter.map_or(escape.into(), |index| [8, 12, 10, 13, 9][index]));
                }
            }
            _ => {
                let rest = std::str::from_utf8(&json[*at..]).unwrap();
                let character = rest.chars().next().unwrap();
                units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
                *at += character.len_utf8();
            }
        }
    }
}

proptest! {
    #[test]
    fn any_json_is_unchanged_after_the_round_trip((text, value) in any_json()) {
        prop_assert!(check_json(text.as_bytes()).is_ok());
        let (mut msgpack, mut json) = (Vec::new(), Vec::new());
        json_to_msgpack(text.as_bytes(), &mut msgpack).unwrap();
        msgpack_to_json(&msgpack, &mut json).unwrap();
        let mut at = 0;
        let back = read(&json, &mut at);
        prop_assert_eq!(at, json.len());
        prop_assert_eq!(back, value);
    }

    #[test]
    fn any_json_is_unchanged_in_a_message((text, _) in any_json()) {
        let message = format!("{{ \"arguments\" :[ {text} ] ,\"target\":\"m\",\"type\":1}}");
        let parsed = crate::parse(crate::HubProtocol::Json, message.as_bytes()).unwrap();
        let crate::HubMessage::Invocation(invocation) = parsed else { panic!("{message}") };
        let arguments = std::str::from_utf8(&invocation.arguments).unwrap();
        prop_assert_eq!(arguments, format!("[ {text} ]"));
    }

    #[test]
    fn text_that_serde_parses_is_accepted(text in "[\\[\\]{}:,\"\\\\ue0-9.+-]{0,12}") {
        if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
            prop_assert!(check_json(text.as_bytes()).is_ok());
        } else {
            let is_more = text.contains("\\u") || text.contains('e');
            prop_assert!(is_more || check_json(text.as_bytes()).is_err());
        }
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = (json_to_msgpack(&bytes, &mut Vec::new()), msgpack_to_json(&bytes, &mut Vec::new()));
    }
}
