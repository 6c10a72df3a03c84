//! HTTP routes: templates in the syntax of ASP.NET, and a table that finds the function for a request. Pure.
//!
//! `{x}` `{x?}` `{x=default}` `{*rest}` `{x:constraint(arguments):…}`, several parts in a segment (`{name}.{ext}`). Literals
//! are matched without regard to case. Of several matching routes, the first in the table is chosen, as in the Azure Functions
//! host.

mod constraint;
mod table;

use serde_json::{Map, Value as Json};

use constraint::Constraint;
pub(crate) use table::RouteTable;

/// A compiled template.
#[derive(Clone, Debug)]
pub(crate) struct RouteTemplate {
    source: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
struct Segment {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    Parameter(Parameter),
}

#[derive(Clone, Debug)]
struct Parameter {
    name: String,
    constraints: Vec<Constraint>,
    default: Option<String>,
    optional: bool,
    catch_all: bool,
}

/// A template that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the route \"{template}\" is not valid: {problem}")]
pub(crate) struct ParseRouteError {
    template: String,
    problem: String,
}

/// Values of a template's parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RouteValues {
    /// Name and text, in the template's order.
    pub(crate) texts: Vec<(String, String)>,
}

impl RouteTemplate {
    /// Compiles a template; leading and trailing slashes are ignored.
    pub(crate) fn parse(source: &str) -> Result<Self, ParseRouteError> {
        let fail = |problem: String| ParseRouteError { template: source.to_owned(), problem };
        let trimmed = source.trim_matches('/');
        let mut segments = Vec::new();
        if !trimmed.is_empty() {
            for text in split_segments(trimmed) {
                segments.push(Segment::parse(text).map_err(fail)?);
            }
        }
        let template = Self { source: source.to_owned(), segments };
        template.check().map_err(fail)?;
        Ok(template)
    }

    fn check(&self) -> Result<(), String> {
        let mut names: Vec<String> = Vec::new();
        for (index, segment) in self.segments.iter().enumerate() {
            for parameter in segment.parameters() {
                let name = parameter.name.to_ascii_lowercase();
                if names.contains(&name) {
                    return Err(format!("the parameter '{name}' appears twice"));
                }
                names.push(name);
                if parameter.catch_all && (index + 1 < self.segments.len() || segment.parts.len() > 1) {
                    return Err(format!("the catch-all '*{}' must be the last segment", parameter.name));
                }
            }
        }
        Ok(())
    }

    /// The template as it was written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Matches a path that is decoded except for `%2F`. One slash at its end is ignored; a catch-all includes it.
    pub(crate) fn matches(&self, path: &str) -> Option<RouteValues> {
        let mut values = RouteValues::default();
        let mut rest = path.strip_prefix('/').unwrap_or(path);
        for segment in &self.segments {
            if rest.is_empty() {
                segment.match_absent(&mut values)?;
                continue;
            }
            let (text, after) = rest.split_once('/').unwrap_or((rest, ""));
            if text.is_empty() {
                return None;
            }
            if let [Part::Parameter(parameter)] = segment.parts.as_slice()
                && parameter.catch_all
            {
                return parameter.bind(rest, &mut values).then_some(values);
            }
            if !match_parts(&segment.parts, text, &mut values) {
                return None;
            }
            rest = after;
        }
        rest.is_empty().then_some(values)
    }

    /// Whether a path may match both templates; constraints are not considered.
    fn overlaps(&self, other: &Self) -> bool {
        for at in 0..self.segments.len().max(other.segments.len()) {
            match (self.segments.get(at), other.segments.get(at)) {
                (Some(a), Some(b)) if a.is_catch_all() || b.is_catch_all() => return true,
                (Some(a), Some(b)) if a.overlaps(b) => {}
                (Some(_), Some(_)) => return false,
                (Some(only), None) | (None, Some(only)) => {
                    if only.match_absent(&mut RouteValues::default()).is_none() {
                        return false;
                    }
                }
                (None, None) => return true,
            }
        }
        true
    }

    /// The "inbound precedence" of ASP.NET routing, for each segment: 1 literal, 2 several parts or constrained, 3 plain, 4 constrained
    /// catch-all, 5 catch-all. It does not affect matching here; it only serves the warning about hidden routes.
    fn precedence(&self) -> Vec<u8> {
        self.segments.iter().map(Segment::precedence).collect()
    }

    /// Values typed by the template's constraints: `{id:int}` yields a number.
    pub(crate) fn typed(&self, values: &RouteValues) -> Map<String, Json> {
        let parameters: Vec<&Parameter> = self.segments.iter().flat_map(Segment::parameters).collect();
        let mut typed = Map::new();
        for (name, text) in &values.texts {
            let parameter = parameters.iter().find(|parameter| parameter.name == *name);
            let value = parameter.and_then(|p| p.constraints.iter().find_map(|c| c.typed(text)));
            typed.insert(name.clone(), value.unwrap_or_else(|| Json::String(text.clone())));
        }
        typed
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if rest.starts_with("{{") || rest.starts_with("}}") {
                literal.push(first);
                rest = &rest[2..];
            } else if first == '{' {
                let (inside, after) = split_parameter(rest).ok_or("a '{' is not closed")?;
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                } else if matches!(parts.last(), Some(Part::Parameter(_))) {
                    return Err("two parameters in a segment need text between them".to_owned());
                }
                parts.push(Part::Parameter(Parameter::parse(&inside)?));
                rest = after;
            } else if first == '}' {
                return Err("a '}' has no '{' before it".to_owned());
            } else if first == '?' {
                return Err("'?' is only allowed at the end of a parameter, as in {id?}".to_owned());
            } else {
                literal.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        if parts.is_empty() {
            return Err("two slashes follow each other".to_owned());
        }
        Ok(Self { parts })
    }

    fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.parts.iter().filter_map(|part| match part {
            Part::Parameter(parameter) => Some(parameter),
            Part::Literal(_) => None,
        })
    }

    fn is_catch_all(&self) -> bool {
        self.parameters().any(|parameter| parameter.catch_all)
    }

    /// Whether a text may match both segments.
    fn overlaps(&self, other: &Self) -> bool {
        match (self.parts.as_slice(), other.parts.as_slice()) {
            ([Part::Literal(a)], [Part::Literal(b)]) => a.to_lowercase() == b.to_lowercase(),
            ([Part::Literal(text)], parts) | (parts, [Part::Literal(text)]) => {
                match_parts(parts, text, &mut RouteValues::default())
            }
            _ => true,
        }
    }

    fn precedence(&self) -> u8 {
        match self.parts.as_slice() {
            [Part::Literal(_)] => 1,
            [Part::Parameter(parameter)] => match (parameter.catch_all, parameter.constraints.is_empty()) {
                (false, false) => 2,
                (false, true) => 3,
                (true, false) => 4,
                (true, true) => 5,
            },
            _ => 2,
        }
    }

    /// Matches a path that ends before this segment: possible if the segment is optional. A constrained catch-all needs a value.
    fn match_absent(&self, values: &mut RouteValues) -> Option<()> {
        let [Part::Parameter(parameter)] = self.parts.as_slice() else { return None };
        match &parameter.default {
            Some(default) => parameter.bind(default, values).then_some(()),
            None if parameter.catch_all => {
                (parameter.optional || parameter.constraints.is_empty()).then_some(())
            }
            None => parameter.optional.then_some(()),
        }
    }
}

impl Parameter {
    fn parse(inside: &str) -> Result<Self, String> {
        let (inside, optional) = match inside.strip_suffix('?') {
            Some(inside) => (inside, true),
            None => (inside, false),
        };
        let stars = inside.bytes().take_while(|byte| *byte == b'*').count();
        if stars > 2 {
            return Err("a catch-all begins with one or two '*'".to_owned());
        }
        let inside = &inside[stars..];
        let name_end = inside.find([':', '=']).unwrap_or(inside.len());
        let (name, mut rest) = inside.split_at(name_end);
        if name.is_empty() || name.contains(['/', '{', '}', '*', '?']) {
            return Err(format!("'{name}' is not a valid parameter name"));
        }
        let mut constraints = Vec::new();
        while let Some(after) = rest.strip_prefix(':') {
            let end = constraint_end(after);
            constraints.push(Constraint::parse(&after[..end])?);
            rest = &after[end..];
        }
        let default = match rest.strip_prefix('=') {
            Some(default) => Some(default.to_owned()),
            None if rest.is_empty() => None,
            None => return Err(format!("'{rest}' is not understood")),
        };
        Ok(Self { name: name.to_owned(), constraints, default, optional, catch_all: stars > 0 })
    }

    /// Adds a value if the constraints allow it; `false` otherwise.
    fn bind(&self, text: &str, values: &mut RouteValues) -> bool {
        let allowed = self.constraints.iter().all(|constraint| constraint.allows(text));
        if allowed {
            values.texts.push((self.name.clone(), text.to_owned()));
        }
        allowed
    }
}

/// Matches the parts of one segment against its text; the last parameter matches as little as possible.
fn match_parts(parts: &[Part], text: &str, values: &mut RouteValues) -> bool {
    match parts {
        [] => text.is_empty(),
        [Part::Literal(literal), rest @ ..] => {
            let head = text.get(..literal.len());
            head.is_some_and(|head| head.to_lowercase() == literal.to_lowercase())
                && match_parts(rest, &text[literal.len()..], values)
        }
        [Part::Parameter(parameter)] => !text.is_empty() && parameter.bind(text, values),
        [Part::Parameter(parameter), rest @ ..] => {
            // From the right, as ASP.NET does: `{name}.{ext}` matches `a.b.c` with name `a.b`.
            let ends = text.char_indices().map(|(at, c)| at + c.len_utf8()).rev();
            for end in ends {
                let mark = values.texts.len();
                if parameter.bind(&text[..end], values) && match_parts(rest, &text[end..], values) {
                    return true;
                }
                values.texts.truncate(mark);
            }
            // `{name}.{ext?}` also matches without the dot, but not with a trailing dot.
            if let [Part::Literal(dot), Part::Parameter(last)] = rest
                && last.optional
                && dot == "."
                && !text.ends_with('.')
            {
                return parameter.bind(text, values);
            }
            false
        }
    }
}

/// Splits at slashes outside of braces: a regular expression may contain some.
fn split_segments(template: &str) -> Vec<&str> {
    let mut segments = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in template.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            '/' if depth == 0 => {
                segments.push(&template[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    segments.push(&template[start..]);
    segments
}

/// Splits `{…}…` into the inside, with doubled braces unescaped, and the rest.
fn split_parameter(text: &str) -> Option<(String, &str)> {
    let mut inside = String::new();
    let mut rest = text.strip_prefix('{')?;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("{{") || rest.starts_with("}}") {
            inside.push(c);
            rest = &rest[2..];
        } else if c == '}' {
            return Some((inside, &rest[1..]));
        } else {
            inside.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    None
}

/// The end of a constraint: the next `:` or `=` outside of parentheses.
fn constraint_end(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ':' | '=' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests;
