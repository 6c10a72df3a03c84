//! Percent encoding as ASP.NET Core and .NET's `Uri` do it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// True for what a path of ASP.NET Core keeps as it is: RFC 3986 `pchar` without `%`, and `/`.
pub(crate) fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte)
}

/// True for what .NET's `Uri` keeps in a query: RFC 3986 unreserved and reserved characters.
fn is_uri_byte(byte: u8) -> bool {
    is_path_byte(byte) || b"?[]#".contains(&byte)
}

/// True for what .NET's `UrlEncoder` does not encode.
fn is_plain_in_a_query_value(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$()*,;@".contains(&byte)
}

/// Encodes what a path cannot hold; `%XX` stays.
pub(crate) fn encode_path(text: &str) -> Cow<'_, str> {
    encode(text, is_path_byte, true)
}

/// Encodes what a query cannot hold, `#` included; `%XX` stays.
pub(crate) fn encode_query(text: &str) -> Cow<'_, str> {
    encode(text, |byte| byte != b'#' && is_uri_byte(byte), true)
}

/// Encodes a name or a value of a query parameter.
pub(crate) fn encode_query_value(text: &str) -> Cow<'_, str> {
    encode(text, is_plain_in_a_query_value, false)
}

fn encode(text: &str, plain: impl Fn(u8) -> bool, keep_encoded: bool) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let Some(first) = bytes.iter().position(|byte| !plain(*byte)) else { return Cow::Borrowed(text) };
    let mut result = String::with_capacity(text.len() + 8);
    result.push_str(&text[..first]);
    let mut at = first;
    while let Some(&byte) = bytes.get(at) {
        if plain(byte) {
            result.push(char::from(byte));
        } else if byte == b'%' && keep_encoded && encoded_byte(bytes, at).is_some() {
            result.push_str(&text[at..at + 3]);
            at += 2;
        } else {
            let _ = write!(result, "%{byte:02X}");
        }
        at += 1;
    }
    Cow::Owned(result)
}

/// The byte that `%XX` at `at` stands for.
fn encoded_byte(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let (high, low) = (digit(bytes.get(at + 1)?)?, digit(bytes.get(at + 2)?)?);
    (bytes[at] == b'%').then(|| u8::try_from(high * 16 + low).unwrap_or(u8::MAX))
}

/// Decodes each `%XX` sequence that is valid UTF-8 and leaves the others, and those for which `keep` is true, as they are.
pub(crate) fn decode(text: &str, keep: impl Fn(u8) -> bool) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut result = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let Some((character, length)) = decoded_character(bytes, at, &keep) else {
            // The next character as it is; `%` starts none of several bytes.
            let end = text[at..].chars().next().map_or(at + 1, |character| at + character.len_utf8());
            result.push_str(&text[at..end]);
            at = end;
            continue;
        };
        result.push(character);
        at += length;
    }
    Cow::Owned(result)
}

/// The character whose UTF-8 bytes are encoded at `at`, and the length of their encoded form.
fn decoded_character(bytes: &[u8], at: usize, keep: &impl Fn(u8) -> bool) -> Option<(char, usize)> {
    let first = encoded_byte(bytes, at).filter(|byte| !keep(*byte))?;
    let count = match first {
        0..0x80 => 1,
        0xC2..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0..0xF5 => 4,
        _ => return None,
    };
    let mut utf8 = [0; 4];
    for (index, byte) in utf8.iter_mut().take(count).enumerate() {
        *byte = encoded_byte(bytes, at + 3 * index)?;
    }
    let character = std::str::from_utf8(&utf8[..count]).ok()?.chars().next()?;
    Some((character, 3 * count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_sequences_stay_as_they_are() {
        assert_eq!(decode("%41%zz%FF%e2%82%ac%2F%e2%82", |byte| byte == b'/'), "A%zz%FF€%2F%e2%82");
        assert_eq!(decode("é%", |_| false), "é%");
    }

    #[test]
    fn encoded_characters_of_a_path_stay_encoded_and_others_are_encoded() {
        assert_eq!(encode_path("/a%2fb/{x} €%zz#"), "/a%2fb/%7Bx%7D%20%E2%82%AC%25zz%23");
        assert!(matches!(encode_path("/a/b;c=d"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_query_value_is_encoded_as_by_the_url_encoder_of_dot_net() {
        assert_eq!(encode_query_value("a b/,:&=+%"), "a%20b%2F,%3A%26%3D%2B%25");
    }
}
