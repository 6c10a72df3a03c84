use super::*;

fn whole(text: &str) -> Result<&str, JsonError> {
    let mut reader = JsonReader::new(text);
    let value = reader.raw()?;
    reader.end().map(|()| value)
}

#[test]
fn raw_skips_every_valid_value() {
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
fn invalid_json_is_rejected_with_its_position() {
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
        ("\"\n\"", "a string contains a control character at byte 2"),
        (r#""\x""#, "an escape sequence is invalid at byte 3"),
        (r#""\u12g4""#, "an escape sequence is invalid at byte 3"),
        (r#""\u123"#, "an escape sequence is invalid at byte 3"),
        ("1 2", "the end is expected at byte 2"),
    ] {
        assert_eq!(whole(text).unwrap_err().to_string(), expected, "{text}");
    }
}
