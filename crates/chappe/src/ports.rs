//! Taking the ports. One that is taken is never a reason not to start: the service says so and takes a free one, because it is
//! still reached through the gateway and from inside the process.

use std::net::{IpAddr, SocketAddr};

use edge::{BindError, Listener};

use crate::config::{Config, Listen, ListenSection};

/// The listeners of the process, bound and not yet served.
pub(crate) struct Ports {
    pub(crate) gateway: Option<Listener>,
    pub(crate) functions: Option<Listener>,
    pub(crate) realtime: Option<Listener>,
    pub(crate) documents: Option<Listener>,
    pub(crate) admin: Option<Listener>,
}

/// Where each service can be reached, for people and for connection strings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) gateway: Option<SocketAddr>,
    pub(crate) functions: Option<SocketAddr>,
    pub(crate) realtime: Option<SocketAddr>,
    pub(crate) documents: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
}

impl Ports {
    /// Binds what the configuration names. Only a mistake that no other port would mend is an error.
    pub(crate) fn bind(config: &Config) -> Result<Self, BindError> {
        let ListenSection { gateway, functions, realtime, documents, admin } = &config.listen;
        let functions_wanted = if config.run_functions { functions } else { &Listen::Off };
        Ok(Self {
            gateway: bind("gateway", gateway)?,
            functions: bind("functions", functions_wanted)?,
            realtime: bind("realtime", realtime)?,
            documents: bind("documents", documents)?,
            admin: bind("admin", admin)?,
        })
    }

    pub(crate) fn addresses(&self) -> Addresses {
        let address = |listener: &Option<Listener>| listener.as_ref().map(Listener::local_addr);
        Addresses {
            gateway: address(&self.gateway),
            functions: address(&self.functions),
            realtime: address(&self.realtime),
            documents: address(&self.documents),
            admin: address(&self.admin),
        }
    }
}

impl Addresses {
    /// `http://localhost:8080`, as a person types it.
    pub(crate) fn url(address: SocketAddr) -> String {
        let host = match address.ip() {
            ip if ip.is_loopback() || ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        format!("http://{host}:{}", address.port())
    }
}

fn bind(service: &'static str, listen: &Listen) -> Result<Option<Listener>, BindError> {
    let Listen::On { host, port } = listen else { return Ok(None) };
    match bind_port(service, host, *port) {
        Ok(listener) => Ok(Some(listener)),
        Err(taken @ (BindError::Taken { .. } | BindError::Forbidden { .. })) => {
            let listener = bind_port(service, host, 0)?;
            tracing::warn!(
                "{taken}. {service} listens on {} instead; to choose, set listen.{service}",
                listener.local_addr()
            );
            Ok(Some(listener))
        }
        Err(other) => Err(other),
    }
}

fn bind_port(service: &'static str, host: &str, port: u16) -> Result<Listener, BindError> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Listener::bind(service, SocketAddr::new(ip, port)),
        Err(_) => Listener::bind_localhost(service, port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_no_reason_not_to_start() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port can be bound");
        let taken = other.local_addr().expect("a bound listener has an address").port();
        let listener = bind("gateway", &Listen::localhost(taken)).expect("another port is taken");
        assert_ne!(listener.expect("it listens").local_addr().port(), taken);
    }

    #[test]
    fn urls_are_what_a_person_types() {
        let url = |text: &str| Addresses::url(text.parse().expect("an address"));
        assert_eq!(url("127.0.0.1:8080"), "http://localhost:8080");
        assert_eq!(url("0.0.0.0:80"), "http://localhost:80");
        assert_eq!(url("192.168.1.2:80"), "http://192.168.1.2:80");
    }
}
