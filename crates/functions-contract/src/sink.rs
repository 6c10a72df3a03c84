//! Output bindings.

use crate::binding::BindingContext;
use crate::error::BindingError;
use crate::value::Value;

/// An output binding.
///
/// # Guarantees
///
/// 1. When [`Sink::write`] returns `Ok`, the system behind it has accepted every item, in order.
/// 2. When it returns an error, it is unknown which items were accepted: the invocation fails, and a retry may write them
///    again.
#[async_trait::async_trait]
pub trait Sink: Send + Sync {
    /// Writes what the function returned: one item, or each of several.
    async fn write(&self, context: &BindingContext<'_>, items: Vec<Value>) -> Result<(), BindingError>;
}
