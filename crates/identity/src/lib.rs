//! identity

pub mod master_key;
