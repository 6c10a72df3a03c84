//! What is measured.

use serde::Serialize;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// `@azure/functions` called in a loop.
    NodeLibrary,
    /// Our Node.js worker, fed by a loop.
    NodeWorker,
    /// An HTTP server of Node.js.
    NodeHttp,
    /// Chappe with its own Node.js worker.
    Node,
    /// Chappe with the vendor's Node.js worker.
    NodeOfficial,
    /// `azure-functions` called in a loop.
    PythonLibrary,
    /// Chappe with the vendor's Python worker.
    PythonOfficial,
    /// A streamed response through Chappe from its own Node.js worker; a call is one MiB.
    NodeStream,
    /// A streamed response through nginx from an HTTP server of Node.js; a call is one MiB.
    NginxStream,
}
