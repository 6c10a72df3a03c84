//! Queries as ASP.NET Core and `HttpUtility` read, merge and write them.

use std::borrow::Cow;

use crate::percent;

fn decode(text: &str) -> String {
    let spaces = if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    percent::decode(&spaces, |_| false).into_owned()
}

fn write(parameters: impl Iterator<Item = (String, String)>) -> String {
    let mut result = String::new();
    for (name, value) in parameters {
        if !result.is_empty() {
            result.push('&');
        }
        result.push_str(&percent::encode_query_value(&name));
        result.push('=');
        result.push_str(&percent::encode_query_value(&value));
    }
    result
}

/// The query without the parameters named in `used`, in any case. It is written again: `+` becomes `%20`, a parameter without a value
/// gets a `=`, and the values of one name come together.
pub(crate) fn without<'n>(query: &str, used: impl Iterator<Item = &'n str> + Clone) -> String {
    let mut parameters: Vec<(String, Vec<String>)> = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let (name, value) = (decode(name), decode(value));
        match parameters.iter_mut().find(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            Some((_, values)) => values.push(value),
            None => parameters.push((name, vec![value])),
        }
    }
    parameters.retain(|(name, _)| !used.clone().any(|used| used.eq_ignore_ascii_case(name)));
    write(
        parameters
            .into_iter()
            .flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value))),
    )
}

/// Adds the parameters of `query` to those of `template` that do not have their exact names. Values of one name are joined by commas; a
/// parameter without `=` is left out. Parameters of the request named in `used` are left out too, by exact name.
pub(crate) fn merge<'n>(template: &str, query: &str, used: impl Iterator<Item = &'n str> + Clone) -> String {
    let mut parameters = collection(&template.replace('?', "&"));
    for (name, value) in collection(query) {
        let known =
            used.clone().any(|used| used == name) || parameters.iter().any(|(other, _)| *other == name);
        if !known {
            parameters.push((name, value));
        }
    }
    write(parameters.into_iter())
}

/// Names are compared without case, and the first spelling stays.
fn collection(query: &str) -> Vec<(String, String)> {
    let mut parameters: Vec<(String, String)> = Vec::new();
    for parameter in query.split('&') {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        let (name, value) = (decode(name), decode(value));
        if name.is_empty() {
            continue;
        }
        match parameters.iter_mut().find(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            Some((_, values)) => {
                values.push(',');
                values.push_str(&value);
            }
            None => parameters.push((name, value)),
        }
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_one_name_are_merged_as_dot_net_does() {
        let none = || std::iter::empty::<&str>();
        assert_eq!(without("a=1&b=3&A=2&c&&=x", ["B"].into_iter()), "a=1&a=2&c=&=x");
        assert_eq!(merge("fixed=1", "a=1&a=2&b&ID=3&fixed=9&=x", none()), "fixed=1&a=1,2&ID=3");
        assert_eq!(merge("", "id=1&ID2=2", ["id"].into_iter()), "ID2=2");
    }
}
