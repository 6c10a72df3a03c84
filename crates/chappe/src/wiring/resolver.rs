//! Decides by its content whether a connection string names a service of this process. No other code decides this.

use std::net::SocketAddr;

use http::Uri;

use crate::config::ServiceId;
use crate::ports::Addresses;

/// The addresses by which connection strings can name this process.
#[derive(Clone, Debug)]
pub(crate) struct LocalServices {
    services: Vec<Reachable>,
    addresses: Addresses,
    /// The public address of this process behind a proxy, without a trailing slash.
    public_url: Option<String>,
}

/// A service of this process, with the other addresses by which connection strings can name it.
#[derive(Clone, Debug)]
pub(crate) struct Reachable {
    pub(crate) id: ServiceId,
    /// The port of the public emulator of this service, which the unedited `local.settings.json` of an app names.
    pub(crate) emulator_port: Option<u16>,
    /// The gateways through which its clients connect.
    pub(crate) gateways: Vec<ServiceId>,
}

impl LocalServices {
    pub(crate) fn new(services: Vec<Reachable>, addresses: Addresses, public_url: Option<&str>) -> Self {
        let public_url = public_url.map(|url| url.trim_end_matches('/').to_owned());
        Self { services, addresses, public_url }
    }

    /// The service of a section that an endpoint names: by a name of this machine with the port of the service or of its emulator,
    /// or by the public name.
    pub(crate) fn named_by(&self, endpoint: &str, section: &str) -> Option<&ServiceId> {
        let uri: Uri = endpoint.parse().ok()?;
        let mut services = self.services.iter().filter(|service| service.id.service == section);
        services.find(|service| self.is(&uri, service)).map(|service| &service.id)
    }

    fn is(&self, uri: &Uri, service: &Reachable) -> bool {
        let Some(host) = uri.host() else { return false };
        let public = self.public_url.as_deref().and_then(|url| url.parse::<Uri>().ok());
        let is_public =
            public.as_ref().and_then(Uri::host).is_some_and(|public| public.eq_ignore_ascii_case(host));
        if is_public && service.id.is_default() {
            return true;
        }
        let own = self.addresses.get(&service.id);
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default_port);
        let port_is_ours = own.is_some_and(|own| own.port() == port)
            || service.emulator_port == Some(port)
            || service.gateways.iter().any(|gateway| self.port(gateway) == Some(port));
        is_this_machine(host, own) && port_is_ours
    }

    /// The base address for clients of a realtime service: the public address if it is configured, because only the operator knows
    /// the name of a proxy in front of this process. Otherwise it is `origin`, by which the client reached this process, unless a
    /// service other than this one or its gateway listens there: then it is the service's own port under the same host name.
    pub(crate) fn client_base(&self, id: &ServiceId, origin: Option<&Uri>, configured: &str) -> String {
        let configured = configured.trim_end_matches('/');
        let gateways = self.services.iter().find(|service| service.id == *id);
        let gateways = gateways.map(|service| service.gateways.as_slice()).unwrap_or_default();
        if let Some(public) = &self.public_url {
            // The public address leads to the default gateway, and to the services that it routes to.
            let leads_here = id.is_default() || gateways.iter().any(ServiceId::is_default);
            return if leads_here { public.clone() } else { configured.to_owned() };
        }
        let Some(origin) = origin else { return configured.to_owned() };
        let scheme = origin.scheme_str().unwrap_or("http");
        let Some(host) = origin.host() else { return configured.to_owned() };
        let Some(port) = origin.port_u16() else {
            // A proxy in front of this process, on the default port of its scheme.
            return format!("{scheme}://{host}");
        };
        let leads_here = self.port(id) == Some(port) || gateways.iter().any(|id| self.port(id) == Some(port));
        let is_another = !leads_here && self.addresses.ports().any(|known| known == port);
        let port = self.port(id).filter(|_| is_another).unwrap_or(port);
        format!("{scheme}://{host}:{port}")
    }

    fn port(&self, id: &ServiceId) -> Option<u16> {
        self.addresses.get(id).map(|address| address.port())
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

    const REALTIME: ServiceId = ServiceId::unnamed("realtime");

    fn local_services(public_url: Option<&str>) -> LocalServices {
        let ports = [("gateway", 9080), ("functions", 9071), ("realtime", 9888), ("documents", 9081)];
        let address =
            |(service, port)| (ServiceId::unnamed(service), SocketAddr::from(([127, 0, 0, 1], port)));
        let addresses = ports.into_iter().map(address).collect();
        let services =
            [("realtime", 8888, vec![ServiceId::unnamed("gateway")]), ("documents", 8081, Vec::new())];
        let services = services.map(|(service, port, gateways)| Reachable {
            id: ServiceId::unnamed(service),
            emulator_port: Some(port),
            gateways,
        });
        LocalServices::new(services.to_vec(), addresses, public_url)
    }

    #[test]
    fn a_connection_string_with_a_local_name_and_port_resolves_to_this_process() {
        let local_services = local_services(Some("https://live.example.org"));
        let realtime = |endpoint| local_services.named_by(endpoint, "realtime") == Some(&REALTIME);
        assert!(
            realtime("http://localhost:9888")
                && realtime("http://127.0.0.1:9888/")
                && realtime("http://[::1]:9888")
        );
        assert!(realtime("http://localhost:8888"), "an unedited emulator string");
        assert!(realtime("https://live.example.org") && realtime("http://localhost:9080"));
        assert!(!realtime("http://localhost:7777") && !realtime("https://mine.service.signalr.net"));
        assert!(!realtime("http://192.168.1.9:8888") && !realtime("nonsense"));
        assert!(local_services.named_by("http://localhost:8081/", "documents").is_some());
        assert!(local_services.named_by("http://localhost:9080/", "documents").is_none());
    }

    #[test]
    fn named_services_are_distinguished_by_their_ports() {
        let (chat, mobile) = (
            ServiceId::named("realtime", "chat").expect("a name"),
            ServiceId::named("gateway", "mobile").expect("a name"),
        );
        let ports = [
            (ServiceId::unnamed("gateway"), 9080),
            (ServiceId::unnamed("functions"), 9071),
            (REALTIME, 9888),
            (chat.clone(), 9889),
            (mobile.clone(), 9090),
        ];
        let addresses = ports.map(|(id, port)| (id, SocketAddr::from(([127, 0, 0, 1], port))));
        let reachable = |id, emulator_port, gateways| Reachable { id, emulator_port, gateways };
        let services = vec![
            reachable(REALTIME, Some(8888), vec![ServiceId::unnamed("gateway")]),
            reachable(chat.clone(), None, vec![mobile]),
        ];
        let local_services =
            LocalServices::new(services.clone(), addresses.clone().into_iter().collect(), None);
        let named_by = |endpoint| local_services.named_by(endpoint, "realtime").map(ToString::to_string);
        assert_eq!(named_by("http://localhost:9889").as_deref(), Some("realtime.chat"));
        assert_eq!(named_by("http://localhost:9090").as_deref(), Some("realtime.chat"));
        assert_eq!(named_by("http://localhost:9080").as_deref(), Some("realtime"));
        let base =
            |id, origin: &str| local_services.client_base(id, origin.parse().ok().as_ref(), "http://c/");
        assert_eq!(base(&chat, "http://localhost:9071"), "http://localhost:9889");
        assert_eq!(
            base(&chat, "http://localhost:9080"),
            "http://localhost:9889",
            "that gateway leads elsewhere"
        );
        assert_eq!(base(&chat, "http://localhost:9090"), "http://localhost:9090");
        let public =
            LocalServices::new(services, addresses.into_iter().collect(), Some("https://live.example.org"));
        assert_eq!(public.client_base(&chat, None, "http://c/"), "http://c");
        assert_eq!(public.client_base(&REALTIME, None, "http://c/"), "https://live.example.org");
    }

    #[test]
    fn clients_are_redirected_to_the_origin_they_used() {
        let base = |origin: &str| {
            local_services(None).client_base(&REALTIME, origin.parse().ok().as_ref(), "http://configured/")
        };
        assert_eq!(base("http://localhost:9080/"), "http://localhost:9080");
        assert_eq!(base("http://127.0.0.1:9071/"), "http://127.0.0.1:9888");
        assert_eq!(base("https://live.example.org/"), "https://live.example.org");
        assert_eq!(
            local_services(None).client_base(&REALTIME, None, "http://configured/"),
            "http://configured"
        );
        let public = local_services(Some("https://live.example.org/"));
        let origin = "http://localhost:9080/".parse().ok();
        let found = public.client_base(&REALTIME, origin.as_ref(), "http://configured/");
        assert_eq!(found, "https://live.example.org");
        assert_eq!(public.client_base(&REALTIME, None, "http://configured/"), "https://live.example.org");
    }
}
