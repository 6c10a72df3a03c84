//! Authentication of callers: connection strings, access keys, signed tokens, and the [`Principal`] that they prove.
//!
//! Not its concern: HTTP, sockets, clocks, random numbers, authorization in a service. Keys and the time are arguments.
//!
//! Know these first: [`KeySet`], [`verify`], [`Claims`], [`Principal`]; for tokens of an OpenID provider, [`openid`]; for Cosmos DB
//! signatures, [`master_key`].
//! Start reading at `token.rs`.

mod access_key;
mod audience;
mod claims;
mod connection_string;
mod easy_auth;
pub mod master_key;
pub mod openid;
mod principal;
mod token;
mod unix_seconds;

pub use access_key::{
    AccessKey, DEVELOPMENT_COSMOS_KEY, DEVELOPMENT_SIGNALR_KEY, DynamicKey, EmptyKey, KeySet,
};
pub use audience::{Audience, Resource};
pub use claims::{Claims, SystemClaims};
pub use connection_string::{
    ApplicationCredential, CosmosConnectionString, EntraCredential, NoAccessKey, ParseConnectionStringError,
    SignalRAuth, SignalRConnectionString,
};
pub use easy_auth::{is_identity_header, is_spelling_of};
pub use principal::{ClientIdentity, Principal};
pub use token::error::TokenError;
pub use token::rules::{TokenRules, Verified};
pub use token::{Algorithm, sign, sign_dynamic, verify};
pub use unix_seconds::UnixSeconds;
