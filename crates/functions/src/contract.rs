//! The contracts between this host and the things that trigger functions and that functions read and write:
//! [`Source`], [`Reader`] and [`Sink`], made by a [`Connector`].
//!
//! Whoever reaches a database, a queue or a hub implements these and nothing else; the host knows no outside system.
//!
//! # Guarantees of a [`Source`]
//!
//! 1. **In order.** Batches come in the source's own order. The next one is not handed out before the last one was
//!    completed or abandoned.
//! 2. **At least once.** A batch that was neither completed nor abandoned is handed out again: by the same source
//!    after [`Source::abandon`], by the next owner after a crash.
//! 3. **Completed is durable.** When [`Source::complete`] returns `Ok`, the batch is not handed out again, also not
//!    after `kill -9`.
//! 4. **One owner.** Two sources opened for the same trigger never hand out the same batch at the same time, as long
//!    as the lease of the slower one has not expired.
//! 5. **Cancel-safe.** Dropping the future of [`Source::next`] loses nothing.
//! 6. **Bounded.** A batch has no more items than the trigger asks for.
//!
//! # Guarantees of a [`Sink`]
//!
//! 1. When [`Sink::write`] returns `Ok`, the system behind it has accepted every item, in order.
//! 2. When it returns an error, what was accepted before is named by nobody: the invocation fails, and a retry may write
//!    it again.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Map, Value as Json};
use trace::TraceContext;

/// A value on its way between an outside system and a function.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: a blob that is not there, an output that was not set.
    Null,
    /// Plain text.
    Text(String),
    /// JSON, as its text: most values pass through without being looked into.
    Json(String),
    /// Bytes.
    Bytes(Bytes),
    /// A whole number.
    Integer(i64),
    /// A number.
    Double(f64),
    /// Several values, such as the messages of a batch.
    Many(Vec<Value>),
}

/// Which way a binding's data flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Into the function; triggers too.
    In,
    /// Out of the function.
    Out,
}

/// One binding of a function, as the app declares it, with `%SETTING%` already resolved.
#[derive(Clone, Debug)]
pub struct BindingSpec {
    /// The function.
    pub function: String,
    /// The binding's name: a parameter, or `$return`.
    pub name: String,
    /// Its `type`, such as `cosmosDBTrigger`; compare without regard to case.
    pub kind: String,
    /// Which way.
    pub direction: Direction,
    /// Its other properties. Keys are matched without regard to case by [`BindingSpec::text`].
    pub properties: Map<String, Json>,
}

/// What an app tells its connectors about itself.
pub trait AppSettings: Send + Sync {
    /// An app setting by its exact name.
    fn setting(&self, name: &str) -> Option<String>;

    /// The value that a binding's `connection` property stands for: `AzureWebJobs<name>`, then `<name>`, then
    /// `ConnectionStrings:<name>`.
    fn connection(&self, name: &str) -> Option<String> {
        let prefixed = self.setting(&format!("AzureWebJobs{name}"));
        prefixed.or_else(|| self.setting(name)).or_else(|| self.setting(&format!("ConnectionStrings:{name}")))
    }

    /// Whether a binding's `connection` stands for anything: a value as in [`AppSettings::connection`], or parts of it such as
    /// `<name>__serviceUri`.
    fn has_connection(&self, name: &str) -> bool {
        self.connection(name).is_some()
    }

    /// Identity of the app that survives restarts; part of the names of leases and checkpoints.
    fn host_id(&self) -> &str;
}

/// One invocation, as a [`Reader`] or [`Sink`] sees it.
#[derive(Debug)]
pub struct Call<'a> {
    /// The invocation's id.
    pub invocation_id: &'a str,
    /// The binding's properties, with `{expressions}` resolved for this invocation.
    pub properties: &'a Map<String, Json>,
    /// The data that the expressions are resolved from: trigger metadata and the top-level properties of a JSON payload.
    pub binding_data: &'a Map<String, Json>,
    /// Where the client that caused this invocation reached us (`scheme://host[:port]`), if it came by HTTP.
    pub origin: Option<&'a http::Uri>,
    /// The invocation's span.
    pub trace: TraceContext,
}

/// What a source hands out.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Where the source stands after this batch; means something to the source only.
    pub position: String,
    /// What the function receives.
    pub data: Value,
    /// Trigger metadata beside it, under the names that the real trigger uses.
    pub metadata: Vec<(String, Value)>,
    /// How many items the batch has.
    pub item_count: usize,
    /// When and in which trace each item came to be, newest last; at most [`Batch::ORIGINS_MAX`] of them.
    pub origins: Vec<ItemOrigin>,
    /// Why this batch is here, for the `Executing` line, such as `New changes on container todos at 2026-…`.
    pub reason: String,
}

impl Batch {
    /// More origins than this are left out, so that a large batch stays cheap to trace.
    pub const ORIGINS_MAX: usize = 16;
}

/// Where an item of a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemOrigin {
    /// The trace that wrote it.
    pub trace: TraceContext,
    /// When it was accepted.
    pub accepted_at: SystemTime,
}

/// How much is waiting behind a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Items not yet completed.
    pub items: u64,
}

/// Why a binding could not be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindingError {
    /// The app's declaration is wrong; nothing but a change of the app helps. Holds what is wrong and what to do.
    #[error("{0}")]
    Declaration(String),
    /// The function gave a value that the system cannot take. Holds what is wrong with it.
    #[error("{0}")]
    Value(String),
    /// What a trigger listens to is not there yet; it works as soon as it is. Holds what is missing and what to do.
    #[error("{0}")]
    Absent(String),
    /// The system behind the binding refused or failed.
    #[error("{what}")]
    System {
        /// What was attempted, and what to look at.
        what: String,
        /// Whether trying again may help.
        retryable: bool,
        /// What came back.
        #[source]
        cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// Something that triggers a function. See the module's guarantees.
#[async_trait::async_trait]
pub trait Source: Send {
    /// Waits for the next batch.
    async fn next(&mut self) -> Result<Batch, BindingError>;

    /// Records that the batch was dealt with, successfully or not, as the trigger's rules say.
    async fn complete(&mut self, batch: &Batch) -> Result<(), BindingError>;

    /// Gives the batch back, because it was not dealt with (the worker died): `next` hands it out again.
    async fn abandon(&mut self, batch: Batch) -> Result<(), BindingError>;

    /// What is waiting.
    async fn lag(&mut self) -> Result<Lag, BindingError>;

    /// Gives up ownership, so that the next owner need not wait for the lease to expire.
    async fn close(self: Box<Self>);
}

/// An input binding.
#[async_trait::async_trait]
pub trait Reader: Send + Sync {
    /// The value for one invocation. What is not there is [`Value::Null`], not an error.
    async fn read(&self, call: &Call<'_>) -> Result<Value, BindingError>;
}

/// An output binding. See the module's guarantees.
#[async_trait::async_trait]
pub trait Sink: Send + Sync {
    /// Writes what the function gave: one item, or each of several.
    async fn write(&self, call: &Call<'_>, items: Vec<Value>) -> Result<(), BindingError>;
}

/// An app setting from which a binding's connection is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSetting {
    /// Its name, as the binding gives it.
    pub name: String,
    /// A value that works on a developer's machine, for whoever has none.
    pub example: String,
}

/// Makes the sources, readers and sinks of one outside system.
#[async_trait::async_trait]
pub trait Connector: Send + Sync {
    /// The binding types that this connector serves, with their directions, such as `("cosmosDBTrigger", In)`.
    fn kinds(&self) -> &'static [(&'static str, Direction)];

    /// The settings from which a binding's connection is read, set or not, so that a missing one can be named before anything is
    /// opened. Default: none.
    fn connections(&self, spec: &BindingSpec) -> Vec<ConnectionSetting> {
        let _ = spec;
        Vec::new()
    }

    /// Opens a trigger.
    async fn source(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
    ) -> Result<Box<dyn Source>, BindingError> {
        let _ = app;
        Err(BindingError::Declaration(format!("'{}' is not a trigger", spec.kind)))
    }

    /// Makes an input binding.
    async fn reader(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
    ) -> Result<Arc<dyn Reader>, BindingError> {
        let _ = app;
        Err(BindingError::Declaration(format!("'{}' is not an input binding", spec.kind)))
    }

    /// Makes an output binding.
    async fn sink(&self, spec: &BindingSpec, app: &dyn AppSettings) -> Result<Arc<dyn Sink>, BindingError> {
        let _ = app;
        Err(BindingError::Declaration(format!("'{}' is not an output binding", spec.kind)))
    }
}

impl BindingSpec {
    /// A property, found without regard to the case of its name.
    pub fn property(&self, name: &str) -> Option<&Json> {
        find_property(&self.properties, name)
    }

    /// A property that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.property(name).and_then(Json::as_str).filter(|text| !text.is_empty())
    }

    /// Whether the binding starts the function.
    pub fn is_trigger(&self) -> bool {
        self.kind.len() >= 7 && self.kind[self.kind.len() - 7..].eq_ignore_ascii_case("trigger")
    }
}

/// A property of a binding, found without regard to the case of its name: workers index `authLevel` and `AuthLevel` alike.
pub fn find_property<'a>(properties: &'a Map<String, Json>, name: &str) -> Option<&'a Json> {
    let exact = properties.get(name);
    exact
        .or_else(|| properties.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}
