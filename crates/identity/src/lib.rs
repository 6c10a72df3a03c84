//! From a connection string, an access key or a signed token to a [`Principal`].
//!
//! Not its concern: HTTP, sockets, clocks, random numbers, what a principal may do in a service. Keys and the time are
//! arguments.
//!
//! Know these first: [`KeySet`], [`verify`], [`Claims`], [`Principal`]; for tokens of a login provider, [`openid`]; for the
//! Cosmos DB dialect, [`master_key`].
//! Start reading at `token.rs`.

mod access_key;
mod audience;
mod claims;
mod connection_string;
pub mod master_key;
pub mod openid;
mod principal;
mod token;
mod vouching;

pub use access_key::{
    AccessKey, DEVELOPMENT_COSMOS_KEY, DEVELOPMENT_SIGNALR_KEY, DynamicKey, EmptyKey, KeySet,
};
pub use audience::{Audience, Resource};
pub use claims::{Claims, SystemClaims};
pub use connection_string::{
    ApplicationProof, CosmosConnectionString, Login, NeedsLogin, ParseConnectionStringError, SignalRAuth,
    SignalRConnectionString,
};
pub use principal::{Client, Principal};
pub use token::{Algorithm, Rules, TokenError, UnixSeconds, Verified, sign, sign_dynamic, verify};
pub use vouching::{is_header_spelling, vouches_for_caller};
