//! Whether a connection string names a service of this process, decided in this one place by what the string says.

use std::net::SocketAddr;

use http::Uri;

use crate::config::ServiceId;
use crate::ports::Addresses;

/// The addresses by which connection strings can name this process.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    services: Vec<Reachable>,
    addresses: Addresses,
    /// Where clients reach this process, when a proxy stands in front of it; without a slash at the end.
    public_url: Option<String>,
}

/// A service of this process, as connection strings name it beside its own address.
#[derive(Clone, Debug)]
pub(crate) struct Reachable {
    pub(crate) id: ServiceId,
    /// Where the public emulator of this service listens: an app's unedited `local.settings.json` names this port.
    pub(crate) emulator_port: Option<u16>,
    /// Whether gateways lead to it.
    pub(crate) is_behind_gateway: bool,
}

impl Here {
    pub(crate) fn new(services: Vec<Reachable>, addresses: Addresses, public_url: Option<&str>) -> Self {
        let public_url = public_url.map(|url| url.trim_end_matches('/').to_owned());
        Self { services, addresses, public_url }
    }

    /// The service of a section that an endpoint names: by a name of this machine with the port on which the service listens or on which
    /// its emulator would, or by the public name.
    pub(crate) fn named_by(&self, endpoint: &str, section: &str) -> Option<&ServiceId> {
        let uri: Uri = endpoint.parse().ok()?;
        let mut services = self.services.iter().filter(|service| service.id.service == section);
        services.find(|service| self.is(&uri, service)).map(|service| &service.id)
    }

    fn is(&self, uri: &Uri, service: &Reachable) -> bool {
        let Some(host) = uri.host() else { return false };
        let public = self.public_url.as_deref().and_then(|url| url.parse::<Uri>().ok());
        if public.as_ref().and_then(Uri::host).is_some_and(|public| public.eq_ignore_ascii_case(host)) {
            return true;
        }
        let own = self.addresses.get(&service.id);
        let gateway = self.addresses.of("gateway").map(|address| address.port());
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default_port);
        let port_is_ours = own.is_some_and(|own| own.port() == port)
            || service.emulator_port == Some(port)
            || (service.is_behind_gateway && gateway == Some(port));
        is_this_machine(host, own) && port_is_ours
    }

    /// The base address for clients of a realtime service: the public one where it is configured, because only the operator knows what a
    /// proxy in front of us is called. Otherwise, for clients that reached us at `origin`, that origin where the gateway or the realtime
    /// service listens there, otherwise the realtime service's own port under the same host name.
    pub(crate) fn client_base(&self, id: &ServiceId, origin: Option<&Uri>, configured: &str) -> String {
        if let Some(public) = &self.public_url {
            return public.clone();
        }
        let Some(origin) = origin else { return configured.trim_end_matches('/').to_owned() };
        let scheme = origin.scheme_str().unwrap_or("http");
        let Some(host) = origin.host() else { return configured.trim_end_matches('/').to_owned() };
        let port = origin.port_u16();
        let is_of = |service: &str| self.addresses.of(service).is_some_and(|own| Some(own.port()) == port);
        match self.addresses.get(id) {
            Some(own) if is_of("functions") => format!("{scheme}://{host}:{}", own.port()),
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

    const REALTIME: ServiceId = ServiceId { service: "realtime" };

    fn here(public_url: Option<&str>) -> Here {
        let ports = [("gateway", 9080), ("functions", 9071), ("realtime", 9888), ("documents", 9081)];
        let address = |(service, port)| (ServiceId { service }, SocketAddr::from(([127, 0, 0, 1], port)));
        let addresses = ports.into_iter().map(address).collect();
        let services = [("realtime", 8888, true), ("documents", 8081, false)];
        let services = services.map(|(service, port, is_behind_gateway)| Reachable {
            id: ServiceId { service },
            emulator_port: Some(port),
            is_behind_gateway,
        });
        Here::new(services.to_vec(), addresses, public_url)
    }

    #[test]
    fn a_connection_string_names_this_process_by_name_and_port() {
        let here = here(Some("https://live.example.org"));
        let realtime = |endpoint| here.named_by(endpoint, "realtime") == Some(&REALTIME);
        assert!(
            realtime("http://localhost:9888")
                && realtime("http://127.0.0.1:9888/")
                && realtime("http://[::1]:9888")
        );
        assert!(realtime("http://localhost:8888"), "an unedited emulator string");
        assert!(realtime("https://live.example.org") && realtime("http://localhost:9080"));
        assert!(!realtime("http://localhost:7777") && !realtime("https://mine.service.signalr.net"));
        assert!(!realtime("http://192.168.1.9:8888") && !realtime("nonsense"));
        assert!(here.named_by("http://localhost:8081/", "documents").is_some());
        assert!(here.named_by("http://localhost:9080/", "documents").is_none());
    }

    #[test]
    fn clients_are_sent_to_where_they_came_from() {
        let base = |origin: &str| {
            here(None).client_base(&REALTIME, origin.parse().ok().as_ref(), "http://configured/")
        };
        assert_eq!(base("http://localhost:9080/"), "http://localhost:9080");
        assert_eq!(base("http://127.0.0.1:9071/"), "http://127.0.0.1:9888");
        assert_eq!(base("https://live.example.org/"), "https://live.example.org");
        assert_eq!(here(None).client_base(&REALTIME, None, "http://configured/"), "http://configured");
        let public = here(Some("https://live.example.org/"));
        let origin = "http://localhost:9080/".parse().ok();
        let found = public.client_base(&REALTIME, origin.as_ref(), "http://configured/");
        assert_eq!(found, "https://live.example.org");
        assert_eq!(public.client_base(&REALTIME, None, "http://configured/"), "https://live.example.org");
    }
}
