//! Paging of lists: the requested page, and the link to the next one.

use http::Uri;
use percent_encoding::utf8_percent_encode;

use super::query::{Query, UNESCAPED, decode};
use crate::error_table;
use crate::rejection::Rejection;

/// Most entries in one response (the vendor's description of the list of a group's members).
const PAGE_SIZE_MAX: usize = 200;

/// The parameters, as in the vendor's description.
const NAMES: Names = Names { size: "maxpagesize", top: "top", token: "continuationToken" };

struct Names {
    size: &'static str,
    top: &'static str,
    token: &'static str,
}

/// The requested part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    size: usize,
    /// How many entries the caller wants in total, from this page on.
    top: Option<usize>,
    /// The last entry of the previous page.
    pub(crate) after: Option<String>,
}

impl Page {
    /// Parses the query. The default is the first page of the largest size, and the whole list.
    pub(crate) fn read(query: &Query<'_>) -> Result<Self, Rejection> {
        let number = |name: &'static str, expected: &str, allowed: std::ops::RangeInclusive<usize>| {
            let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
            let number = text.parse().ok().filter(|number| allowed.contains(number));
            number.map(Some).ok_or_else(|| {
                Rejection::new(&error_table::INVALID_PAGE, format!("{name} is {expected}")).about(name)
            })
        };
        Ok(Self {
            size: number(NAMES.size, "a whole number from 1 to 200", 1..=PAGE_SIZE_MAX)?
                .unwrap_or(PAGE_SIZE_MAX),
            top: number(NAMES.top, "a whole number, 0 or more", 0..=i32::MAX as usize)?,
            after: query.get(NAMES.token).filter(|token| !token.is_empty()).map(str::to_owned),
        })
    }

    /// The number of entries on this page.
    pub(crate) fn entries(&self) -> usize {
        self.top.map_or(self.size, |top| top.min(self.size))
    }

    /// Truncates a list, of which one entry more than [`Page::entries`] was looked up, to the page; returns whether there may be
    /// another page for the caller.
    pub(crate) fn cut<T>(&self, entries: &mut Vec<T>) -> bool {
        let more = entries.len() > self.entries() && self.top.is_none_or(|top| top > self.entries());
        entries.truncate(self.entries());
        more
    }

    /// The URL of the page after this one, which ends with the entry `last`: the URL of the request, with a new cursor and the
    /// remaining `top`.
    pub(crate) fn next_link(&self, request: &Uri, last: &str) -> String {
        let mut link = request.to_string();
        link.truncate(link.find('?').unwrap_or(link.len()));
        link.push('?');
        let replaced = |pair: &str| {
            let name = decode(pair.split('=').next().unwrap_or(pair));
            [NAMES.top, NAMES.token].iter().any(|other| other.eq_ignore_ascii_case(&name))
        };
        let kept =
            request.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty() && !replaced(pair));
        for pair in kept {
            link.push_str(pair);
            link.push('&');
        }
        if let Some(top) = self.top {
            link.push_str(&format!("{}={}&", NAMES.top, top - self.entries()));
        }
        link.push_str(NAMES.token);
        link.push('=');
        link.extend(utf8_percent_encode(last, UNESCAPED));
        link
    }
}
