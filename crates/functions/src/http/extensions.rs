//! What the program around the host puts into a request's extensions.

use http::Uri;

/// Overrides the origin by which a client is taken to have reached us; put into a request's extensions by a gateway
/// with a public address.
#[derive(Clone, Debug)]
pub struct PublicOrigin(pub Uri);

/// The address of the client, or of the last hop before us; put into a request's extensions by the program around. Workers that take
/// HTTP requests themselves learn it by `X-Forwarded-For`.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub std::net::IpAddr);
