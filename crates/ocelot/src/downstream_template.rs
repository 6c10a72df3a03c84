//! `DownstreamPathTemplate`: the target that goes downstream.

use std::borrow::Cow;

use crate::decision::OcelotRejection;
use crate::request_path::has_encoded_dot_segment;
use crate::{percent, query};

/// The value of a placeholder, and what it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PlaceholderValue<'a> {
    /// A part of the path, which is encoded already.
    Path(Cow<'a, str>),
    /// A part of the query, or of a header, which may hold any character.
    Other(Cow<'a, str>),
    /// The template matched, but the value cannot be read.
    Unread,
}

#[derive(Debug)]
pub(crate) struct DownstreamTemplate {
    path: Vec<Part>,
    /// The parts after the first `?`, if the template has one.
    query: Option<Vec<Part>>,
}

#[derive(Debug)]
enum Part {
    Literal(String),
    /// The position of the placeholder among those of the upstream template and its headers.
    Placeholder(usize),
}

impl DownstreamTemplate {
    /// Compiles a template for upstream placeholders with these names. Other placeholders stay as they are.
    pub(crate) fn compile(template: &str, names: &[String]) -> Self {
        let (path, query) =
            template.split_once('?').map_or((template, None), |(path, query)| (path, Some(query)));
        Self {
            path: parts(path, names, |text| percent::encode_path(&text.replace('\\', "/")).into_owned()),
            query: query.map(|query| parts(query, names, str::to_owned)),
        }
    }

    /// Path and query for a request with this normalised path and this query.
    pub(crate) fn target(
        &self,
        names: &[String],
        values: &[PlaceholderValue<'_>],
        path: &str,
        query: &str,
    ) -> Result<String, OcelotRejection> {
        let mut target = self.path(names, values);
        let trim = !path.ends_with('/');
        if trim && self.query.is_none() {
            target.truncate(target.trim_end_matches('/').len());
        }
        if target.is_empty() {
            target.push('/');
        }
        if target.split('/').any(|segment| segment == "." || segment == "..")
            || has_encoded_dot_segment(&target)
        {
            return Err(OcelotRejection::DotSegment);
        }
        let used = || {
            let read = |value: &PlaceholderValue<'_>| !matches!(value, PlaceholderValue::Unread);
            names.iter().zip(values).filter(move |(_, value)| read(value)).map(|(name, _)| name.as_str())
        };
        let query = match &self.query {
            Some(template) => {
                let mut filled = fill_query(template, names, values);
                if trim {
                    filled.truncate(filled.trim_end_matches('/').len());
                }
                if query.is_empty() {
                    percent::encode_query(&filled).into_owned()
                } else {
                    query::merge(&filled, query, used())
                }
            }
            None if query.is_empty() => String::new(),
            None if used().next().is_none() => percent::encode_query(query).into_owned(),
            None => query::without(query, used()),
        };
        if !query.is_empty() {
            target.push('?');
            target.push_str(&query);
        }
        Ok(target)
    }

    fn path(&self, names: &[String], values: &[PlaceholderValue<'_>]) -> String {
        let mut result = String::with_capacity(64);
        for part in &self.path {
            match part {
                Part::Literal(text) => result.push_str(text),
                Part::Placeholder(index) => match &values[*index] {
                    PlaceholderValue::Path(value) => result.push_str(value),
                    PlaceholderValue::Other(value) => result.push_str(&percent::encode_path(value)),
                    PlaceholderValue::Unread => {
                        result.push_str("%7B");
                        result.push_str(&percent::encode_path(&names[*index]));
                        result.push_str("%7D");
                    }
                },
            }
        }
        result
    }
}

fn fill_query(parts: &[Part], names: &[String], values: &[PlaceholderValue<'_>]) -> String {
    let mut result = String::new();
    for part in parts {
        match part {
            Part::Literal(text) => result.push_str(text),
            Part::Placeholder(index) => match &values[*index] {
                PlaceholderValue::Path(value) => result.push_str(value),
                // A value never adds a parameter.
                PlaceholderValue::Other(value) => {
                    result.push_str(&percent::encode_query(value).replace('&', "%26"));
                }
                PlaceholderValue::Unread => {
                    result.push('{');
                    result.push_str(&names[*index]);
                    result.push('}');
                }
            },
        }
    }
    result
}

fn parts(template: &str, names: &[String], literal: impl Fn(&str) -> String) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let found = names.iter().position(|name| {
            rest[start + 1..].strip_prefix(name.as_str()).is_some_and(|after| after.starts_with('}'))
        });
        match found {
            Some(index) => {
                text.push_str(&rest[..start]);
                parts.push(Part::Literal(literal(&std::mem::take(&mut text))));
                parts.push(Part::Placeholder(index));
                rest = &rest[start + names[index].len() + 2..];
            }
            None => {
                text.push_str(&rest[..=start]);
                rest = &rest[start + 1..];
            }
        }
    }
    text.push_str(rest);
    parts.push(Part::Literal(literal(&text)));
    parts
}
