//! The audiences of a service's paths; the rules are in the rows of `services/`, and `docs/guard.md` shows them.

use percent_encoding::percent_decode_str;

/// Who may call a path, in order of strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GuardAudience {
    /// Every caller, including probes.
    Anyone,
    /// Pages of any origin in browsers: a token, a function key or the app's CORS settings decide.
    Browser,
    /// Programs with a key. A page from this machine may be one; a page from another site may not, while the keys are public.
    App,
    /// The operator of the process: tools, and pages that the process itself serves. Other pages are refused while the address is
    /// the only proof of the caller's identity.
    Person,
    /// The operator in every mode: the address is always the only proof of the caller's identity.
    Operator,
}

/// Path prefixes of one service, on whole segments and in lower case, and the audience of all other paths.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) paths: &'static [(&'static str, GuardAudience)],
    pub(crate) others: GuardAudience,
}

impl Rules {
    /// The audience of a path. Both the path as written and the path as a lenient service might read it (decoded, without empty and
    /// dot segments) are checked; the stricter audience applies, so that no spelling bypasses a rule.
    pub(crate) fn audience(&self, path: &str) -> GuardAudience {
        self.of(&path.to_ascii_lowercase()).max(self.of(&lenient(path)))
    }

    fn of(&self, path: &str) -> GuardAudience {
        let covers = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let rule = self.paths.iter().find(|(prefix, _)| covers(prefix));
        rule.map_or(self.others, |(_, audience)| *audience)
    }
}

/// The path decoded, in lower case, with dot segments resolved and empty ones removed.
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

    fn audience(service: &str, path: &str) -> GuardAudience {
        let row = crate::services::TABLE.iter().find(|row| row.section.name == service).expect("a service");
        row.rules.expect("it has rules").audience(path)
    }

    #[test]
    fn a_path_has_the_audience_of_its_prefix() {
        for (service, path, expected) in [
            ("functions", "/admin/host/keys", GuardAudience::Person),
            ("functions", "/admin", GuardAudience::Person),
            ("functions", "/administrators", GuardAudience::Browser),
            ("functions", "/api/cards", GuardAudience::Browser),
            ("realtime", "/client/negotiate", GuardAudience::Browser),
            // Paths are compared without case.
            ("realtime", "/Client/", GuardAudience::Browser),
            ("realtime", "/api/v1/hubs/chat", GuardAudience::App),
            ("realtime", "/server/", GuardAudience::App),
            ("documents", "/", GuardAudience::App),
            ("admin", "/readyz", GuardAudience::Anyone),
            ("admin", "/metrics", GuardAudience::Operator),
        ] {
            assert_eq!(audience(service, path), expected, "{service} {path}");
        }
    }

    #[test]
    fn no_spelling_of_a_path_weakens_its_rule() {
        for path in
            ["/ADMIN/host/keys", "//admin/host", "/%61dmin/x", "/./admin", "/api/../admin", "/api/..%2fadmin"]
        {
            assert_eq!(audience("functions", path), GuardAudience::Person, "{path}");
        }
        for path in
            ["/client/../api/v1", "/client/%2e%2e/api", "/client/..\\api", "/clients", "/%63lient/../api"]
        {
            assert_eq!(audience("realtime", path), GuardAudience::App, "{path}");
        }
    }
}
