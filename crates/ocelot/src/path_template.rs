//! Upstream path templates: when they match, and the values of their placeholders.
//!
//! Ocelot makes two regular expressions of a template: one that decides whether a path matches, and one that reads the values. They
//! disagree in rare cases; then a path matches without values, and the placeholders stay in the downstream path as they are. Templates of
//! complete segments, which are nearly all, are compared without regular expressions, with the same results.

use std::borrow::Cow;

use fancy_regex::{Regex, RegexBuilder};

use crate::index::IndexKey;

/// Steps that an expression may take for one path before it counts as not matching.
const BACKTRACK_LIMIT: usize = 100_000;

#[derive(Debug)]
pub(crate) struct PathTemplate {
    /// The placeholders in their order, without braces.
    pub(crate) names: Vec<String>,
    pattern: Pattern,
    case_sensitive: bool,
}

#[derive(Debug)]
enum Pattern {
    /// `/{name}` alone.
    Everything,
    Segments {
        segments: Vec<Segment>,
        /// The template ends in `/`, which a request may leave out.
        slash: bool,
    },
    Expressions(Box<Expressions>),
}

#[derive(Debug)]
struct Expressions {
    matching: Regex,
    values: Regex,
    /// The template holds `?`: the expressions are compared with path and query.
    with_query: bool,
    /// Values are read again with a `/` at the end of the path if that makes the difference.
    retry_with_slash: bool,
    /// `?{name}` at the end without other placeholders: its value is empty, and all parameters are passed on.
    catch_all_query: bool,
}

#[derive(Debug)]
enum Segment {
    Literal(String),
    Placeholder,
}

impl PathTemplate {
    /// # Errors
    ///
    /// If braces do not pair up, or the template is no regular expression; the text says which.
    pub(crate) fn compile(template: &str, case_sensitive: bool) -> Result<Self, String> {
        let names = names(template)?;
        let pattern = if names.len() == 1 && template == format!("/{{{}}}", names[0]) {
            Pattern::Everything
        } else if let Some((segments, slash)) = complete_segments(template) {
            Pattern::Segments { segments, slash }
        } else {
            expressions(template, &names, case_sensitive)?
        };
        Ok(Self { names, pattern, case_sensitive })
    }

    /// `/{name}` gets the priority 0, whatever is configured.
    pub(crate) fn is_everything(&self) -> bool {
        matches!(self.pattern, Pattern::Everything)
    }

    /// True if path segments and query are read by a regular expression.
    pub(crate) fn is_expression(&self) -> bool {
        matches!(self.pattern, Pattern::Expressions(_))
    }

    /// Where the index keeps the template: every path that matches has these segments.
    pub(crate) fn key(&self, template: &str) -> IndexKey {
        match &self.pattern {
            Pattern::Everything => IndexKey { segments: Vec::new(), exact: false },
            Pattern::Segments { segments, slash } => {
                let open = !slash && matches!(segments.last(), Some(Segment::Placeholder));
                let fixed = segments.len() - usize::from(open);
                let segments = segments[..fixed].iter().map(|segment| match segment {
                    Segment::Literal(text) => Some(text.to_ascii_lowercase()),
                    Segment::Placeholder => None,
                });
                IndexKey { segments: segments.collect(), exact: !open }
            }
            Pattern::Expressions(_) => IndexKey { segments: literal_prefix(template), exact: false },
        }
    }

    /// True if the template matches. `query` is without `?`.
    pub(crate) fn matches(&self, path: &str, query: &str) -> bool {
        match &self.pattern {
            Pattern::Everything => path.starts_with('/'),
            Pattern::Segments { segments, slash } => self.segments(segments, *slash, path),
            Pattern::Expressions(expressions) => {
                let text = compared(path, query, expressions.with_query);
                // An expression that takes too many steps does not match.
                expressions.matching.is_match(&*text).unwrap_or(false)
            }
        }
    }

    fn segments(&self, segments: &[Segment], slash: bool, path: &str) -> bool {
        let mut rest = path;
        for (index, segment) in segments.iter().enumerate() {
            let open = !slash && index + 1 == segments.len() && matches!(segment, Segment::Placeholder);
            if open {
                return rest.is_empty() || rest.starts_with('/');
            }
            let Some((piece, after)) = next_segment(rest) else { return false };
            let equal = match segment {
                Segment::Literal(text) if self.case_sensitive => piece == text,
                Segment::Literal(text) => piece.eq_ignore_ascii_case(text),
                Segment::Placeholder => !piece.is_empty(),
            };
            if !equal {
                return false;
            }
            rest = after;
        }
        rest.is_empty() || slash && rest == "/"
    }

    /// The values of a path that matches, in the order of `names`; empty if they cannot be read.
    pub(crate) fn values<'a>(&self, path: &'a str, query: &str) -> Vec<Cow<'a, str>> {
        match &self.pattern {
            _ if self.names.is_empty() => Vec::new(),
            Pattern::Everything => vec![Cow::Borrowed(until_ampersand(&path[1..]))],
            Pattern::Segments { segments, slash } => {
                self.segment_values(segments, *slash, path).unwrap_or_default()
            }
            Pattern::Expressions(expressions) if expressions.catch_all_query => vec![Cow::Borrowed("")],
            Pattern::Expressions(expressions) => {
                let text = compared(path, query, expressions.with_query);
                let read = |text: &str| self.expression_values(&expressions.values, text);
                let retried = || expressions.retry_with_slash.then(|| read(&format!("{text}/"))).flatten();
                read(&text).or_else(retried).unwrap_or_default()
            }
        }
    }

    fn segment_values<'a>(
        &self,
        segments: &[Segment],
        slash: bool,
        path: &'a str,
    ) -> Option<Vec<Cow<'a, str>>> {
        let mut values = Vec::with_capacity(self.names.len());
        let mut rest = path;
        for (index, segment) in segments.iter().enumerate() {
            let last = index + 1 == segments.len();
            if last && !slash && matches!(segment, Segment::Placeholder) {
                values.push(Cow::Borrowed(until_ampersand(rest.strip_prefix('/').unwrap_or(rest))));
                return Some(values);
            }
            let (piece, after) = next_segment(rest)?;
            if matches!(segment, Segment::Placeholder) {
                if piece.contains('&') {
                    return None;
                }
                values.push(Cow::Borrowed(piece));
            }
            rest = after;
        }
        // The expression of the values wants the final slash unless a placeholder is before it.
        let complete = !slash || rest == "/" || matches!(segments.last(), Some(Segment::Placeholder));
        complete.then_some(values)
    }

    fn expression_values(&self, values: &Regex, text: &str) -> Option<Vec<Cow<'static, str>>> {
        let captures = values.captures(text).ok().flatten()?;
        let group = |index| captures.get(index).map_or("", |group| group.as_str()).to_owned();
        Some((1..=self.names.len()).map(|index| Cow::Owned(group(index))).collect())
    }
}

fn next_segment(rest: &str) -> Option<(&str, &str)> {
    let rest = rest.strip_prefix('/')?;
    Some(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

/// The expressions of the values end a value at `&`, which separates parameters, in paths too.
fn until_ampersand(value: &str) -> &str {
    value.split('&').next().unwrap_or(value)
}

fn compared<'a>(path: &'a str, query: &str, with_query: bool) -> Cow<'a, str> {
    if with_query && !query.is_empty() { Cow::Owned(format!("{path}?{query}")) } else { Cow::Borrowed(path) }
}

fn names(template: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let Some(length) = rest[start + 1..].find('}') else {
            return Err(format!("{template:?} has a '{{' without a '}}'"));
        };
        let name = &rest[start + 1..start + 1 + length];
        if name.is_empty() || name.contains('{') {
            return Err(format!("{template:?} has a placeholder without a name, or one inside another"));
        }
        names.push(name.to_owned());
        rest = &rest[start + length + 2..];
    }
    Ok(names)
}

/// Characters that mean something in a regular expression; a template with one of them is one.
const META: &[char] = &['.', '^', '$', '*', '+', '?', '(', ')', '[', ']', '|', '\\'];

/// The segments of a template that consists of literal segments and segments that are one placeholder.
fn complete_segments(template: &str) -> Option<(Vec<Segment>, bool)> {
    let template = template.strip_prefix('/')?;
    let (template, slash) =
        template.strip_suffix('/').map_or((template, template.is_empty()), |template| (template, true));
    if template.is_empty() {
        return Some((Vec::new(), slash));
    }
    let segments = template.split('/').map(|segment| {
        let inner = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'));
        match inner {
            Some(inner) if !inner.contains(['{', '}']) => Some(Segment::Placeholder),
            _ if segment.contains(META) || segment.contains(['{', '}']) => None,
            _ => Some(Segment::Literal(segment.to_owned())),
        }
    });
    Some((segments.collect::<Option<_>>()?, slash))
}

/// The literal segments at the start of every path that the expression matches.
fn literal_prefix(template: &str) -> Vec<Option<String>> {
    let path = template.split('?').next().unwrap_or(template);
    let others = |character: char| character != '.' && META.contains(&character);
    if path.contains(others) {
        return Vec::new();
    }
    // A dot may match a slash, so that its segment and those after it are unknown.
    let literal = path.split('/').skip(1).take_while(|segment| !segment.contains(['.', '{', '}']));
    literal.filter(|segment| !segment.is_empty()).map(|segment| Some(segment.to_ascii_lowercase())).collect()
}

fn expressions(template: &str, names: &[String], case_sensitive: bool) -> Result<Pattern, String> {
    let with_query = template.contains('?');
    let catch_all_query = names.len() == 1 && template.ends_with(&format!("?{{{}}}", names[0]));
    let ends_in_placeholder = template.ends_with('}') || template.ends_with("}/");
    Ok(Pattern::Expressions(Box::new(Expressions {
        matching: regex(&matching_expression(template, names, case_sensitive), template)?,
        values: regex(&value_expression(template, names.len()), template)?,
        with_query,
        retry_with_slash: ends_in_placeholder && !with_query,
        catch_all_query,
    })))
}

fn regex(expression: &str, template: &str) -> Result<Regex, String> {
    RegexBuilder::new(expression).backtrack_limit(BACKTRACK_LIMIT).build().map_err(|error| {
        format!(
            "{template:?} is compared as a regular expression, and it is none ({error}); escape characters that mean something there"
        )
    })
}

/// What a path must match. The steps and their order are Ocelot's, because templates that are unusual enough to get here depend on them.
fn matching_expression(template: &str, names: &[String], case_sensitive: bool) -> String {
    let mut expression = template.to_owned();
    let with_query = template.contains('?');
    if with_query {
        let question = if template.contains("/?") { "/?" } else { "?" };
        expression = expression.replace(question, r"(/$|/\?|\?|$)");
    }
    for name in names {
        let placeholder = format!("{{{name}}}");
        let Some(at) = expression.find(&placeholder) else { continue };
        let in_query = with_query && expression.find('?').is_some_and(|question| question < at);
        let last = !expression[at..].contains('/');
        expression = expression.replace(&placeholder, if in_query || last { ".*" } else { "[^/]+" });
    }
    // A last segment that begins with a value may be missing, with its slash.
    if let Some(slash) = expression.rfind('/')
        && expression[slash + 1..].starts_with('.')
    {
        let last = expression.split_off(slash);
        expression = format!("{expression}(?:|{last})");
    }
    if let Some(before) = expression.strip_suffix('/') {
        expression = format!("{before}(/|)");
    }
    let case = if case_sensitive { "" } else { "(?i)" };
    format!("(?s)^{case}{expression}$")
}

/// How values are read: everything but placeholders is literal and without case, and nothing is said about what follows.
fn value_expression(template: &str, count: usize) -> String {
    let mut expression = "(?i)^".to_owned();
    let mut index = 0;
    for part in template.split_inclusive('}') {
        let Some((literal, _)) = part.split_once('{') else {
            expression.push_str(&fancy_regex::escape(part));
            continue;
        };
        index += 1;
        expression.push_str(&fancy_regex::escape(literal));
        expression.push_str(if index == count { "([^&]*)" } else { "([^/|&]*)" });
    }
    expression
}
