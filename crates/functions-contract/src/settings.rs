//! What connectors can ask the app that declares a binding.

/// The app's settings and identity.
pub trait AppSettings: Send + Sync {
    /// An app setting by its exact name.
    fn setting(&self, name: &str) -> Option<String>;

    /// The value that a binding's `connection` property refers to: `AzureWebJobs<name>`, then `<name>`, then
    /// `ConnectionStrings:<name>`.
    fn connection(&self, name: &str) -> Option<String> {
        let prefixed = self.setting(&format!("AzureWebJobs{name}"));
        prefixed.or_else(|| self.setting(name)).or_else(|| self.setting(&format!("ConnectionStrings:{name}")))
    }

    /// Whether a binding's `connection` is configured: by a value as in [`AppSettings::connection`], or by parts such as
    /// `<name>__serviceUri`.
    fn has_connection(&self, name: &str) -> bool {
        self.connection(name).is_some()
    }

    /// The names of all settings that begin with this text, in any case. A double underscore in a name is a colon here, as in .NET.
    /// Default: none.
    fn names_below(&self, _prefix: &str) -> Vec<String> {
        Vec::new()
    }

    /// Identity of the app that survives restarts; part of the names of leases and checkpoints.
    fn host_id(&self) -> &str;
}
