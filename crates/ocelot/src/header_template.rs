//! `UpstreamHeaderTemplates`: conditions on request headers, with values for the downstream path.

use std::borrow::Cow;

use fancy_regex::{Regex, RegexBuilder};
use http::{HeaderMap, HeaderName};

const BACKTRACK_LIMIT: usize = 100_000;

#[derive(Debug)]
pub(crate) struct HeaderTemplate {
    name: HeaderName,
    expression: Regex,
    /// The placeholders in their order, without `{header:` and `}`.
    pub(crate) names: Vec<String>,
}

impl HeaderTemplate {
    /// # Errors
    ///
    /// If the name is no header name, or the template no regular expression.
    pub(crate) fn compile(name: &str, template: &str, case_sensitive: bool) -> Result<Self, String> {
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("{name:?} is not the name of a header"))?;
        let mut names = Vec::new();
        let mut expression = String::new();
        let mut rest = template;
        while let Some(start) = find_without_case(rest, "{header:") {
            let Some(length) = rest[start..].find('}') else { break };
            expression.push_str(&rest[..start]);
            expression.push_str(&format!("(?<placeholder{}>.+)", names.len()));
            names.push(rest[start + "{header:".len()..start + length].to_owned());
            rest = &rest[start + length + 1..];
        }
        expression.push_str(rest);
        let case = if case_sensitive { "" } else { "(?i)" };
        let expression = RegexBuilder::new(&format!("^{case}{expression}$"))
            .backtrack_limit(BACKTRACK_LIMIT)
            .build()
            .map_err(|error| {
                format!("{template:?} is compared as a regular expression, and it is none ({error})")
            })?;
        Ok(Self { name: header, expression, names })
    }

    pub(crate) fn matches(&self, headers: &HeaderMap) -> bool {
        // A header that is there more than once is compared as one, joined by commas.
        joined(headers, &self.name).is_some_and(|value| self.expression.is_match(&*value).unwrap_or(false))
    }

    /// The values of a header that matches, in the order of `names`.
    pub(crate) fn values(&self, headers: &HeaderMap) -> Vec<String> {
        let value = joined(headers, &self.name).unwrap_or_default();
        let Some(captures) = self.expression.captures(&*value).ok().flatten() else { return Vec::new() };
        // By name: the template may have groups of its own.
        let group = |index: usize| captures.name(&format!("placeholder{index}"));
        (0..self.names.len())
            .map(|index| group(index).map_or("", |group| group.as_str()).to_owned())
            .collect()
    }
}

fn find_without_case(text: &str, wanted: &str) -> Option<usize> {
    text.as_bytes().windows(wanted.len()).position(|part| part.eq_ignore_ascii_case(wanted.as_bytes()))
}

fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let first = values.next()?;
    Some(values.fold(first, |all, value| Cow::Owned(format!("{all},{value}"))))
}
