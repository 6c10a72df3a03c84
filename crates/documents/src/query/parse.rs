//! Parser: tokens to tree. Clauses are here, expressions in `parse/expressions.rs`.

mod expressions;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::ast::{Aggregate, Expression, Select, SortKey, SqlQuery};
use super::error::SqlError;
use super::lex::{SqlToken, SqlTokenKind, lex};

/// Deepest nesting of brackets, functions and unary operators.
const NESTING_MAX: usize = 64;
/// Longest chain of operators (except AND and OR) or of steps of a path.
const CHAIN_MAX: usize = 100;

/// Most AND operators, and most OR operators, in one query. The account document contains it.
pub(crate) const LOGICAL_MAX: usize = 10_000;
/// Most values in the list of one IN, as documented by Azure.
pub(crate) const IN_ITEMS_MAX: usize = 16_000;
/// Most operands in one query.
const OPERANDS_MAX: usize = 100_000;

/// Words that end an expression or an alias.
const KEYWORDS: [&str; 27] = [
    "SELECT", "TOP", "DISTINCT", "VALUE", "FROM", "AS", "IN", "JOIN", "WHERE", "GROUP", "ORDER", "BY", "ASC",
    "DESC", "OFFSET", "LIMIT", "AND", "OR", "NOT", "BETWEEN", "LIKE", "ESCAPE", "EXISTS", "ARRAY", "NULL",
    "TRUE", "FALSE",
];

/// Values of `@name`.
pub(crate) type Parameters = Map<String, Value>;

/// Parses a query.
pub(crate) fn parse(text: &str, parameters: &Parameters) -> Result<SqlQuery, SqlError> {
    let mut parser = Parser {
        tokens: lex(text)?,
        at: 0,
        parameters: parameters.iter().map(|(name, value)| (name.as_str(), Arc::new(value.clone()))).collect(),
        names: Vec::new(),
        aggregates: Vec::new(),
        clause: Clause::Select,
        nesting: 0,
        ands: 0,
        ors: 0,
        operands: 0,
    };
    parser.query()
}

/// The current clause; aggregates are only allowed in SELECT.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clause {
    Select,
    Aggregate,
    Other,
}

struct Parser<'a> {
    tokens: Vec<SqlToken>,
    at: usize,
    parameters: HashMap<&'a str, Arc<Value>>,
    /// Uses of names, with their positions: FROM, which defines the name of the item, comes after SELECT.
    names: Vec<(String, SqlToken, Clause)>,
    aggregates: Vec<(Aggregate, Expression)>,
    clause: Clause,
    nesting: usize,
    ands: usize,
    ors: usize,
    operands: usize,
}

impl Parser<'_> {
    fn query(&mut self) -> Result<SqlQuery, SqlError> {
        self.expect_word("SELECT")?;
        let mut limit = None;
        loop {
            if self.take_word("TOP") {
                limit = Some(self.count("TOP")?);
            } else if self.peek_word("DISTINCT") {
                return Err(self.unsupported("DISTINCT"));
            } else {
                break;
            }
        }
        let select = self.select()?;
        self.clause = Clause::Other;
        let alias = if self.take_word("FROM") { Some(self.from()?) } else { None };
        let filter = if self.take_word("WHERE") { Some(self.expression()?) } else { None };
        if self.peek_word("GROUP") {
            return Err(self.unsupported("GROUP BY"));
        }
        let order_by = self.order_by()?;
        let mut offset = 0;
        if self.take_word("OFFSET") {
            offset = self.count("OFFSET")?;
            self.expect_word("LIMIT")?;
            let bound = self.count("LIMIT")?;
            limit = Some(limit.map_or(bound, |top: u64| top.min(bound)));
        }
        self.take_symbol(";");
        if self.peek().kind != SqlTokenKind::End {
            return Err(self.unexpected());
        }
        self.check_names(alias.as_deref())?;
        let aggregates = std::mem::take(&mut self.aggregates);
        Ok(SqlQuery { select, filter, order_by, limit, offset, aggregates })
    }

    fn select(&mut self) -> Result<Select, SqlError> {
        if self.take_symbol("*") {
            return Ok(Select::Star);
        }
        // VALUE is a keyword only before an expression: in `SELECT value FROM value` it is a name.
        if self.peek_word("VALUE")
            && !matches!(self.peek_second(), SqlTokenKind::Symbol("." | "," | ")") | SqlTokenKind::End)
        {
            self.at += 1;
            return Ok(Select::Value(self.expression()?));
        }
        let mut list: Vec<(String, Expression)> = Vec::new();
        let mut unnamed = 1;
        loop {
            let start = self.peek().clone();
            let expression = self.expression()?;
            let alias = self.alias()?;
            let name =
                alias.or_else(|| own_name(&expression, &start)).unwrap_or_else(|| format!("${unnamed}"));
            unnamed += usize::from(name.starts_with('$'));
            list.push((name, expression));
            if !self.take_symbol(",") {
                return Ok(Select::List(list));
            }
        }
    }

    /// `AS name`, or a name after an expression.
    fn alias(&mut self) -> Result<Option<String>, SqlError> {
        let explicit = self.take_word("AS");
        match self.peek().kind.clone() {
            SqlTokenKind::Word(word) if explicit || !is_keyword(&word) => {
                self.at += 1;
                Ok(Some(word))
            }
            SqlTokenKind::Text(text) if explicit => {
                self.at += 1;
                Ok(Some(text))
            }
            _ if explicit => Err(self.unexpected()),
            _ => Ok(None),
        }
    }

    /// The name of the item.
    fn from(&mut self) -> Result<String, SqlError> {
        let SqlTokenKind::Word(root) = self.peek().kind.clone() else { return Err(self.unexpected()) };
        self.at += 1;
        if self.peek_word("IN") {
            return Err(self.unsupported("FROM … IN"));
        }
        if matches!(self.peek().kind, SqlTokenKind::Symbol("." | "[")) {
            return Err(self.unsupported("FROM over a path inside the item"));
        }
        let alias = self.alias()?;
        if self.peek_word("JOIN") || self.peek().kind == SqlTokenKind::Symbol(",") {
            return Err(self.unsupported("JOIN"));
        }
        Ok(alias.unwrap_or(root))
    }

    fn order_by(&mut self) -> Result<Vec<SortKey>, SqlError> {
        let mut keys = Vec::new();
        if !self.take_word("ORDER") {
            return Ok(keys);
        }
        self.expect_word("BY")?;
        loop {
            let by = self.expression()?;
            let descending = self.take_word("DESC");
            if !descending {
                self.take_word("ASC");
            }
            keys.push(SortKey { by, descending });
            if !self.take_symbol(",") {
                return Ok(keys);
            }
        }
    }

    /// A whole number, literal or parameter.
    fn count(&mut self, clause: &str) -> Result<u64, SqlError> {
        let token = self.peek().clone();
        let value = match &token.kind {
            SqlTokenKind::Number(number) => Value::Number(number.clone()),
            SqlTokenKind::Parameter(name) => self.parameter(name, &token)?.as_ref().clone(),
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        value.as_u64().ok_or_else(|| SqlError {
            code: "SC2062",
            message: format!("{clause} takes a whole number that is not negative."),
            start: token.start,
            end: token.end,
        })
    }

    fn parameter(&self, name: &str, token: &SqlToken) -> Result<Arc<Value>, SqlError> {
        self.parameters.get(name).cloned().ok_or_else(|| SqlError {
            code: "SC2010",
            message: format!("The query parameter '{name}' has no value in the request."),
            start: token.start,
            end: token.end,
        })
    }

    /// Checks that every name is the one that FROM defines. In a query with aggregates it may only be used inside them.
    fn check_names(&self, alias: Option<&str>) -> Result<(), SqlError> {
        for (name, token, clause) in &self.names {
            let error = |code, message| SqlError { code, message, start: token.start, end: token.end };
            if alias != Some(name) {
                return Err(error("SC2001", format!("Identifier '{name}' could not be resolved.")));
            }
            if *clause == Clause::Select && !self.aggregates.is_empty() {
                let message = format!(
                    "'{name}' beside an aggregate needs GROUP BY, which this service does not support yet."
                );
                return Err(error("SC2102", message));
            }
        }
        Ok(())
    }

    fn peek(&self) -> &SqlToken {
        &self.tokens[self.at]
    }

    fn peek_second(&self) -> &SqlTokenKind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    fn peek_word(&self, keyword: &str) -> bool {
        matches!(&self.peek().kind, SqlTokenKind::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn take_word(&mut self, keyword: &str) -> bool {
        let found = self.peek_word(keyword);
        self.at += usize::from(found);
        found
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek().kind, SqlTokenKind::Symbol(there) if there == symbol);
        self.at += usize::from(found);
        found
    }

    fn expect_word(&mut self, keyword: &str) -> Result<(), SqlError> {
        if self.take_word(keyword) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<(), SqlError> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// The current token is unexpected.
    fn unexpected(&self) -> SqlError {
        let token = self.peek();
        let (code, message) = match &token.kind {
            SqlTokenKind::End => ("SC1002", "Syntax error, unexpected end-of-file.".to_owned()),
            kind => ("SC1001", format!("Syntax error, incorrect syntax near '{}'.", shown(kind))),
        };
        SqlError { code, message, start: token.start, end: token.end }
    }

    /// The query exceeds a limit. The text is that of Azure, which has no code for it.
    fn too_many(&self, what: &str, most: usize) -> SqlError {
        let token = self.peek();
        let message = format!(
            "The SQL query exceeded the maximum number of {what}. The allowed limit is {most}. Split the query, or pass the values as one array and use ARRAY_CONTAINS."
        );
        SqlError { code: "SC1101", message, start: token.start, end: token.end }
    }

    /// The current token begins a feature of Cosmos DB SQL that this service does not support.
    fn unsupported(&self, what: &str) -> SqlError {
        let token = self.peek();
        let message = format!("{what} is not supported by this service yet.");
        SqlError { code: "SC1100", message, start: token.start, end: token.end }
    }
}

fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word))
}

fn shown(kind: &SqlTokenKind) -> String {
    match kind {
        SqlTokenKind::Word(text) | SqlTokenKind::Parameter(text) | SqlTokenKind::Text(text) => text.clone(),
        SqlTokenKind::Number(number) => number.to_string(),
        SqlTokenKind::Symbol(symbol) => (*symbol).to_owned(),
        SqlTokenKind::End => String::new(),
    }
}

/// The name of a path is that of its last step.
fn own_name(expression: &Expression, start: &SqlToken) -> Option<String> {
    match (expression, &start.kind) {
        (Expression::Property(_, name), _) => Some(name.clone()),
        (Expression::Index(_, by), _) => match by.as_ref() {
            Expression::Literal(Value::String(name)) => Some(name.clone()),
            Expression::Parameter(value) => value.as_str().map(str::to_owned),
            _ => None,
        },
        (Expression::Root, SqlTokenKind::Word(word)) => Some(word.clone()),
        _ => None,
    }
}
