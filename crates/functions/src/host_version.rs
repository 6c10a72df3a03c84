//! The version of the Azure Functions host that this one imitates.

/// Reported to workers and in `/admin/host/status`; the behaviour follows this version.
pub(crate) const HOST_VERSION: &str = "4.1037.0.0";
