use super::*;

fn whole(text: &str) -> Result<&str, JsonError> {
    let mut reader = JsonReader::new(text);
    let value = reader.raw()?;
    reader.end().map(|()| value)
}

#[test]
fn everything_that_the_grammar_allows_is_stepped_over() {
    for text in [
        "null",
        " [ ] ",
        "{}",
        "[[],{},[{}]]",
        r#"{"a":[1,{"b":"c"}],"a":null}"#,
        "-0",
        "-0.0e-0",
        "1e400",
        "0.1E+99999999999999999999",
        "123456789012345678901234567890.00000000000000000000000000000000000001",
        r#""\ud83d""#,
        r#""\udc00\ud800 \uD83D\ude00 \"\\\/\b\f\n\r\t\u0000""#,
        "\"\u{7f}\u{80}\u{2028}\u{10ffff}\"",
        "\t\r\n true \n",
    ] {
        assert_eq!(whole(text).unwrap(), text.trim_matches([' ', '\t', '\r', '\n']), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(whole(&deep), Ok(deep.as_str()));
    let deep = format!("{}1{}", "{\"a\":[".repeat(1_000), "]}".repeat(1_000));
    assert_eq!(whole(&deep), Ok(deep.as_str()));
}

#[test]
fn everything_else_is_refused_with_its_place() {
    for (text, expected) in [
        ("", "a value is expected at byte 0"),
        ("\u{feff}1", "a value is expected at byte 0"),
        ("\u{a0}1", "a value is expected at byte 0"),
        ("nul", "a value is expected at byte 1"),
        ("NaN", "a value is expected at byte 0"),
        ("+1", "a value is expected at byte 0"),
        (".5", "a value is expected at byte 0"),
        ("01", "the end is expected at byte 1"),
        ("1.", "a digit is expected at byte 2"),
        ("1e", "a digit is expected at byte 2"),
        ("1e+", "a digit is expected at byte 3"),
        ("-", "a digit is expected at byte 1"),
        ("0x1", "the end is expected at byte 1"),
        ("[1,]", "a value is expected at byte 3"),
        ("[1 2]", "a comma or the end of the array is expected at byte 3"),
        ("[1", "a comma or the end of the array is expected at byte 2"),
        ("[1}", "a comma or the end of the array is expected at byte 2"),
        ("{1:2}", "the name of a member is expected at byte 1"),
        ("{\"a\" 1}", "a colon is expected at byte 6"),
        ("{\"a\":1,}", "the name of a member is expected at byte 7"),
        ("{\"a\":1]", "a comma or the end of the object is expected at byte 6"),
        ("[[[]]", "a comma or the end of the array is expected at byte 5"),
        ("\"", "a string does not end at byte 1"),
        ("\"\n\"", "a control character stands in a string at byte 2"),
        (r#""\x""#, "an escape is none at byte 3"),
        (r#""\u12g4""#, "an escape is none at byte 3"),
        (r#""\u123"#, "an escape is none at byte 3"),
        ("1 2", "the end is expected at byte 2"),
    ] {
        assert_eq!(whole(text).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn strings_are_decoded_with_halves_of_pairs_kept_or_replaced() {
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
fn bytes_are_written_as_strings_whatever_they_are() {
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
fn plain_bytes_end_at_the_first_special_one() {
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
