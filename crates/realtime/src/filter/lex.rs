//! Splits a filter into tokens.

use super::error::FilterError;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name, an operator, `true`, `false` or `null`.
    Word(Box<str>),
    Text(Box<str>),
    Number(i64),
    Open,
    Close,
    Comma,
    End,
}

/// A token with its start and end, in bytes.
#[derive(Debug, Clone)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    pub(super) start: usize,
    pub(super) end: usize,
}

pub(super) fn error(text: &str, at: usize, what: impl Into<String>) -> FilterError {
    let position = text.get(..at).map_or(0, |before| before.chars().count()) + 1;
    FilterError { position, what: what.into() }
}

/// Splits a filter into tokens; the last one is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Lexeme>, FilterError> {
    let mut lexemes = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let start = at;
        let token = match first {
            space if space.is_whitespace() => {
                at += space.len_utf8();
                continue;
            }
            '(' | ')' | ',' => {
                at += 1;
                match first {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    _ => Token::Comma,
                }
            }
            '\'' => {
                let (value, end) = quoted(text, start)?;
                at = end;
                Token::Text(value)
            }
            '+' | '-' | '0'..='9' => {
                at = start + 1 + length_while(&text[start + 1..], |byte| byte.is_ascii_digit());
                let digits = &text[start..at];
                let what = || error(text, start, format!("'{digits}' is not a whole number of 64 bits"));
                Token::Number(digits.parse().map_err(|_| what())?)
            }
            letter if letter.is_ascii_alphabetic() || letter == '_' => {
                at += length_while(&text[start..], |byte| byte.is_ascii_alphanumeric() || byte == b'_');
                Token::Word(text[start..at].into())
            }
            '"' => return Err(error(text, start, "use single quotes for strings, such as 'ada'")),
            other => return Err(error(text, start, format!("unexpected character '{other}'"))),
        };
        lexemes.push(Lexeme { token, start, end: at });
    }
    lexemes.push(Lexeme { token: Token::End, start: text.len(), end: text.len() });
    Ok(lexemes)
}

/// A quoted string, in which two quotes are one. Returns the string and its end.
fn quoted(text: &str, start: usize) -> Result<(Box<str>, usize), FilterError> {
    let mut value = String::new();
    let mut at = start + 1;
    loop {
        let Some(length) = text[at..].find('\'') else {
            return Err(error(text, start, "the string has no closing quote"));
        };
        value.push_str(&text[at..at + length]);
        at += length + 1;
        if !text[at..].starts_with('\'') {
            return Ok((value.into(), at));
        }
        value.push('\'');
        at += 1;
    }
}

fn length_while(text: &str, belongs: impl Fn(u8) -> bool) -> usize {
    text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len())
}
