//! JSON as .NET's configuration reads it: with a byte order mark, comments and trailing commas. Pure.

/// Converts a text to JSON: characters that JSON does not allow become blanks, so that an error reports the right line and
/// column. The parser reports what is still invalid, such as a comment without an end.
pub(super) fn to_json(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut json = String::with_capacity(text.len());
    // The position of the last comma, if only blanks have followed it, and the last character that is not a blank.
    let (mut comma, mut last) = (None, '[');
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let token = match character {
            '"' => &rest[..string_length(rest)],
            '/' if rest.starts_with("//") => &rest[..rest.find('\n').unwrap_or(rest.len())],
            '/' if rest.starts_with("/*") => &rest[..rest[2..].find("*/").map_or(0, |end| end + 4)],
            _ => &rest[..character.len_utf8()],
        };
        match character {
            '/' if !token.is_empty() && token.len() > 1 => push_blanks(&mut json, token),
            '/' => {
                json.push_str(rest);
                break;
            }
            ']' | '}' => {
                if let Some(at) = comma.take() {
                    json.replace_range(at..=at, " ");
                }
                json.push(character);
                last = character;
            }
            _ => {
                if !character.is_ascii_whitespace() {
                    // A comma that follows no value is not a trailing comma.
                    let follows_value = !matches!(last, '[' | '{' | ',' | ':');
                    comma = (character == ',' && follows_value).then_some(json.len());
                    last = character;
                }
                json.push_str(token);
            }
        }
        rest = &rest[token.len()..];
    }
    json
}

/// The length of the string literal at the beginning, with its quotes; the length of `rest` if the literal does not end.
fn string_length(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn push_blanks(json: &mut String, comment: &str) {
    json.extend(comment.chars().map(|character| if character == '\n' { '\n' } else { ' ' }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_trailing_commas_become_blanks() {
        for (text, expected) in [
            ("\u{feff}{}", "{}"),
            ("{ // note\n \"a\": 1 }", "{        \n \"a\": 1 }"),
            ("[1, /* two\n */ 2]", "[1,       \n    2]"),
            ("[1,2,]", "[1,2 ]"),
            ("{\"a\":1, // last\n}", "{\"a\":1         \n}"),
            // Inside string literals nothing changes.
            (r#"["http://a/", "/* \" // */", ",]"]"#, r#"["http://a/", "/* \" // */", ",]"]"#),
            (r#"["\\", // x"#, r#"["\\",     "#),
            ("// only", "       "),
        ] {
            assert_eq!(to_json(text), expected, "{text}");
        }
    }

    #[test]
    fn invalid_json_stays_invalid() {
        for text in [
            "[1,,2]",
            "[,]",
            "{,}",
            "[1,,]",
            "{\"a\":,}",
            ",",
            "/* no end",
            "[1] /",
            "\"no end",
            "[1 2]",
            "/*/ [] ",
        ] {
            let json = to_json(text);
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_err(), "{text} became {json}");
        }
    }
}
