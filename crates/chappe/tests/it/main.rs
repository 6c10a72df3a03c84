//! The binary from outside: one integration binary, because each one links the whole program again.

mod account;
mod configuration;
mod data;
mod life;
mod realtime;
