//! Binds the ports. If a configured port is in use, the start fails: clients would talk to the program that has it. Only a default
//! port moves to a free one, and only in development: the service is still reached through the gateway and from inside the process.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use edge::{BindError, Listener, PortOwner};

use crate::config::{ConfiguredService, Listen, ServiceId};
use crate::error_table::process;

/// The listeners of the process, bound and not yet served. Empty by default.
#[derive(Default)]
pub(crate) struct Ports(BTreeMap<ServiceId, Listener>);

/// The address of each service, for display and for connection strings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses(BTreeMap<ServiceId, SocketAddr>);

/// Why a service has no port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortsError {
    /// The port was configured, from any source.
    #[error(
        "{service} cannot have the address that is configured for it, {listen}; stop the program that has it, or set {} to another \
         address", service.listen_option()
    )]
    Configured {
        service: ServiceId,
        listen: Listen,
        #[source]
        cause: Box<BindError>,
    },
    /// The default port is in use, and clients on other machines could not learn the port that replaces it.
    #[error(
        "{service} cannot have its default address, {listen}, and ports move only in development mode, while nothing but this machine \
         connects; set {} to a free address, or to off", service.listen_option()
    )]
    Default {
        service: ServiceId,
        listen: Listen,
        #[source]
        cause: Box<BindError>,
    },
}

impl Ports {
    /// Binds the configured ports of the services that run.
    pub(crate) fn bind<'a>(
        services: impl IntoIterator<Item = &'a ConfiguredService>,
        development: bool,
    ) -> Result<Self, PortsError> {
        let mut ports = BTreeMap::new();
        for ConfiguredService { id, listen, .. } in services {
            if let Some(listener) = bind(id, listen, development)? {
                ports.insert(id.clone(), listener);
            }
        }
        Ok(Self(ports))
    }

    pub(crate) fn addresses(&self) -> Addresses {
        Addresses(self.0.iter().map(|(id, listener)| (id.clone(), listener.local_addr())).collect())
    }

    /// The number of listeners.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Removes the listener of a service and returns it.
    pub(crate) fn remove(&mut self, id: &ServiceId) -> Option<Listener> {
        self.0.remove(id)
    }
}

impl FromIterator<(ServiceId, SocketAddr)> for Addresses {
    fn from_iter<T: IntoIterator<Item = (ServiceId, SocketAddr)>>(addresses: T) -> Self {
        Self(addresses.into_iter().collect())
    }
}

impl Addresses {
    /// Every port.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        self.0.values().map(SocketAddr::port)
    }

    /// The address on which a service listens.
    pub(crate) fn get(&self, id: &ServiceId) -> Option<SocketAddr> {
        self.0.get(id).copied()
    }

    /// `http://localhost:8080`, as a person types it, or the same with another scheme: every port accepts TLS as well as plain
    /// HTTP.
    pub(crate) fn url(scheme: &str, address: SocketAddr) -> String {
        let host = match address.ip() {
            ip if ip.is_loopback() || ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        format!("{scheme}://{host}:{}", address.port())
    }
}

fn bind(service: &ServiceId, listen: &Listen, development: bool) -> Result<Option<Listener>, PortsError> {
    let Listen::On { host, port, is_default } = listen else { return Ok(None) };
    let cause = match bind_port(service, host, *port) {
        Ok(listener) => return Ok(Some(listener)),
        Err(cause) => Box::new(cause),
    };
    let (service, listen) = (service.clone(), listen.clone());
    if !is_default {
        return Err(PortsError::Configured { service, listen, cause });
    }
    if !development {
        return Err(PortsError::Default { service, listen, cause });
    }
    let why = match &*cause {
        BindError::Taken { holder, .. } => {
            let holder = holder.as_ref().map_or_else(
                || "another program (this user may not see which)".to_owned(),
                PortOwner::to_string,
            );
            format!("is taken by {holder}")
        }
        BindError::Forbidden { .. } => "is forbidden by the operating system".to_owned(),
        BindError::NoSuchAddress { .. } | BindError::Other { .. } => {
            return Err(PortsError::Default { service, listen, cause });
        }
    };
    match bind_port(&service, host, 0) {
        Ok(listener) => {
            let port = listener.local_addr().port();
            tracing::warn!(
                code = process::MOVED_PORT.code,
                "{listen} {why}: {service} listens on {host}:{port} instead, as that is only its default; set {} to choose \
                 a port",
                service.listen_option()
            );
            Ok(Some(listener))
        }
        Err(cause) => Err(PortsError::Default { service, listen, cause: Box::new(cause) }),
    }
}

fn bind_port(service: &ServiceId, host: &str, port: u16) -> Result<Listener, BindError> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Listener::bind(service.to_string(), SocketAddr::new(ip, port)),
        Err(_) => Listener::bind_localhost(service.to_string(), port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: ServiceId = ServiceId::unnamed("gateway");

    /// A port in use, and the listener that uses it.
    fn taken_port() -> (std::net::TcpListener, u16) {
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port can be bound");
        let port = other.local_addr().expect("a bound listener has an address").port();
        (other, port)
    }

    #[test]
    fn a_default_port_in_use_is_replaced_in_development_only() {
        let (_other, taken) = taken_port();
        let listen = Listen::default_port(taken);
        let listener = bind(&GATEWAY, &listen, true).expect("another port is taken").expect("it listens");
        assert_ne!(listener.local_addr().port(), taken);
        let error = bind(&GATEWAY, &listen, false).expect_err("other machines may connect");
        assert!(matches!(error, PortsError::Default { .. }), "{error:?}");
    }

    #[test]
    fn a_configured_port_in_use_is_an_error() {
        let (_other, taken) = taken_port();
        for development in [true, false] {
            let error = bind(&GATEWAY, &Listen::localhost(taken), development).expect_err("it is configured");
            assert!(matches!(error, PortsError::Configured { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("set listen.gateway to another address"), "{text}");
            assert!(text.contains(&format!("localhost:{taken}")), "{text}");
        }
    }

    #[test]
    fn printed_urls_use_localhost_for_loopback_and_unspecified_addresses() {
        let url = |text: &str| Addresses::url("http", text.parse().expect("an address"));
        assert_eq!(url("127.0.0.1:8080"), "http://localhost:8080");
        assert_eq!(url("0.0.0.0:80"), "http://localhost:80");
        assert_eq!(url("192.168.1.2:80"), "http://192.168.1.2:80");
    }
}
