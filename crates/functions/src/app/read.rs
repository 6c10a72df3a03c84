//! Reads the files of an app: text that may be absent, and JSON as leniently as the vendor's tools read it.

use std::path::Path;

use super::error::LoadAppError;

/// The text of a file; `None` if there is no such file.
pub(crate) fn read_optional(path: &Path) -> Result<Option<String>, LoadAppError> {
    match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(LoadAppError::Malformed {
                path: path.to_owned(),
                problem: "the file is not UTF-8 text; save it as UTF-8".to_owned(),
            }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(LoadAppError::Unreadable { path: path.to_owned(), cause }),
    }
}

/// Converts text that the vendor's tools accept as JSON to JSON: removes a byte order mark, comments of both kinds and trailing
/// commas (Newtonsoft.Json, which reads these files in the Azure Functions host, accepts all of them). Line numbers stay the
/// same, so that errors name the right line.
pub(crate) fn lenient_json(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut in_string = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' if in_string => {
                out.push(c);
                out.extend(rest.next());
            }
            '"' => {
                in_string = !in_string;
                out.push(c);
            }
            '/' if !in_string && rest.peek() == Some(&'/') => {
                while rest.peek().is_some_and(|next| *next != '\n') {
                    rest.next();
                }
            }
            '/' if !in_string && rest.peek() == Some(&'*') => {
                rest.next();
                let mut last = ' ';
                for inside in rest.by_ref() {
                    if last == '*' && inside == '/' {
                        break;
                    }
                    if inside == '\n' {
                        out.push('\n');
                    }
                    last = inside;
                }
                out.push(' ');
            }
            '}' | ']' if !in_string => {
                drop_trailing_comma(&mut out);
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

fn drop_trailing_comma(out: &mut String) {
    let end = out.trim_end().len();
    if out[..end].ends_with(',') {
        out.replace_range(end - 1..end, " ");
    }
}

/// Parses a JSON file leniently; the error contains line and column.
pub(crate) fn parse_object(text: &str) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    match serde_json::from_str(&lenient_json(text)) {
        Ok(serde_json::Value::Object(object)) => Ok(object),
        Ok(_) => Err("the file contains JSON that is not an object; it must look like { ... }".to_owned()),
        Err(error) => Err(format!("not valid JSON: {error}; correct the file at that place")),
    }
}
