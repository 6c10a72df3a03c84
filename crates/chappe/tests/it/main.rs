//! The binary from outside: one integration binary, because each one links the whole program again.

mod configuration;
mod life;
mod realtime;
