//! The path of a request, normalised like Kestrel, the server of the Azure Functions host: decoded except for `%2F`, without dot
//! segments. Source: recordings of that host. Pure.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// The escaped characters of a path: all but RFC 3986's `pchar` and the slash. `%` is handled separately.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Decodes a path and removes its dot segments. `%2F` is kept, because it is not a separator; so are escapes that are not UTF-8.
/// `None` if the request must be rejected with 400: the path has `%00`, or bytes that are not ASCII.
pub(super) fn read(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.is_ascii() {
        return None;
    }
    let decoded = if raw.contains('%') { Cow::Owned(decode(raw)?) } else { Cow::Borrowed(raw) };
    if decoded.contains("/.") {
        return Some(Cow::Owned(without_dot_segments(&decoded)));
    }
    Some(decoded)
}

/// Escapes a path for an address; `%` only if it is not followed by two hexadecimal digits.
pub(super) fn write(decoded: &str) -> String {
    let mut written = String::with_capacity(decoded.len());
    for (index, part) in decoded.split('%').enumerate() {
        if index > 0 {
            let is_escape = part.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
            written.push_str(if is_escape { "%" } else { "%25" });
        }
        written.extend(utf8_percent_encode(part, ESCAPED));
    }
    written
}

fn decode(raw: &str) -> Option<String> {
    let mut decoded = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        match character(rest) {
            Some(('\0', _)) => return None,
            Some((c, length)) if c != '/' => {
                decoded.push(c);
                rest = &rest[length..];
            }
            // A slash, or not the escape of a character: the percent sign is kept, and the rest is text.
            _ => {
                decoded.push('%');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    Some(decoded)
}

/// The escaped character at the start of a text, and the length of its escapes in bytes.
fn character(text: &str) -> Option<(char, usize)> {
    let mut bytes = [0; 4];
    for count in 1..=bytes.len() {
        bytes[count - 1] = escape(text.get(3 * (count - 1)..3 * count)?)?;
        match std::str::from_utf8(&bytes[..count]) {
            Ok(character) => return Some((character.chars().next()?, 3 * count)),
            // The bytes so far are the start of a character.
            Err(error) if error.error_len().is_none() => {}
            Err(_) => return None,
        }
    }
    None
}

/// The byte of one escape such as `%2f`.
fn escape(text: &str) -> Option<u8> {
    let digits = text.strip_prefix('%')?;
    // `from_str_radix` would accept a sign too.
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// RFC 3986, section 5.2.4, for a path that starts with a slash.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => {
                kept.push(other);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_except_for_slashes_and_its_dot_segments_are_removed() {
        for (raw, expected) in [
            ("/api/items/7", "/api/items/7"),
            ("/a%20b/%C3%A4/%25", "/a b/ä/%"),
            ("/a%2Fb/a%2fb", "/a%2Fb/a%2fb"),
            ("/a%252Fb", "/a%2Fb"),
            ("/%zz/%FF/%C3%28/%E2%82/%+1", "/%zz/%FF/%C3(/%E2%82/%+1"),
            ("/a/../b/./c/.", "/b/c/"),
            ("/a/%2e%2e/b/..", "/"),
            ("/../../a", "/a"),
            ("/a/.hidden/..b/", "/a/.hidden/..b/"),
            ("/a%2F..%2Fb", "/a%2F..%2Fb"),
            ("//a//", "//a//"),
        ] {
            assert_eq!(read(raw).as_deref(), Some(expected), "{raw}");
        }
    }

    #[test]
    fn a_path_with_a_null_or_non_ascii_bytes_is_rejected() {
        assert_eq!(read("/a%00b"), None);
        assert_eq!(read("/ä"), None);
    }

    #[test]
    fn the_path_of_an_address_is_escaped_once() {
        for (decoded, expected) in [
            ("/a b/ä/%", "/a%20b/%C3%A4/%25"),
            ("/%zz/a%2Fb", "/%25zz/a%2Fb"),
            ("/{x}/a\\b/a?b#c", "/%7Bx%7D/a%5Cb/a%3Fb%23c"),
            ("/a;b=c/~/a:b@$&'()*+,!", "/a;b=c/~/a:b@$&'()*+,!"),
        ] {
            assert_eq!(write(decoded), expected, "{decoded}");
        }
    }
}
