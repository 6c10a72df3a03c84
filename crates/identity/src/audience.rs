//! What a token is for. Know [`Audience`].
//!
//! The `aud` of a token names the service as the token's issuer calls it, and one service has many names: the gateway's port, its
//! own port, a public address, and the endpoint of a connection string, which lacks the port by the SDK's own rule. So the path
//! and the hub are compared, and the host only where the operator asks for it. A token for one hub opens no other hub, and a
//! token for clients opens no REST operation, whatever host it names; a token from another service fails at its signature, because
//! two services do not share a key.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What a token must have been made for.
#[derive(Debug, Clone)]
pub struct Audience<'a> {
    /// The resource.
    pub resource: Resource<'a>,
    /// `host[:port]` that the token must name, where that is compared at all.
    pub host: Option<&'a str>,
}

/// The resource that a token opens.
#[derive(Debug, Clone)]
pub enum Resource<'a> {
    /// A client's connection: `{endpoint}/client/?hub={hub}`.
    Client {
        /// The hub with its application prefix; case does not matter.
        hub: &'a str,
    },
    /// An app server's connection: `{endpoint}/server/?hub={hub}`.
    Server {
        /// The hub with its application prefix; case does not matter.
        hub: &'a str,
    },
    /// One REST request: its URL, with or without query.
    Rest {
        /// The path of the request as it stands in its URI.
        path: &'a str,
    },
}

impl Audience<'_> {
    /// Whether a token with this `aud` fits. An endpoint may have a path of its own in front (a gateway that mounts the service
    /// below a prefix), so that only the end of the path counts, from a slash on.
    pub(crate) fn matches(&self, aud: &str) -> bool {
        let Some((_, rest)) = aud.split_once("://") else { return false };
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if self.host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) {
            return false;
        }
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        match self.resource {
            Resource::Client { hub } => ends_with(path, "/client") && names_only(query, hub),
            Resource::Server { hub } => ends_with(path, "/server") && names_only(query, hub),
            Resource::Rest { path: wanted } => ends_with(path, wanted),
        }
    }
}

/// Whether a query names this hub and no other. Two hubs in one token: nobody could say which one it is for.
fn names_only(query: &str, hub: &str) -> bool {
    let mut hubs = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter_map(|(name, value)| name.eq_ignore_ascii_case("hub").then_some(decoded(value)).flatten());
    hubs.next().is_some_and(|named| named.eq_ignore_ascii_case(hub)) && hubs.next().is_none()
}

/// Whether the decoded `path` ends with the decoded `wanted`, which begins with a slash. A slash at the end does not matter. Segments
/// are decoded one by one, so that an encoded slash does not become a separator.
fn ends_with(path: &str, wanted: &str) -> bool {
    let mut segments = path.trim_matches('/').rsplit('/').map(decoded);
    let mut wanted = wanted.trim_matches('/').rsplit('/').map(decoded);
    let ends = wanted.all(|wanted| {
        // What is not UTF-8 is no segment, and fits none.
        let segment = segments.next().flatten();
        segment.is_some() && segment == wanted
    });
    ends && segments.all(|segment| segment.is_some())
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    // Nearly always there is nothing to decode, and no need to look for it twice.
    if !text.as_bytes().contains(&b'%') {
        return Some(Cow::Borrowed(text));
    }
    percent_decode_str(text).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_token_fits_its_hub_by_any_host() {
        let check = |aud: &str, hub: &str, expected: bool| {
            let audience = Audience { resource: Resource::Client { hub }, host: None };
            assert_eq!(audience.matches(aud), expected, "{aud} for {hub}");
        };
        check("http://localhost/client/?hub=chat", "chat", true);
        check("https://other:444/mount/client?a=b&hub=Chat", "cHAT", true);
        check("http://localhost/client/?hub=app%5Fchat", "app_chat", true);
        check("http://localhost/client/?hub=chat", "chat2", false);
        check("http://localhost/client/?hub=chat&hub=other", "chat", false);
        check("http://localhost/client/", "chat", false);
        check("http://localhost/server/?hub=chat", "chat", false);
        check("http://localhost/api/v1/hubs/chat", "chat", false);
        check("chat", "chat", false);
    }

    #[test]
    fn a_server_token_opens_no_client_connection_and_no_other_hub() {
        let check = |aud: &str, hub: &str, expected: bool| {
            let audience = Audience { resource: Resource::Server { hub }, host: None };
            assert_eq!(audience.matches(aud), expected, "{aud} for {hub}");
        };
        check("http://localhost/server/?hub=chat", "chat", true);
        check("https://other:444/mount/server?hub=App_Chat", "app_chat", true);
        check("http://localhost/server/?hub=chat", "other", false);
        check("http://localhost/client/?hub=chat", "chat", false);
        check("http://localhost/server/?hub=chat&hub=other", "chat", false);
        check("http://localhost/server/", "chat", false);
    }

    #[test]
    fn a_rest_token_fits_its_path_with_or_without_query() {
        let check = |aud: &str, path: &str, expected: bool| {
            let audience = Audience { resource: Resource::Rest { path }, host: None };
            assert_eq!(audience.matches(aud), expected, "{aud} for {path}");
        };
        check("http://a/api/v1/hubs/chat", "/api/v1/hubs/chat", true);
        check("http://a/api/hubs/chat/:send?api-version=2022-06-01", "/api/hubs/chat/%3Asend", true);
        check("http://a/mount/api/v1/hubs/chat/", "/api/v1/hubs/chat", true);
        check("http://a/api/v1/hubs/chat", "/api/v1/hubs/other", false);
        check("http://a/api/v1/hubs/chat", "/api/v1/hubs/chat/users/x", false);
        check("http://a/api/v1/hubs/chat/users/x", "/api/v1/hubs/chat", false);
        check("http://a/api/v1/hubs/chat%2Fusers", "/api/v1/hubs/chat/users", false);
        check("http://a/xapi/v1/hubs/chat", "/api/v1/hubs/chat", false);
        check("http://a/", "/", true);
    }

    #[test]
    fn the_host_counts_only_where_it_is_asked_for() {
        let resource = Resource::Client { hub: "chat" };
        let audience = Audience { resource, host: Some("a:1") };
        assert!(audience.matches("http://A:1/client/?hub=chat"));
        assert!(!audience.matches("http://b:1/client/?hub=chat"));
    }
}
