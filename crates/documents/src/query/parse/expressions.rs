//! Expressions, by precedence climbing: one function for all binary operators, so that the stack grows with brackets only.

use serde_json::Value;

use super::super::SqlError;
use super::super::ast::{Expression, Operator};
use super::super::functions;
use super::super::lex::SqlTokenKind;
use super::{CHAIN_MAX, Clause, IN_ITEMS_MAX, LOGICAL_MAX, NESTING_MAX, OPERANDS_MAX, Parser, is_keyword};

/// Infix operators, by rising precedence.
#[derive(Clone, Copy)]
enum Infix {
    Or,
    And,
    Binary(Operator, u8),
    In,
    Between,
}

const CONDITIONAL: u8 = 1;
const OR: u8 = 3;
const AND: u8 = 4;
const COMPARISON: u8 = 6;
const ADDITION: u8 = 8;
const MULTIPLICATION: u8 = 9;

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Expression, SqlError> {
        self.nested(|parser| parser.climb(0))
    }

    /// An expression whose operators all bind at least as tightly as `least`.
    fn climb(&mut self, least: u8) -> Result<Expression, SqlError> {
        let mut left = self.unary()?;
        let mut chain = 0;
        loop {
            let negated = self.peek_word("NOT") && self.is_negated_infix();
            if negated && COMPARISON >= least {
                self.at += 1;
            }
            let Some(infix) = self.infix()?.filter(|infix| infix.precedence() >= least) else { break };
            if !matches!(infix, Infix::And | Infix::Or) {
                chain += 1;
                self.check_chain(chain)?;
            }
            left = self.after_infix(left, infix)?;
            if negated {
                left = Expression::Not(Box::new(left));
            }
        }
        if least <= CONDITIONAL && self.take_symbol("?") {
            let one = self.expression()?;
            self.expect_symbol(":")?;
            let other = self.nested(|parser| parser.climb(CONDITIONAL))?;
            return Ok(Expression::Conditional(Box::new(left), Box::new(one), Box::new(other)));
        }
        Ok(left)
    }

    fn after_infix(&mut self, left: Expression, infix: Infix) -> Result<Expression, SqlError> {
        let precedence = infix.precedence();
        self.at += 1;
        Ok(match infix {
            Infix::Or => {
                self.ors += 1;
                if self.ors > LOGICAL_MAX {
                    return Err(self.too_many("'OR' operators", LOGICAL_MAX));
                }
                let right = self.climb(precedence + 1)?;
                match left {
                    Expression::Or(mut parts) => {
                        parts.push(right);
                        Expression::Or(parts)
                    }
                    left => Expression::Or(vec![left, right]),
                }
            }
            Infix::And => {
                self.ands += 1;
                if self.ands > LOGICAL_MAX {
                    return Err(self.too_many("'AND' operators", LOGICAL_MAX));
                }
                let right = self.climb(precedence + 1)?;
                match left {
                    Expression::And(mut parts) => {
                        parts.push(right);
                        Expression::And(parts)
                    }
                    left => Expression::And(vec![left, right]),
                }
            }
            Infix::Binary(operator, _) => {
                let right = self.climb(precedence + 1)?;
                Expression::Binary(operator, Box::new(left), Box::new(right))
            }
            Infix::In => {
                self.expect_symbol("(")?;
                let list = self.list(")")?;
                if list.len() > IN_ITEMS_MAX {
                    return Err(self.too_many("values in an 'IN' list", IN_ITEMS_MAX));
                }
                Expression::In(Box::new(left), list)
            }
            Infix::Between => {
                let low = self.climb(COMPARISON + 1)?;
                self.expect_word("AND")?;
                let high = self.climb(COMPARISON + 1)?;
                Expression::Between(Box::new(left), Box::new(low), Box::new(high))
            }
        })
    }

    /// The infix operator at the current token, without consuming it.
    fn infix(&self) -> Result<Option<Infix>, SqlError> {
        let binary = |operator, precedence| Ok(Some(Infix::Binary(operator, precedence)));
        match &self.peek().kind {
            SqlTokenKind::Word(word) => match word.to_ascii_uppercase().as_str() {
                "OR" => Ok(Some(Infix::Or)),
                "AND" => Ok(Some(Infix::And)),
                "IN" => Ok(Some(Infix::In)),
                "BETWEEN" => Ok(Some(Infix::Between)),
                "LIKE" => Err(self.unsupported("LIKE")),
                _ => Ok(None),
            },
            SqlTokenKind::Symbol(symbol) => match *symbol {
                "??" => binary(Operator::Coalesce, 2),
                "=" => binary(Operator::Equal, COMPARISON),
                "!=" | "<>" => binary(Operator::NotEqual, COMPARISON),
                "<" => binary(Operator::Less, COMPARISON),
                "<=" => binary(Operator::LessOrEqual, COMPARISON),
                ">" => binary(Operator::Greater, COMPARISON),
                ">=" => binary(Operator::GreaterOrEqual, COMPARISON),
                "||" => binary(Operator::Concatenate, 7),
                "+" => binary(Operator::Add, ADDITION),
                "-" => binary(Operator::Subtract, ADDITION),
                "*" => binary(Operator::Multiply, MULTIPLICATION),
                "/" => binary(Operator::Divide, MULTIPLICATION),
                "%" => binary(Operator::Modulo, MULTIPLICATION),
                "&" | "|" | "^" | "<<" | ">>" | ">>>" => {
                    Err(self.unsupported(&format!("The bit operator {symbol}")))
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// `NOT IN`, `NOT BETWEEN`, `NOT LIKE`.
    fn is_negated_infix(&self) -> bool {
        let SqlTokenKind::Word(next) = self.peek_second() else { return false };
        ["IN", "BETWEEN", "LIKE"].iter().any(|word| word.eq_ignore_ascii_case(next))
    }

    fn unary(&mut self) -> Result<Expression, SqlError> {
        self.operands += 1;
        if self.operands > OPERANDS_MAX {
            return Err(self.too_many("operands", OPERANDS_MAX));
        }
        if self.take_word("NOT") {
            // NOT has lower precedence than comparisons: NOT a = b is NOT (a = b).
            let of = self.nested(|parser| parser.climb(COMPARISON))?;
            return Ok(Expression::Not(Box::new(of)));
        }
        if self.take_symbol("-") {
            return Ok(match self.nested(Self::unary)? {
                Expression::Literal(Value::Number(number))
                    if number.as_i64().is_some_and(|it| it != i64::MIN) =>
                {
                    Expression::Literal(Value::from(-number.as_i64().unwrap_or_default()))
                }
                of => Expression::Negate(Box::new(of)),
            });
        }
        if self.take_symbol("+") {
            return self.nested(Self::unary);
        }
        if matches!(self.peek().kind, SqlTokenKind::Symbol("~")) {
            return Err(self.unsupported("The bit operator ~"));
        }
        let primary = self.primary()?;
        self.steps(primary)
    }

    /// `.name`, `["name"]`, `[0]`.
    fn steps(&mut self, mut of: Expression) -> Result<Expression, SqlError> {
        for step in 0.. {
            self.check_chain(step)?;
            if self.take_symbol(".") {
                let SqlTokenKind::Word(name) = self.peek().kind.clone() else {
                    return Err(self.unexpected());
                };
                self.at += 1;
                of = Expression::Property(Box::new(of), name);
            } else if self.take_symbol("[") {
                let by = self.expression()?;
                self.expect_symbol("]")?;
                of = Expression::Index(Box::new(of), Box::new(by));
            } else {
                break;
            }
        }
        Ok(of)
    }

    fn primary(&mut self) -> Result<Expression, SqlError> {
        let token = self.peek().clone();
        match token.kind {
            SqlTokenKind::Number(number) => {
                self.at += 1;
                Ok(Expression::Literal(Value::Number(number)))
            }
            SqlTokenKind::Text(text) => {
                self.at += 1;
                Ok(Expression::Literal(Value::String(text)))
            }
            SqlTokenKind::Parameter(ref name) => {
                let value = self.parameter(name, &token)?;
                self.at += 1;
                Ok(Expression::Parameter(value))
            }
            SqlTokenKind::Symbol("(") => {
                self.at += 1;
                if self.peek_word("SELECT") {
                    return Err(self.unsupported("A subquery"));
                }
                let inner = self.expression()?;
                self.expect_symbol(")")?;
                Ok(inner)
            }
            SqlTokenKind::Symbol("[") => {
                self.at += 1;
                Ok(Expression::Array(self.list("]")?))
            }
            SqlTokenKind::Symbol("{") => self.object(),
            SqlTokenKind::Word(word) => self.word(&word),
            SqlTokenKind::Symbol(_) | SqlTokenKind::End => Err(self.unexpected()),
        }
    }

    /// A constant, a function call, or a name for the item.
    fn word(&mut self, word: &str) -> Result<Expression, SqlError> {
        let constant = match word.to_ascii_lowercase().as_str() {
            "true" => Some(Expression::Literal(Value::Bool(true))),
            "false" => Some(Expression::Literal(Value::Bool(false))),
            "null" => Some(Expression::Literal(Value::Null)),
            "undefined" => Some(Expression::Undefined),
            "exists" => return Err(self.unsupported("EXISTS")),
            "array" if *self.peek_second() == SqlTokenKind::Symbol("(") => {
                return Err(self.unsupported("ARRAY"));
            }
            _ => None,
        };
        if let Some(constant) = constant {
            self.at += 1;
            return Ok(constant);
        }
        if *self.peek_second() == SqlTokenKind::Symbol("(") {
            return self.call(word);
        }
        if word.eq_ignore_ascii_case("udf") && *self.peek_second() == SqlTokenKind::Symbol(".") {
            return Err(self.unsupported("A user-defined function"));
        }
        if is_keyword(word) && !word.eq_ignore_ascii_case("value") {
            return Err(self.unexpected());
        }
        self.names.push((word.to_owned(), self.peek().clone(), self.clause));
        self.at += 1;
        Ok(Expression::Root)
    }

    fn call(&mut self, name: &str) -> Result<Expression, SqlError> {
        let token = self.peek().clone();
        let error = |code, message| SqlError { code, message, start: token.start, end: token.end };
        let aggregate = functions::aggregate(name);
        if aggregate.is_some() && self.clause != Clause::Select {
            let message = format!("The aggregate {} is only allowed in SELECT.", name.to_uppercase());
            return Err(error("SC2203", message));
        }
        self.at += 2;
        if let Some(aggregate) = aggregate {
            self.clause = Clause::Aggregate;
            let of = self.expression()?;
            self.clause = Clause::Select;
            self.expect_symbol(")")?;
            self.aggregates.push((aggregate, of));
            return Ok(Expression::Aggregate(self.aggregates.len() - 1));
        }
        let Some((function, counts)) = functions::function(name) else {
            let message = format!("The function '{name}' is unknown or not supported by this service.");
            return Err(error("SC2005", message));
        };
        let arguments = self.list(")")?;
        if !counts.contains(&arguments.len()) {
            let message = format!(
                "The function '{name}' takes {} to {} arguments, and {} are given.",
                counts.start(),
                counts.end(),
                arguments.len()
            );
            return Err(error("SC2006", message));
        }
        Ok(Expression::Call(function, arguments))
    }

    fn object(&mut self) -> Result<Expression, SqlError> {
        self.expect_symbol("{")?;
        let mut properties = Vec::new();
        if self.take_symbol("}") {
            return Ok(Expression::Object(properties));
        }
        loop {
            let (SqlTokenKind::Text(name) | SqlTokenKind::Word(name)) = self.peek().kind.clone() else {
                return Err(self.unexpected());
            };
            self.at += 1;
            self.expect_symbol(":")?;
            properties.push((name, self.expression()?));
            if !self.take_symbol(",") {
                self.expect_symbol("}")?;
                return Ok(Expression::Object(properties));
            }
        }
    }

    /// Expressions separated by commas, up to and including the closing bracket.
    fn list(&mut self, close: &str) -> Result<Vec<Expression>, SqlError> {
        let mut list = Vec::new();
        if self.take_symbol(close) {
            return Ok(list);
        }
        loop {
            list.push(self.expression()?);
            if !self.take_symbol(",") {
                self.expect_symbol(close)?;
                return Ok(list);
            }
        }
    }

    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, SqlError>) -> Result<T, SqlError> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            let what = format!("Nesting deeper than {NESTING_MAX} levels");
            return Err(self.unsupported(&what));
        }
        let result = inner(self);
        self.nesting -= 1;
        result
    }

    /// The depth of the tree of a chain of operators or steps is its length.
    fn check_chain(&self, length: usize) -> Result<(), SqlError> {
        if length > CHAIN_MAX {
            return Err(self.unsupported(&format!("A chain of more than {CHAIN_MAX} operators or steps")));
        }
        Ok(())
    }
}

impl Infix {
    fn precedence(self) -> u8 {
        match self {
            Self::Or => OR,
            Self::And => AND,
            Self::In | Self::Between => COMPARISON,
            Self::Binary(_, precedence) => precedence,
        }
    }
}
