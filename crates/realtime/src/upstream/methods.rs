//! [`Methods`]: hub methods that this process handles itself.

use bytes::Bytes;

use realtime_engine::{ClientInvocation, is_reserved_method};

/// Whether the process handles a method itself, if it has [`Methods`], instead of an upstream. Case is ignored, as in the hubs of
/// ASP.NET Core and in the reserved method names of clients.
pub fn is_own(method: &str) -> bool {
    is_reserved_method(method)
}

/// Handles invocations of clients; the invocations of one connection come one at a time and in order.
#[async_trait::async_trait]
pub trait Methods: Send + Sync + 'static {
    /// Handles a message for whose method, or whose stream's method, [`is_own`] is true. `method` is its name. Returns framed hub
    /// messages for the client in its protocol, such as a completion; `None` for no response.
    ///
    /// The implementation limits its own time: the connection's next invocation waits for it.
    async fn call(&self, method: &str, invocation: ClientInvocation) -> Option<Bytes>;
}
