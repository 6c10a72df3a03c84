//! What is printed when every port listens: lines for people, or one line of JSON.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;

use crate::config::ServiceId;
use crate::ports::Addresses;

/// The addresses of all services.
pub(crate) struct Ready {
    /// In display order.
    pub(crate) services: Vec<ReadyService>,
    pub(crate) public_url: Option<String>,
    /// `None` for a temporary folder.
    pub(crate) data_dir: Option<PathBuf>,
    /// The certificate of the development authority, if there is one.
    pub(crate) authority: Option<PathBuf>,
    /// Whether addresses are shown with `https`.
    pub(crate) shows_https: bool,
}

/// A service and its address.
pub(crate) struct ReadyService {
    pub(crate) id: ServiceId,
    pub(crate) title: String,
    /// What it serves, such as `files, /api, /client`.
    pub(crate) about: String,
    /// `None` if it has no port of its own, or does not run.
    pub(crate) address: Option<SocketAddr>,
}

impl Ready {
    /// The base address of a service to show: its own port, or the gateway.
    pub(crate) fn base(&self, id: &ServiceId) -> String {
        let own = self.services.iter().find(|ready| ready.id == *id).and_then(|ready| ready.address);
        let address = own.or_else(|| self.address("gateway"));
        address.map(|address| self.shown(address)).unwrap_or_default()
    }

    fn address(&self, service: &'static str) -> Option<SocketAddr> {
        let id = ServiceId::unnamed(service);
        self.services.iter().find(|ready| ready.id == id)?.address
    }

    fn shown(&self, address: SocketAddr) -> String {
        Addresses::url(if self.shows_https { "https" } else { "http" }, address)
    }

    /// The address to open in a browser.
    pub(crate) fn gateway_url(&self) -> String {
        let public = self.public_url.clone();
        public
            .or_else(|| self.address("gateway").map(|address| self.shown(address)))
            .unwrap_or_else(|| self.base(&ServiceId::unnamed("functions")))
    }

    /// The services with their addresses.
    pub(crate) fn urls(&self) -> serde_json::Value {
        self.urls_with("http")
    }

    /// The services with their addresses of one scheme. A public address is not changed: its scheme is the proxy's.
    fn urls_with(&self, scheme: &str) -> serde_json::Value {
        let urls = self.services.iter().map(|ready| {
            let own = ready.address.map(|address| Addresses::url(scheme, address));
            let public = self.public_url.clone().filter(|_| ready.id == ServiceId::unnamed("gateway"));
            (ready.id.to_string(), json!(public.or(own)))
        });
        serde_json::Value::Object(urls.collect())
    }

    /// The machine-readable form: the ready line, and the response of the admin API.
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

    /// The lines for people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("\n");
        for ready in &self.services {
            if let Some(address) = ready.address {
                let reach =
                    if address.ip().is_unspecified() { "; on every address of this machine" } else { "" };
                text +=
                    &format!("  {:<10} {:<24} {}{reach}\n", ready.title, self.shown(address), ready.about);
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

/// The command that starts this process again.
fn command_line() -> String {
    let quoted = |word: String| if word.contains([' ', '\'', '"', '$']) { format!("{word:?}") } else { word };
    std::env::args().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Prints and flushes: the reader of this line usually reads from a pipe.
pub(crate) fn print(text: &str) {
    let mut output = std::io::stdout().lock();
    // If standard output is closed, serving continues.
    let _ = writeln!(output, "{text}").and_then(|()| output.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_shows_running_services_only() {
        let service = |service, title, about: &str, address: &str| ReadyService {
            id: ServiceId::unnamed(service),
            title: str::to_owned(title),
            about: about.to_owned(),
            address: address.parse().ok(),
        };
        let ready = Ready {
            services: vec![
                service("gateway", "Gateway", "/client", "0.0.0.0:80"),
                service("functions", "Functions", "as Functions Core Tools", "none"),
                service("realtime", "Realtime", "SignalR clients", "127.0.0.1:8888"),
                service("documents", "Documents", "any Cosmos DB SDK", "none"),
            ],
            public_url: None,
            data_dir: None,
            authority: None,
            shows_https: false,
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
}
