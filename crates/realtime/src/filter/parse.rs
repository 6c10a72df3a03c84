//! Parses the tokens of a filter into a [`Condition`], by recursive descent. Precedence from lowest: `or`, `and`, comparisons and
//! `in`, `not`.

mod function;

use super::error::FilterError;
use super::expression::{Comparison, Condition, Number, Text};
use super::lex::{Lexeme, Token, error, tokens};

/// Most operators, functions, names and values in a filter; the vendor's documentation warns of more than 100 clauses.
pub(super) const PARTS_MAX: usize = 1_000;

/// Deepest nesting of parentheses, functions and `not`.
pub(super) const DEPTH_MAX: usize = 32;

/// A parsed expression with its type.
enum Value {
    Condition(Condition),
    Text(Text),
    Number(Number),
    Groups,
    Null,
}

struct Parser<'a> {
    text: &'a str,
    lexemes: Vec<Lexeme>,
    next: usize,
    depth: usize,
    parts: usize,
}

pub(super) fn filter(text: &str) -> Result<Condition, FilterError> {
    let mut parser = Parser { text, lexemes: tokens(text)?, next: 0, depth: 0, parts: 0 };
    if parser.peek() == &Token::End {
        return Err(error(text, 0, "it is empty; omit it to select all connections"));
    }
    let (start, value) = (parser.at(), parser.either()?);
    let condition = parser.condition(value, start, "a filter")?;
    match parser.peek() {
        Token::End => Ok(condition),
        _ => Err(parser.unexpected("'and', 'or' or the end of the filter")),
    }
}

impl Parser<'_> {
    /// `a or b or c`.
    fn either(&mut self) -> Result<Value, FilterError> {
        self.joined("or", Self::each, Condition::Or)
    }

    /// `a and b and c`.
    fn each(&mut self) -> Result<Value, FilterError> {
        self.joined("and", Self::compared, Condition::And)
    }

    fn joined(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Value, FilterError>,
        join: fn(Vec<Condition>) -> Condition,
    ) -> Result<Value, FilterError> {
        let start = self.at();
        let first = part(self)?;
        if !self.is_word(word) {
            return Ok(first);
        }
        let what = format!("'{word}'");
        let mut parts = vec![self.condition(first, start, &what)?];
        while self.take_word(word) {
            self.count()?;
            let start = self.at();
            let value = part(self)?;
            parts.push(self.condition(value, start, &what)?);
        }
        Ok(Value::Condition(join(parts)))
    }

    /// `a eq b`, `a in (b, c)`, `a in groups`, or `a` alone.
    fn compared(&mut self) -> Result<Value, FilterError> {
        let start = self.at();
        let left = self.negated()?;
        if self.take_word("in") {
            self.count()?;
            return self.membership(left, start).map(Value::Condition);
        }
        let Some(comparison) = self.comparison() else { return Ok(left) };
        self.next += 1;
        self.count()?;
        let right = self.negated()?;
        self.compare(comparison, left, right, start).map(Value::Condition)
    }

    fn compare(
        &self,
        comparison: Comparison,
        left: Value,
        right: Value,
        start: usize,
    ) -> Result<Condition, FilterError> {
        let orders = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let types = (left.kind(), right.kind());
        Ok(match (left, right) {
            (Value::Text(left), Value::Text(right)) => Condition::CompareText(comparison, left, right),
            (Value::Text(left), Value::Null) => Condition::CompareText(comparison, left, Text::Literal(None)),
            (Value::Null, Value::Text(right)) => {
                Condition::CompareText(comparison, Text::Literal(None), right)
            }
            (Value::Null, Value::Null) => {
                Condition::CompareText(comparison, Text::Literal(None), Text::Literal(None))
            }
            (Value::Number(left), Value::Number(right)) => Condition::CompareNumber(comparison, left, right),
            (Value::Number(left), Value::Null) => {
                Condition::CompareNumber(comparison, left, Number::Literal(None))
            }
            (Value::Null, Value::Number(right)) => {
                Condition::CompareNumber(comparison, Number::Literal(None), right)
            }
            (Value::Condition(left), Value::Condition(right)) if !orders => {
                Condition::CompareTruth(comparison, left.into(), right.into())
            }
            (Value::Condition(one), Value::Null) | (Value::Null, Value::Condition(one)) if !orders => {
                Condition::CompareTruth(comparison, one.into(), Condition::Literal(None).into())
            }
            _ => {
                let shown = &self.text[start..self.before()];
                let what = match types {
                    ("a condition", "a condition") => {
                        format!("'{shown}': conditions have no order, only eq and ne")
                    }
                    (left, right) => format!("'{shown}' compares {left} with {right}"),
                };
                return Err(error(self.text, start, what));
            }
        })
    }

    /// The right side of `in`.
    fn membership(&mut self, left: Value, start: usize) -> Result<Condition, FilterError> {
        let parentheses =
            self.lexemes[self.next..].iter().take_while(|lexeme| lexeme.token == Token::Open).count();
        let behind = self.lexemes.get(self.next + parentheses).map(|lexeme| &lexeme.token);
        let is_collection = matches!(behind, Some(Token::Word(word)) if word.eq_ignore_ascii_case("groups"));
        if is_collection {
            // Parentheses around a collection are allowed.
            let from = self.at();
            let Value::Groups = self.primary()? else {
                return Err(error(self.text, from, "'in' needs groups, or a list such as ('a', 'b')"));
            };
            return match left {
                Value::Text(text) => Ok(Condition::InGroups(text)),
                other => {
                    let what = format!("groups contain texts, but this is {}", other.kind());
                    Err(error(self.text, start, what))
                }
            };
        }
        if self.peek() != &Token::Open {
            return Err(self.unexpected("groups, or a list such as ('a', 'b')"));
        }
        self.list(left)
    }

    fn list(&mut self, left: Value) -> Result<Condition, FilterError> {
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        self.expect(&Token::Open, "'('")?;
        loop {
            let start = self.at();
            let value = self.primary()?;
            match (&left, value) {
                (Value::Text(_) | Value::Null, Value::Text(text)) => texts.push(text),
                (Value::Text(_) | Value::Null, Value::Null) => texts.push(Text::Literal(None)),
                (Value::Number(_), Value::Number(number)) => numbers.push(number),
                (Value::Number(_), Value::Null) => numbers.push(Number::Literal(None)),
                (left, value) => {
                    let what =
                        format!("the list contains {}, but the value is {}", value.kind(), left.kind());
                    return Err(error(self.text, start, what));
                }
            }
            if self.peek() != &Token::Comma {
                break;
            }
            self.next += 1;
        }
        self.expect(&Token::Close, "',' or ')'")?;
        Ok(match left {
            Value::Text(text) => Condition::TextIn(text, texts),
            Value::Number(number) => Condition::NumberIn(number, numbers),
            _ => Condition::TextIn(Text::Literal(None), texts),
        })
    }

    /// `not a`: binds tighter than a comparison, as in the vendor's grammar.
    fn negated(&mut self) -> Result<Value, FilterError> {
        if !self.take_word("not") {
            return self.primary();
        }
        self.count()?;
        self.descend()?;
        let start = self.at();
        let value = self.negated()?;
        self.depth -= 1;
        let Value::Condition(condition) = value else {
            let operand = &self.text[start..self.before()];
            let what = format!(
                "'not' needs a condition, but '{operand}' is {}; put a comparison in parentheses, such as not ({operand} …)",
                value.kind()
            );
            return Err(error(self.text, start, what));
        };
        Ok(Value::Condition(Condition::Not(condition.into())))
    }

    fn primary(&mut self) -> Result<Value, FilterError> {
        self.count()?;
        let Lexeme { token, start, .. } = self.lexemes[self.next].clone();
        match token {
            Token::Text(text) => {
                self.next += 1;
                Ok(Value::Text(Text::Literal(Some(text))))
            }
            Token::Number(number) => {
                self.next += 1;
                Ok(Value::Number(Number::Literal(Some(number))))
            }
            Token::Open => {
                self.next += 1;
                self.descend()?;
                let value = self.either()?;
                self.depth -= 1;
                self.expect(&Token::Close, "')'")?;
                Ok(value)
            }
            Token::Word(word) => {
                self.next += 1;
                if self.peek() == &Token::Open {
                    self.function(&word, start)
                } else {
                    self.name(&word, start)
                }
            }
            Token::Close | Token::Comma | Token::End => {
                Err(self.unexpected("a name, a value, a function or '('"))
            }
        }
    }

    fn name(&self, word: &str, start: usize) -> Result<Value, FilterError> {
        Ok(match word.to_ascii_lowercase().as_str() {
            "userid" => Value::Text(Text::User),
            "connectionid" => Value::Text(Text::Connection),
            "groups" => Value::Groups,
            "true" => Value::Condition(Condition::Literal(Some(true))),
            "false" => Value::Condition(Condition::Literal(Some(false))),
            "null" => Value::Null,
            _ => {
                let what =
                    format!("'{word}' is not a name; use userId, connectionId, groups, true, false or null");
                return Err(error(self.text, start, what));
            }
        })
    }

    fn condition(&self, value: Value, start: usize, for_whom: &str) -> Result<Condition, FilterError> {
        match value {
            Value::Condition(condition) => Ok(condition),
            Value::Null => Ok(Condition::Literal(None)),
            other => {
                let shown = &self.text[start..self.before()];
                let what = format!("{for_whom} needs a condition, and '{shown}' is {}", other.kind());
                Err(error(self.text, start, what))
            }
        }
    }

    /// The comparison operator at the current position, if there is one.
    fn comparison(&self) -> Option<Comparison> {
        let Token::Word(word) = self.peek() else { return None };
        Some(match word.to_ascii_lowercase().as_str() {
            "eq" => Comparison::Equal,
            "ne" => Comparison::NotEqual,
            "gt" => Comparison::Greater,
            "ge" => Comparison::GreaterOrEqual,
            "lt" => Comparison::Less,
            "le" => Comparison::LessOrEqual,
            _ => return None,
        })
    }

    fn peek(&self) -> &Token {
        &self.lexemes[self.next].token
    }

    fn is_word(&self, wanted: &str) -> bool {
        matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(wanted))
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        let found = self.is_word(wanted);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: &Token, shown: &str) -> Result<(), FilterError> {
        if self.peek() != wanted {
            return Err(self.unexpected(shown));
        }
        self.next += 1;
        Ok(())
    }

    /// The start of the next token.
    fn at(&self) -> usize {
        self.lexemes[self.next].start
    }

    /// The end of the previous token.
    fn before(&self) -> usize {
        self.next.checked_sub(1).map_or(0, |before| self.lexemes[before].end)
    }

    fn unexpected(&self, wanted: &str) -> FilterError {
        let Lexeme { start, end, token } = &self.lexemes[self.next];
        let found = match token {
            Token::End => "the filter ends here".to_owned(),
            _ => format!("'{}' was found", &self.text[*start..*end]),
        };
        error(self.text, *start, format!("{found}, where {wanted} is expected"))
    }

    fn descend(&mut self) -> Result<(), FilterError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(error(self.text, self.at(), format!("it nests deeper than {DEPTH_MAX} levels")));
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), FilterError> {
        self.parts += 1;
        if self.parts > PARTS_MAX {
            let what = format!("it has more than the {PARTS_MAX} parts allowed");
            return Err(error(self.text, self.at(), what));
        }
        Ok(())
    }
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Condition(_) => "a condition",
            Self::Text(_) => "a text",
            Self::Number(_) => "a number",
            Self::Groups => "a collection",
            Self::Null => "null",
        }
    }
}
