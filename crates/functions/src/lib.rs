//! The functions host: discovers apps, supervises workers, dispatches triggers, applies bindings.
pub mod contract;
pub mod worker;
