//! Tests of the binary from outside: one integration binary, because each one links the whole program again.

mod account;
mod apps;
mod bodies;
mod check;
mod configuration;
mod connection_events;
mod connectors;
mod data;
mod drain;
mod exposure;
mod gateway_command;
mod guard;
mod hostile;
mod instances;
mod life;
mod realtime;
mod refusals;
mod reload;
mod sockets;
mod supervision;
mod tail;
mod trust;
