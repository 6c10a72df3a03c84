use super::super::reader::{JsonReader, JsonToken};
use super::*;

#[test]
fn unpaired_surrogates_are_kept_or_replaced() {
    let check = |json: &str, bytes: &[u8], lossy: &str| {
        let Ok(JsonToken::Text(text)) = JsonReader::new(json).token() else { panic!("{json}") };
        assert_eq!((&*text.bytes(), &*text.lossy()), (bytes, lossy), "{json}");
    };
    check(r#""plain \u00fc""#, "plain \u{fc}".as_bytes(), "plain \u{fc}");
    check(r#""\ud83d\ude00""#, "\u{1f600}".as_bytes(), "\u{1f600}");
    check(r#""a\ud83d""#, b"a\xed\xa0\xbd", "a\u{fffd}");
    check(r#""\ud83d\ud83d\ude00""#, b"\xed\xa0\xbd\xf0\x9f\x98\x80", "\u{fffd}\u{1f600}");
    check(r#""\ude00\ud83d""#, b"\xed\xb8\x80\xed\xa0\xbd", "\u{fffd}\u{fffd}");
    check(r#""\ud83d\u0041""#, b"\xed\xa0\xbdA", "\u{fffd}A");
    check(r#""\"\\\/\b\f\n\r\t""#, b"\"\\/\x08\x0c\n\r\t", "\"\\/\u{8}\u{c}\n\r\t");
}

#[test]
fn any_bytes_are_written_as_a_valid_string() {
    let check = |bytes: &[u8], json: &str, text: &str| {
        let mut out = Vec::new();
        write_text(bytes, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), json, "{bytes:?}");
        assert_eq!(lossy(bytes), text, "{bytes:?}");
    };
    check(b"", r#""""#, "");
    check("a\u{fc}\u{1f600}".as_bytes(), "\"a\u{fc}\u{1f600}\"", "a\u{fc}\u{1f600}");
    check(b"12345678\"\\\n\x01\x7f", "\"12345678\\\"\\\\\\n\\u0001\u{7f}\"", "12345678\"\\\n\u{1}\u{7f}");
    check(b"a\xed\xa0\xbdb", r#""a\ud83db""#, "a\u{fffd}b");
    check(b"\xed\xa0\xbd\xed\xb8\x80", r#""\ud83d\ude00""#, "\u{fffd}\u{fffd}");
    check(b"\xff\xc3", "\"\u{fffd}\u{fffd}\"", "\u{fffd}\u{fffd}");
    check(b"\xed\xa0", "\"\u{fffd}\u{fffd}\"", "\u{fffd}\u{fffd}");
}

#[test]
fn plain_bytes_end_at_the_first_byte_to_escape() {
    for length in 0..40 {
        let plain = vec![b'\xff'; length];
        assert_eq!(plain_bytes(&plain), length);
        for at in 0..length {
            for special in [b'"', b'\\', 0, 0x1f] {
                let mut bytes = plain.clone();
                bytes[at] = special;
                assert_eq!(plain_bytes(&bytes), at);
            }
            for other in [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80] {
                let mut bytes = plain.clone();
                bytes[at] = other;
                assert_eq!(plain_bytes(&bytes), length);
            }
        }
    }
}
