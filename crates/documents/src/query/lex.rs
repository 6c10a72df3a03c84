//! Lexer: text to tokens. Offsets are in characters, as in the error bodies.

use super::error::SqlError;

/// A token and its position.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SqlToken {
    pub(super) kind: SqlTokenKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum SqlTokenKind {
    /// An identifier or a keyword; the parser decides by the position.
    Word(String),
    /// `@name`, with its `@`.
    Parameter(String),
    Text(String),
    Number(serde_json::Number),
    /// An operator or a bracket.
    Symbol(&'static str),
    End,
}

/// Longest first, so that `<=` is not read as `<`.
const SYMBOLS: [&str; 32] = [
    ">>>", "!=", "<>", "<=", ">=", "<<", ">>", "||", "??", "=", "<", ">", "(", ")", "[", "]", "{", "}", ",",
    ".", ":", "?", "+", "-", "*", "/", "%", "&", "|", "^", "~", ";",
];

pub(super) fn lex(text: &str) -> Result<Vec<SqlToken>, SqlError> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let rest = &characters[at..];
        if character.is_whitespace() {
            at += 1;
            continue;
        }
        if rest.starts_with(&['-', '-']) {
            at += rest.iter().position(|it| *it == '\n').unwrap_or(rest.len());
            continue;
        }
        let (kind, length) = token(rest).map_err(|length| syntax_error(rest, at, length))?;
        tokens.push(SqlToken { kind, start: at, end: at + length });
        at += length;
    }
    tokens.push(SqlToken { kind: SqlTokenKind::End, start: at, end: at });
    Ok(tokens)
}

/// The token at the start of `rest` and its length; `Err` has the length of the invalid text.
fn token(rest: &[char]) -> Result<(SqlTokenKind, usize), usize> {
    let first = rest[0];
    let word_length = |from: usize| {
        rest[from..].iter().take_while(|it| it.is_alphanumeric() || **it == '_' || **it == '$').count()
    };
    if first.is_alphabetic() || first == '_' || first == '$' {
        let length = word_length(0);
        return Ok((SqlTokenKind::Word(rest[..length].iter().collect()), length));
    }
    if first == '@' && word_length(1) > 0 {
        let length = 1 + word_length(1);
        return Ok((SqlTokenKind::Parameter(rest[..length].iter().collect()), length));
    }
    if first == '"' || first == '\'' {
        return string(rest);
    }
    if first.is_ascii_digit() || (first == '.' && rest.get(1).is_some_and(char::is_ascii_digit)) {
        return number(rest);
    }
    let symbol = SYMBOLS.iter().find(|symbol| {
        symbol.chars().enumerate().all(|(index, character)| rest.get(index) == Some(&character))
    });
    symbol.map(|symbol| (SqlTokenKind::Symbol(symbol), symbol.len())).ok_or(1)
}

/// A string in single or double quotes, with backslash escapes.
fn string(rest: &[char]) -> Result<(SqlTokenKind, usize), usize> {
    let quote = rest[0];
    let mut text = String::new();
    let mut at = 1;
    loop {
        match rest.get(at).copied() {
            None => return Err(rest.len()),
            Some(character) if character == quote => return Ok((SqlTokenKind::Text(text), at + 1)),
            Some('\\') => {
                let (character, length) = escape(&rest[at + 1..]).ok_or(at + 1)?;
                text.push(character);
                at += 1 + length;
            }
            Some(character) => {
                text.push(character);
                at += 1;
            }
        }
    }
}

/// The character of an escape sequence after its backslash, and its length.
fn escape(rest: &[char]) -> Option<(char, usize)> {
    Some(match rest.first()? {
        'n' => ('\n', 1),
        't' => ('\t', 1),
        'r' => ('\r', 1),
        'b' => ('\u{8}', 1),
        'f' => ('\u{c}', 1),
        'u' => {
            let unit = hex(rest.get(1..5)?)?;
            if (0xd800..0xdc00).contains(&unit) && rest.get(5..7)? == ['\\', 'u'] {
                let low = hex(rest.get(7..11)?)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                (char::from_u32(0x10000 + ((unit - 0xd800) << 10) + low)?, 11)
            } else {
                (char::from_u32(unit)?, 5)
            }
        }
        other => (*other, 1),
    })
}

fn hex(digits: &[char]) -> Option<u32> {
    u32::from_str_radix(&digits.iter().collect::<String>(), 16).ok()
}

fn number(rest: &[char]) -> Result<(SqlTokenKind, usize), usize> {
    let mut length = 0;
    let mut previous = ' ';
    for &character in rest {
        let exponent_sign = matches!(character, '+' | '-') && matches!(previous, 'e' | 'E');
        if !(character.is_ascii_alphanumeric() || character == '.' || exponent_sign) {
            break;
        }
        previous = character;
        length += 1;
    }
    let text: String = rest[..length].iter().collect();
    let whole = text.parse::<i64>().ok().map(serde_json::Number::from);
    let number = whole.or_else(|| serde_json::Number::from_f64(text.parse().ok()?));
    number.map(|number| (SqlTokenKind::Number(number), length)).ok_or(length)
}

fn syntax_error(rest: &[char], at: usize, length: usize) -> SqlError {
    let near: String = rest[..length.min(rest.len()).min(40)].iter().collect();
    let message = format!("Syntax error, incorrect syntax near '{near}'.");
    SqlError { code: "SC1001", message, start: at, end: at + length }
}
