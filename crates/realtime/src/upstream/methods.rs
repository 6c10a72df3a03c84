//! [`Methods`]: hub methods that this process answers itself.

use bytes::Bytes;

use crate::engine::ClientInvocation;

/// What the names of methods begin with that no upstream is asked for, where this process answers any.
pub const PREFIX: &str = "chappe.";

/// Answers what clients call, in the order of their calls: of one connection one call at a time.
#[async_trait::async_trait]
pub trait Methods: Send + Sync + 'static {
    /// Answers a message whose method, or the method of whose stream, begins with [`PREFIX`]. `method` is its name. What is
    /// given back are framed hub messages for the client in its protocol, such as a completion; `None` for nothing.
    ///
    /// It bounds its own time: the connection's next call waits for it.
    async fn call(&self, method: &str, invocation: ClientInvocation) -> Option<Bytes>;
}
