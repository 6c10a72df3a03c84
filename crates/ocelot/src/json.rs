//! JSON as .NET's configuration accepts it: with comments, trailing commas and a byte order mark.

use serde_json::Value;

/// Parses `text`. Line and column of an error are those of the original text.
pub(crate) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(&without_extras(text.strip_prefix('\u{feff}').unwrap_or(text)))
}

/// Replaces comments and trailing commas by spaces, so that every other character keeps its line and column.
fn without_extras(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    // The place of a comma after which only white space has come.
    let mut comma: Option<usize> = None;
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                comma = None;
                result.push('"');
                copy_string(&mut characters, &mut result);
            }
            '/' if characters.peek() == Some(&'/') => {
                result.push(' ');
                while let Some(next) = characters.next_if(|next| *next != '\n') {
                    result.push_str(blank(next));
                }
            }
            '/' if characters.peek() == Some(&'*') => {
                // `/*/` does not end the comment that it starts.
                characters.next();
                result.push_str("  ");
                let mut previous = ' ';
                for next in characters.by_ref() {
                    result.push_str(blank(next));
                    if previous == '*' && next == '/' {
                        break;
                    }
                    previous = next;
                }
            }
            ',' => {
                // `[,]` has no value before the comma and stays an error.
                let after_a_value = !result.trim_end().ends_with(['[', '{', ',']);
                comma = after_a_value.then_some(result.len());
                result.push(',');
            }
            '}' | ']' => {
                if let Some(at) = comma.take() {
                    result.replace_range(at..=at, " ");
                }
                result.push(character);
            }
            _ => {
                if !character.is_whitespace() {
                    comma = None;
                }
                result.push(character);
            }
        }
    }
    result
}

fn copy_string(characters: &mut std::iter::Peekable<std::str::Chars<'_>>, result: &mut String) {
    let mut escaped = false;
    for character in characters.by_ref() {
        result.push(character);
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return,
            _ => {}
        }
    }
}

fn blank(character: char) -> &'static str {
    if character == '\n' { "\n" } else { " " }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn comments_and_trailing_commas_are_accepted() {
        let text =
            "\u{feff}{ // one\n \"a\": [1, 2,], /* two , */ \"b\": {\"c\": \"// no /* comment,]\",\n}, }";
        assert_eq!(parse(text).ok(), Some(json!({"a": [1, 2], "b": {"c": "// no /* comment,]"}})));
    }

    #[test]
    fn a_comment_between_a_comma_and_a_bracket_does_not_hide_the_comma() {
        assert_eq!(parse("[1, /* x */ ]").ok(), Some(json!([1])));
        assert_eq!(parse("[1 /**/, 2 /*/ , */]").ok(), Some(json!([1, 2])));
    }

    #[test]
    fn a_comma_without_a_value_before_it_stays_an_error() {
        assert!(parse("[,]").is_err());
        assert!(parse("{\"a\":1,,}").is_err());
        assert!(parse("{\"a\" 1}").is_err());
    }

    #[test]
    fn an_error_keeps_its_line() {
        let error = parse("{\n// x\n/* y\n*/ \"a\": nope }").expect_err("`nope` is no value");
        assert_eq!(error.line(), 4);
    }
}
