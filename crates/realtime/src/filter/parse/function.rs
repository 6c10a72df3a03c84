//! Parses function calls in a filter.

use super::{Parser, Value};
use crate::filter::error::FilterError;
use crate::filter::expression::{Condition, Number, Text};
use crate::filter::lex::{Token, error};

impl Parser<'_> {
    pub(super) fn function(&mut self, word: &str, start: usize) -> Result<Value, FilterError> {
        let name = word.to_ascii_lowercase();
        self.descend()?;
        self.expect(&Token::Open, "'('")?;
        let value = match name.as_str() {
            "tolower" => Value::Text(Text::Lower(self.text_argument(word)?.into())),
            "toupper" => Value::Text(Text::Upper(self.text_argument(word)?.into())),
            "trim" => Value::Text(Text::Trim(self.text_argument(word)?.into())),
            "length" => self.length()?,
            "substring" => self.substring(word)?,
            "concat" | "indexof" | "startswith" | "endswith" | "contains" => {
                let left = self.text_argument(word)?;
                self.expect(&Token::Comma, "','")?;
                let right = self.text_argument(word)?;
                match name.as_str() {
                    "concat" => Value::Text(Text::Concat(left.into(), right.into())),
                    "indexof" => Value::Number(Number::IndexOf(left, right)),
                    "startswith" => Value::Condition(Condition::StartsWith(left, right)),
                    "endswith" => Value::Condition(Condition::EndsWith(left, right)),
                    _ => Value::Condition(Condition::Contains(left, right)),
                }
            }
            _ => {
                let what = format!(
                    "'{word}' is not a function; use tolower, toupper, trim, substring, concat, indexof, length, startswith, endswith or contains"
                );
                return Err(error(self.text, start, what));
            }
        };
        self.expect(&Token::Close, "')'")?;
        self.depth -= 1;
        Ok(value)
    }

    fn length(&mut self) -> Result<Value, FilterError> {
        let start = self.at();
        Ok(Value::Number(match self.primary()? {
            Value::Groups => Number::GroupCount,
            Value::Text(text) => Number::Length(text),
            Value::Null => Number::Literal(None),
            other => {
                let what = format!("'length' needs a text or groups, but this is {}", other.kind());
                return Err(error(self.text, start, what));
            }
        }))
    }

    fn substring(&mut self, word: &str) -> Result<Value, FilterError> {
        let text = self.text_argument(word)?;
        self.expect(&Token::Comma, "','")?;
        let start = self.integer()?;
        let length = if self.peek() == &Token::Comma {
            self.next += 1;
            Some(self.integer()?)
        } else {
            None
        };
        Ok(Value::Text(Text::Substring(text.into(), start, length)))
    }

    fn integer(&mut self) -> Result<i64, FilterError> {
        let Token::Number(number) = *self.peek() else { return Err(self.unexpected("a whole number")) };
        self.next += 1;
        self.count()?;
        Ok(number)
    }

    fn text_argument(&mut self, function: &str) -> Result<Text, FilterError> {
        let start = self.at();
        match self.primary()? {
            Value::Text(text) => Ok(text),
            Value::Null => Ok(Text::Literal(None)),
            other => {
                let what = format!("'{function}' needs a text, but this is {}", other.kind());
                Err(error(self.text, start, what))
            }
        }
    }
}
