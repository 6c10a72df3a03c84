//! What the program around the host puts into a request's extensions.

use http::Uri;

/// The public origin of the request; overrides the origin in its URI. A gateway with a public address sets it.
#[derive(Clone, Debug)]
pub struct PublicOrigin(pub Uri);

/// The address of the client, or of the last proxy. Workers that receive HTTP requests themselves get it in `X-Forwarded-For`.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub std::net::IpAddr);
