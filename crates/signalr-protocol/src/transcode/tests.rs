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
fn json_becomes_the_shortest_messagepack() {
    check_to_msgpack("null", &expect!["c0"]);
    check_to_msgpack(" [true, false] ", &expect!["92 c3 c2"]);
    check_to_msgpack("[0,127,128,-1,-33,65536]", &expect!["96 00 7f cc 80 ff d0 df ce 00 01 00 00"]);
    check_to_msgpack("18446744073709551615", &expect!["cf ff ff ff ff ff ff ff ff"]);
    check_to_msgpack("-9223372036854775808", &expect!["d3 80 00 00 00 00 00 00 00"]);
    check_to_msgpack("1.5", &expect!["cb 3f f8 00 00 00 00 00 00"]);
    check_to_msgpack(r#"{"b":"ü","a":{}}"#, &expect!["82 a1 62 a2 c3 bc a1 61 80"]);
    check_to_msgpack("[1", &expect!["error: the value is not JSON"]);
    check_to_msgpack("1 2", &expect!["error: bytes follow the value"]);
    check_to_msgpack(&"[".repeat(200), &expect!["error: the value is not JSON"]);
}

#[test]
fn long_containers_get_long_heads() {
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
fn messagepack_becomes_json_even_where_json_is_poorer() {
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
fn what_is_checked_is_what_can_be_translated() {
    let check = |json: &str, fits: bool| {
        assert_eq!(check_json(json.as_bytes()).is_ok(), fits, "{json}");
        assert_eq!(json_to_msgpack(json.as_bytes(), &mut Vec::new()).is_ok(), fits, "{json}");
    };
    check(r#"[null,true,-1,18446744073709551616,1.5,"\ud83d\ude00",{"a":[]}]"#, true);
    // JSON by its grammar: a router that only steps over values lets them pass.
    for json in ["[1e999]", r#"["\ud800"]"#, r#"{"\udc00":1}"#, "[1] [2]", "[1,]"] {
        check(json, false);
    }
    check(&format!("{}{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1)), false);
}

#[test]
fn the_depth_that_is_counted_is_the_depth_that_is_refused() {
    for (depth, fits) in [(DEPTH_MAX, true), (DEPTH_MAX + 1, false)] {
        let json = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(json_depth(json.as_bytes()), depth);
        assert_eq!(json_to_msgpack(json.as_bytes(), &mut Vec::new()).is_ok(), fits);
        let mut msgpack = vec![0x91; depth - 1];
        msgpack.push(0x90);
        assert_eq!(msgpack_to_json(&msgpack, &mut Vec::new()).is_ok(), fits);
    }
    assert_eq!(json_depth(br#"{"a":"[\"[","b":[{}]}"#), 3);
}

/// Fractions are eighths: serde_json reads long ones to the last bit only with a feature that slows all reading down.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..20)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_survives_the_round_trip(value in any_json()) {
        let (mut msgpack, mut json) = (Vec::new(), Vec::new());
        json_to_msgpack(value.to_string().as_bytes(), &mut msgpack).unwrap();
        msgpack_to_json(&msgpack, &mut json).unwrap();
        let back: serde_json::Value = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(back, value);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = (json_to_msgpack(&bytes, &mut Vec::new()), msgpack_to_json(&bytes, &mut Vec::new()));
    }
}
