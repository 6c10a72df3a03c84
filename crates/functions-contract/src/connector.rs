//! How a connector registers the binding types that it serves, and creates them.

use std::sync::Arc;

use crate::binding::{BindingSpec, Direction};
use crate::error::BindingError;
use crate::push::{PushExtension, PushTrigger};
use crate::reader::Reader;
use crate::settings::AppSettings;
use crate::sink::Sink;
use crate::source::Source;

/// An app setting from which a binding's connection is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSetting {
    /// Its name, as the binding gives it.
    pub name: String,
    /// A value that works on a developer's machine, shown when the setting is missing.
    pub example: String,
    /// The beginning of the names of settings that stand in for it, such as `Azure:SignalR:Endpoints:`; in names, `__` is a colon.
    pub alternative: Option<&'static str>,
}

/// Creates the triggers, readers and sinks of one outside system.
#[async_trait::async_trait]
pub trait Connector: Send + Sync {
    /// The binding types that this connector serves, with their directions, such as `("cosmosDBTrigger", In)`.
    fn kinds(&self) -> &'static [(&'static str, Direction)];

    /// The settings from which a binding's connection is read, set or not, so that the host can name a missing one before
    /// it opens anything. Default: none.
    fn connections(&self, spec: &BindingSpec) -> Vec<ConnectionSetting> {
        let _ = spec;
        Vec::new()
    }

    /// Opens a trigger that hands out batches.
    async fn source(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
    ) -> Result<Box<dyn Source>, BindingError> {
        let _ = app;
        Err(BindingError::Declaration(format!("'{}' is not a trigger", spec.kind)))
    }

    /// The extension to which a trigger type belongs whose events are pushed; `None` for a type that [`Connector::source`] opens.
    /// Default: none.
    fn push_extension(&self, kind: &str) -> Option<Arc<dyn PushExtension>> {
        let _ = kind;
        None
    }

    /// Creates a trigger whose events are pushed.
    async fn push_trigger(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
    ) -> Result<Arc<dyn PushTrigger>, BindingError> {
        let _ = app;
        Err(BindingError::Declaration(format!("'{}' is not a trigger with pushed events", spec.kind)))
    }

    /// Creates an input binding.
    async fn reader(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
    ) -> Result<Arc<dyn Reader>, BindingError> {
        let _ = app;
        Err(BindingError::Declaration(format!("'{}' is not an input binding", spec.kind)))
    }

    /// Creates an output binding.
    async fn sink(&self, spec: &BindingSpec, app: &dyn AppSettings) -> Result<Arc<dyn Sink>, BindingError> {
        let _ = app;
        Err(BindingError::Declaration(format!("'{}' is not an output binding", spec.kind)))
    }
}
