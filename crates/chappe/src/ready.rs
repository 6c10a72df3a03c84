//! What is printed once everything listens: lines for people, or one line of JSON.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;

use crate::ports::Addresses;

/// Where everything is.
pub(crate) struct Ready {
    pub(crate) addresses: Addresses,
    pub(crate) public_url: Option<String>,
    /// None for a temporary folder.
    pub(crate) data_dir: Option<PathBuf>,
    /// The development authority's certificate, where there is one.
    pub(crate) authority: Option<PathBuf>,
    /// Whether people are shown addresses with `https`.
    pub(crate) shows_https: bool,
    /// What the gateway leads to, such as `files, /api, /client`.
    pub(crate) gateway_serves: String,
}

impl Ready {
    /// The base address of functions with an HTTP trigger: their own port, or the gateway.
    pub(crate) fn functions_url(&self) -> String {
        let address = self.addresses.functions.or(self.addresses.gateway);
        address.map(|address| self.shown(address)).unwrap_or_default()
    }

    fn shown(&self, address: SocketAddr) -> String {
        Addresses::url(if self.shows_https { "https" } else { "http" }, address)
    }

    /// The address that people open.
    pub(crate) fn gateway_url(&self) -> String {
        let public = self.public_url.clone();
        public
            .or_else(|| self.addresses.gateway.map(|address| self.shown(address)))
            .unwrap_or_else(|| self.functions_url())
    }

    /// The services with their addresses.
    pub(crate) fn urls(&self) -> serde_json::Value {
        self.urls_with("http")
    }

    /// The services with their addresses of one scheme. A public address is what it is: a proxy has it.
    fn urls_with(&self, scheme: &str) -> serde_json::Value {
        let url = |address: Option<SocketAddr>| address.map(|address| Addresses::url(scheme, address));
        json!({
            "gateway": self.public_url.clone().or_else(|| url(self.addresses.gateway)),
            "functions": url(self.addresses.functions),
            "realtime": url(self.addresses.realtime),
            "documents": url(self.addresses.documents),
            "admin": url(self.addresses.admin),
        })
    }

    /// What a machine reads: the line it waits for, and the answer of the admin API.
    pub(crate) fn facts(&self) -> serde_json::Value {
        let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let (data_dir, authority) = (text(&self.data_dir), text(&self.authority));
        json!({
            "ready": true,
            "urls": self.urls(),
            "httpsUrls": self.urls_with("https"),
            "pid": std::process::id(),
            "command": command_line(),
            "version": env!("CARGO_PKG_VERSION"),
            "dataDir": data_dir,
            "certificateAuthority": authority,
        })
    }

    /// The lines that a person reads.
    pub(crate) fn text(&self) -> String {
        let rows = [
            ("Gateway", self.addresses.gateway, self.gateway_serves.as_str()),
            ("Functions", self.addresses.functions, "as Functions Core Tools"),
            ("Realtime", self.addresses.realtime, "SignalR clients and the REST interface"),
            ("Documents", self.addresses.documents, "any Cosmos DB SDK"),
            ("Admin", self.addresses.admin, "health, metrics"),
        ];
        let mut text = String::from("\n");
        for (name, address, what) in rows {
            if let Some(address) = address {
                let reach =
                    if address.ip().is_unspecified() { "; on every address of this machine" } else { "" };
                text += &format!("  {name:<10} {:<24} {what}{reach}\n", self.shown(address));
            }
        }
        match &self.data_dir {
            Some(path) => text += &format!("  {:<10} {}\n", "Data", path.display()),
            None => text += &format!("  {:<10} in a temporary folder, removed at the end\n", "Data"),
        }
        if self.authority.is_some() && self.data_dir.is_some() {
            text += &format!(
                "  {:<10} every port takes https too; `chappe trust` says how clients trust it\n",
                "TLS"
            );
        }
        text
    }
}

/// The settings that the app's functions use, for people: with their names, and never with their values.
pub(crate) fn settings_text(settings: &[functions::SettingUse]) -> Option<String> {
    let names = |is_set: bool| -> Vec<&str> {
        settings
            .iter()
            .filter(|setting| setting.is_set == is_set)
            .map(|setting| setting.name.as_str())
            .collect()
    };
    let mut text = String::new();
    for (title, names) in [("Settings in use", names(true)), ("Settings that are missing", names(false))] {
        if !names.is_empty() {
            text += &format!("\n{title}: {}\n", names.join(", "));
        }
    }
    (!text.is_empty()).then_some(text)
}

/// The command that starts this process again.
fn command_line() -> String {
    let quoted = |word: String| if word.contains([' ', '\'', '"', '$']) { format!("{word:?}") } else { word };
    std::env::args().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Prints and flushes: whoever waits for this line waits for it behind a pipe.
pub(crate) fn print(text: &str) {
    let mut output = std::io::stdout().lock();
    // A closed standard output is no reason to stop serving.
    let _ = writeln!(output, "{text}").and_then(|()| output.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_shows_what_is_there_and_nothing_else() {
        let address = |text: &str| Some(text.parse().expect("an address"));
        let addresses = Addresses {
            gateway: address("0.0.0.0:80"),
            realtime: address("127.0.0.1:8888"),
            ..Addresses::default()
        };
        let ready = Ready {
            addresses,
            public_url: None,
            data_dir: None,
            authority: None,
            shows_https: false,
            gateway_serves: "/client".to_owned(),
        };
        let text = ready.text();
        assert!(
            text.contains("http://localhost:80")
                && text.contains("/client; on every address of this machine"),
            "{text}"
        );
        assert!(
            text.contains("http://localhost:8888")
                && !text.contains("Functions")
                && !text.contains("Documents"),
            "{text}"
        );
        assert!(!text.contains("files") && !text.contains("ConnectionString"), "{text}");
    }

    #[test]
    fn settings_are_shown_by_name() {
        let setting = |name: &str, is_set| functions::SettingUse {
            name: name.to_owned(),
            functions: Vec::new(),
            is_set,
            nearest: None,
            example: String::new(),
        };
        let text = settings_text(&[setting("Db", true), setting("Hub", false), setting("Cron", true)]);
        assert_eq!(text.as_deref(), Some("\nSettings in use: Db, Cron\n\nSettings that are missing: Hub\n"));
        assert_eq!(settings_text(&[]), None);
    }
}
