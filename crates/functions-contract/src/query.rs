//! The query of a webhook's address.

use percent_encoding::percent_decode_str;

/// The parameters of a query, decoded, in their order. A parameter without `=` has an empty value.
pub fn query_pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8().map_or_else(|_| text.clone(), std::borrow::Cow::into_owned)
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// The first parameter with a name, compared without case; `None` if there is none.
pub fn query_parameter(query: &str, name: &str) -> Option<String> {
    query_pairs(query).into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_found_without_case() {
        let query = "functionName=on%20card&code=a%2Bb+c&flag&&x=1=2";
        assert_eq!(query_parameter(query, "FunctionName").as_deref(), Some("on card"));
        assert_eq!(query_parameter(query, "code").as_deref(), Some("a+b c"));
        assert_eq!(query_parameter(query, "flag").as_deref(), Some(""));
        assert_eq!(query_parameter(query, "x").as_deref(), Some("1=2"));
        assert_eq!(query_parameter(query, "y"), None);
    }
}
