//! The service as its clients use it, through the tower service.

mod budgets;
mod client;
mod crash;
mod damage;
mod feed;
mod items;
mod queries;
mod requests;
mod validation;
mod writer;
