//! The SQL dialect: text to tree (`lex`, `parse`, `ast`), tree over JSON (`evaluate`, `functions`, `order`), pages (`run`).
//!
//! Not its concern: where rows come from (see [`Rows`]), HTTP. A construct that is not offered is an [`SqlError`] that names
//! it and where it stands; nothing is ignored.

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
