//! Input bindings.

use crate::binding::BindingContext;
use crate::error::BindingError;
use crate::value::Value;

/// An input binding.
#[async_trait::async_trait]
pub trait Reader: Send + Sync {
    /// The value for one invocation. Something that does not exist is [`Value::Null`], not an error.
    async fn read(&self, context: &BindingContext<'_>) -> Result<Value, BindingError>;
}
