//! Embedded or real: decided by what a connection string says, in this one place.

use std::net::SocketAddr;

use http::Uri;

use crate::ports::Addresses;

/// The addresses by which connection strings can name this process.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    addresses: Addresses,
    /// Where clients reach this process, when a proxy stands in front of it; without a slash at the end.
    public_url: Option<String>,
}

/// A service that connection strings name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Embedded {
    Realtime,
    Documents,
}

impl Embedded {
    /// Where the public emulator of this service listens. An app's unedited `local.settings.json` names this port.
    fn emulator_port(self) -> u16 {
        match self {
            Self::Realtime => 8888,
            Self::Documents => 8081,
        }
    }
}

impl Here {
    pub(crate) fn new(addresses: Addresses, public_url: Option<&str>) -> Self {
        Self { addresses, public_url: public_url.map(|url| url.trim_end_matches('/').to_owned()) }
    }

    /// Whether an endpoint is this process: a name of this machine with the port on which the service listens or on which
    /// its emulator would, or the public name.
    pub(crate) fn is(&self, endpoint: &str, service: Embedded) -> bool {
        let Ok(uri) = endpoint.parse::<Uri>() else { return false };
        let Some(host) = uri.host() else { return false };
        let public = self.public_url.as_deref().and_then(|url| url.parse::<Uri>().ok());
        if public.as_ref().and_then(Uri::host).is_some_and(|public| public.eq_ignore_ascii_case(host)) {
            return true;
        }
        let own = match service {
            Embedded::Realtime => self.addresses.realtime,
            Embedded::Documents => self.addresses.documents,
        };
        let gateway = self.addresses.gateway.map(|address| address.port());
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default_port);
        let port_is_ours = own.is_some_and(|own| own.port() == port)
            || port == service.emulator_port()
            || (service == Embedded::Realtime && gateway == Some(port));
        is_this_machine(host, own) && port_is_ours
    }

    /// The base address for clients: the public one where it is configured, because only the operator knows what a proxy in
    /// front of us is called. Otherwise, for clients that reached us at `origin`, that origin where the gateway or the realtime service
    /// listens there, otherwise the realtime service's own port under the same host name.
    pub(crate) fn client_base(&self, origin: Option<&Uri>, configured: &str) -> String {
        if let Some(public) = &self.public_url {
            return public.clone();
        }
        let Some(origin) = origin else { return configured.trim_end_matches('/').to_owned() };
        let scheme = origin.scheme_str().unwrap_or("http");
        let Some(host) = origin.host() else { return configured.trim_end_matches('/').to_owned() };
        let port = origin.port_u16();
        let serves_clients =
            |address: Option<SocketAddr>| address.is_some_and(|address| Some(address.port()) == port);
        let functions_only = serves_clients(self.addresses.functions);
        match self.addresses.realtime {
            Some(realtime) if functions_only => format!("{scheme}://{host}:{}", realtime.port()),
            _ => match port {
                Some(port) => format!("{scheme}://{host}:{port}"),
                // A proxy in front of us, on its scheme's own port.
                None => format!("{scheme}://{host}"),
            },
        }
    }
}

fn is_this_machine(host: &str, own: Option<SocketAddr>) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let Ok(address) = host.parse::<std::net::IpAddr>() else { return false };
    address.is_loopback() || own.is_some_and(|own| own.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(public_url: Option<&str>) -> Here {
        let address = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let addresses = Addresses {
            gateway: address(9080),
            functions: address(9071),
            realtime: address(9888),
            documents: address(9081),
            ..Addresses::default()
        };
        Here::new(addresses, public_url)
    }

    #[test]
    fn a_connection_string_names_this_process_by_name_and_port() {
        let here = here(Some("https://live.example.org"));
        let realtime = |endpoint| here.is(endpoint, Embedded::Realtime);
        assert!(
            realtime("http://localhost:9888")
                && realtime("http://127.0.0.1:9888/")
                && realtime("http://[::1]:9888")
        );
        assert!(realtime("http://localhost:8888"), "an unedited emulator string");
        assert!(realtime("https://live.example.org") && realtime("http://localhost:9080"));
        assert!(!realtime("http://localhost:7777") && !realtime("https://mine.service.signalr.net"));
        assert!(!realtime("http://192.168.1.9:8888") && !realtime("nonsense"));
        assert!(here.is("http://localhost:8081/", Embedded::Documents));
        assert!(!here.is("http://localhost:9080/", Embedded::Documents));
    }

    #[test]
    fn clients_are_sent_to_where_they_came_from() {
        let base = |origin: &str| here(None).client_base(origin.parse().ok().as_ref(), "http://configured/");
        assert_eq!(base("http://localhost:9080/"), "http://localhost:9080");
        assert_eq!(base("http://127.0.0.1:9071/"), "http://127.0.0.1:9888");
        assert_eq!(base("https://live.example.org/"), "https://live.example.org");
        assert_eq!(here(None).client_base(None, "http://configured/"), "http://configured");
        let public = here(Some("https://live.example.org/"));
        let origin = "http://localhost:9080/".parse().ok();
        assert_eq!(public.client_base(origin.as_ref(), "http://configured/"), "https://live.example.org");
        assert_eq!(public.client_base(None, "http://configured/"), "https://live.example.org");
    }
}
