//! Whom each service's paths are for. Data; `docs/guard.md` shows the same table.

use percent_encoding::percent_decode_str;

/// Who calls a path. The order is that of strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Audience {
    /// Anybody, probes among them.
    Anyone,
    /// Pages in browsers, of any origin: a token, a function key or the app's own CORS settings decide.
    Browser,
    /// Programs with a key. A page on this machine may be one; a page from elsewhere is not, while the keys are public.
    App,
    /// Whoever runs the process: tools, and pages that it serves itself. No other page, while nothing but the place proves who
    /// asks.
    Person,
    /// The same, whatever the mode: nothing but the place ever proves who asks.
    Operator,
}

/// Paths of one service, as prefixes on whole segments in lower case, and the audience of all others.
#[derive(Debug)]
pub(crate) struct Rules {
    paths: &'static [(&'static str, Audience)],
    others: Audience,
}

/// Clients connect from pages of any origin, as with the emulator and the service: their token says who they are.
pub(crate) const REALTIME: Rules = Rules { paths: &[("/client", Audience::Browser)], others: Audience::App };

/// Everything is signed with the account key.
pub(crate) const DOCUMENTS: Rules = Rules { paths: &[], others: Audience::App };

/// Functions are the app's, and so are their keys and CORS. Administration asks for no key in development mode.
pub(crate) const FUNCTIONS: Rules =
    Rules { paths: &[("/admin", Audience::Person), ("/runtime", Audience::App)], others: Audience::Browser };

/// The process about itself.
pub(crate) const CHAPPE: Rules = Rules {
    paths: &[("/healthz", Audience::Anyone), ("/readyz", Audience::Anyone)],
    others: Audience::Operator,
};

impl Rules {
    /// Whom a path is for. Of the path as written and as a lenient service might read it (decoded, without empty and dot segments)
    /// the stricter one counts, so that no spelling opens a door.
    pub(crate) fn audience(&self, path: &str) -> Audience {
        self.of(&path.to_ascii_lowercase()).max(self.of(&lenient(path)))
    }

    fn of(&self, path: &str) -> Audience {
        let covers = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let rule = self.paths.iter().find(|(prefix, _)| covers(prefix));
        rule.map_or(self.others, |(_, audience)| *audience)
    }
}

/// The path decoded, in lower case, with dot segments resolved and empty ones left out.
fn lenient(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy().to_lowercase().replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_audience_of_its_prefix() {
        assert_eq!(FUNCTIONS.audience("/admin/host/keys"), Audience::Person);
        assert_eq!(FUNCTIONS.audience("/admin"), Audience::Person);
        assert_eq!(FUNCTIONS.audience("/administrators"), Audience::Browser);
        assert_eq!(FUNCTIONS.audience("/api/cards"), Audience::Browser);
        assert_eq!(REALTIME.audience("/client/negotiate"), Audience::Browser);
        assert_eq!(REALTIME.audience("/Client/"), Audience::Browser, "paths are matched without case");
        assert_eq!(REALTIME.audience("/api/v1/hubs/chat"), Audience::App);
        assert_eq!(REALTIME.audience("/server/"), Audience::App);
        assert_eq!(DOCUMENTS.audience("/"), Audience::App);
        assert_eq!(CHAPPE.audience("/readyz"), Audience::Anyone);
        assert_eq!(CHAPPE.audience("/metrics"), Audience::Operator);
    }

    #[test]
    fn no_spelling_makes_a_path_less_strict() {
        for path in
            ["/ADMIN/host/keys", "//admin/host", "/%61dmin/x", "/./admin", "/api/../admin", "/api/..%2fadmin"]
        {
            assert_eq!(FUNCTIONS.audience(path), Audience::Person, "{path}");
        }
        for path in
            ["/client/../api/v1", "/client/%2e%2e/api", "/client/..\\api", "/clients", "/%63lient/../api"]
        {
            assert_eq!(REALTIME.audience(path), Audience::App, "{path}");
        }
    }
}
