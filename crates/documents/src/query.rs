//! Cosmos DB SQL: parses a query (`lex`, `parse`, `ast`), evaluates it (`evaluate`, `functions`, `order`), returns pages (`run`).
//!
//! Not its concern: the source of rows (see [`Rows`]), HTTP. An unsupported feature is an [`SqlError`] with its name and position;
//! nothing is ignored.

mod ast;
mod equality;
mod error;
mod evaluate;
mod filter;
mod functions;
mod lex;
mod meter;
mod order;
mod parse;
mod run;

pub(crate) use ast::{Select, SqlQuery};
pub(crate) use error::SqlError;
pub(crate) use filter::holds;
pub(crate) use meter::{Meter, QueryBudget, QueryWatch};
pub(crate) use parse::{IN_ITEMS_MAX, LOGICAL_MAX, Parameters, parse};
pub(crate) use run::{ListRows, PageLimits, ResultPage, RowResult, Rows, ScanEnd, run};
