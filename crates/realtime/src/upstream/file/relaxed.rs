//! JSON as .NET's configuration reads it: with a byte order mark, comments and trailing commas. Pure.

/// Makes JSON of it: what JSON does not allow becomes blanks, so that an error names the right line and column. What is no JSON
/// either way, such as a comment without an end, is left for the parser to refuse.
pub(super) fn to_json(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut json = String::with_capacity(text.len());
    // Where the last comma stands, while nothing but blanks has followed it, and the last character that is no blank.
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
                    // A comma behind no value is no trailing comma.
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

/// How long the text at the beginning is, quotes included; all of the rest where it does not end.
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
            // Inside of texts all of it is text.
            (r#"["http://a/", "/* \" // */", ",]"]"#, r#"["http://a/", "/* \" // */", ",]"]"#),
            (r#"["\\", // x"#, r#"["\\",     "#),
            ("// only", "       "),
        ] {
            assert_eq!(to_json(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_stays_none() {
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
