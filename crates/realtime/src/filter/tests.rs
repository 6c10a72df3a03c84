use expect_test::{Expect, expect};

use super::parse::DEPTH_MAX;
use super::*;

const ADA: FilteredConnection<'_> =
    FilteredConnection { connection: "c1", user: Some("user-ab-de"), groups: &["group1", "group2"] };
const ANONYMOUS: FilteredConnection<'_> = FilteredConnection { connection: "c2", user: None, groups: &[] };

/// Whether the filter matches the connection of a user in two groups, and one without user and groups.
fn check(text: &str, ada: bool, anonymous: bool) {
    let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!((filter.matches(ADA), filter.matches(ANONYMOUS)), (ada, anonymous), "{text}");
}

fn refused(text: &str, expected: &Expect) {
    expected.assert_eq(&Filter::parse(text).expect_err(text).to_string());
}

#[test]
fn the_documented_examples_select_the_documented_connections() {
    check("userId eq 'user-ab-de'", true, false);
    check("userId eq null", false, true);
    check("userId ne null", true, false);
    check("connectionId ne 'c1'", false, true);
    check("'group1' in groups", true, false);
    check("not('group1' in groups)", false, true);
    check("userId in ('user1', 'user-ab-de')", true, false);
    check("length(userId) le 10 and length(userId) gt 3", true, false);
    check("length(userId) gt 10 or length(userId) le 3", false, false);
    check("endswith(userId, 'de')", true, false);
    check("not endswith(userId, 'milk')", true, false);
    check("startswith(userId,'user')", true, false);
    check("substring(userId,5,2) eq 'ab'", true, false);
    check("substring(userId, 5) eq 'ab-de'", true, false);
    check("indexof(userId,'-ab-') ge 0", true, false);
    check("indexof(userId,'x') eq -1", true, false);
    check("contains(userId, 'ab')", true, false);
    check("concat(userId, '!') eq 'user-ab-de!'", true, false);
    check("toupper(userId) eq 'USER-AB-DE' and tolower('A') eq 'a' and trim(' a ') eq 'a'", true, false);
    check("length(groups) gt 1", true, false);
    check("length(groups) eq 0", false, true);
    check("userId eq 'user1' or (not (startswith(userId,'user2')))", true, false);
    check("'group3' in groups or 'group2' in (groups)", true, false);
    check("true", true, true);
    check("false or (true)", true, true);
    check("(userId eq 'x') eq false", true, true);
}

#[test]
fn the_case_of_names_and_operators_is_ignored_but_not_that_of_values() {
    check("USERID EQ 'user-ab-de' AND 'group1' IN Groups", true, false);
    check("userId eq 'USER-AB-DE'", false, false);
    check("'GROUP1' in groups", false, false);
    check("userId eq 'it''s'", false, false);
    let quoted = FilteredConnection { user: Some("it's"), ..ANONYMOUS };
    assert!(Filter::parse("userId eq 'it''s'").unwrap().matches(quoted));
}

#[test]
fn and_has_precedence_over_or() {
    check("userId eq null or userId ne null and false", false, true);
    check("(userId eq null or userId ne null) and false", false, false);
    check(
        "length(userId) gt 0 and length(userId) lt 3 or length(userId) gt 7 and length(userId) lt 99",
        true,
        false,
    );
}

#[test]
fn null_is_neither_true_nor_false() {
    // The user is null for the second connection: a condition about it is neither true nor false.
    check("startswith(userId, 'u')", true, false);
    check("not startswith(userId, 'u')", false, false);
    check("startswith(userId, 'u') or true", true, true);
    check("startswith(userId, 'u') and false", false, false);
    check("not (startswith(userId, 'u') and false)", true, true);
    check("length(userId) gt -1", true, false);
    check("userId gt null or userId le null", false, false);
    check("userId in ('x', null)", false, true);
    check("null in ('x', null)", true, true);
    check("startswith(userId, 'u') eq null", false, true);
    check("null", false, false);
}

#[test]
fn texts_are_counted_in_utf16_units() {
    let seen = FilteredConnection { user: Some("a😀b"), ..ANONYMOUS };
    for text in ["length(userId) eq 4", "indexof(userId, 'b') eq 3", "substring(userId, 3) eq 'b'"] {
        assert!(Filter::parse(text).unwrap().matches(seen), "{text}");
    }
    check("substring('abc', -1, 2) eq 'ab'", true, true);
    check("substring('abc', 7) eq ''", true, true);
    check("substring('abc', 1, -5) eq ''", true, true);
}

#[test]
fn an_invalid_filter_is_refused_with_position_and_reason() {
    refused("", &expect!["the filter at character 1: it is empty; omit it to select all connections"]);
    refused(
        "userId",
        &expect!["the filter at character 1: a filter needs a condition, and 'userId' is a text"],
    );
    refused(
        "not length(userId) gt 5",
        &expect![
            "the filter at character 5: 'not' needs a condition, but 'length(userId)' is a number; put a comparison in parentheses, such as not (length(userId) …)"
        ],
    );
    refused(
        "userId eq",
        &expect![
            "the filter at character 10: the filter ends here, where a name, a value, a function or '(' is expected"
        ],
    );
    refused("userId eq 'a", &expect!["the filter at character 11: the string has no closing quote"]);
    refused(
        "userId eq \"a\"",
        &expect!["the filter at character 11: use single quotes for strings, such as 'ada'"],
    );
    refused("üser eq 'a'", &expect!["the filter at character 1: unexpected character 'ü'"]);
    refused(
        "'ü' eq user",
        &expect![
            "the filter at character 8: 'user' is not a name; use userId, connectionId, groups, true, false or null"
        ],
    );
}

#[test]
fn incompatible_types_are_named_in_the_error() {
    refused(
        "userId eq 5",
        &expect!["the filter at character 1: 'userId eq 5' compares a text with a number"],
    );
    refused(
        "groups eq 'a'",
        &expect!["the filter at character 1: 'groups eq 'a'' compares a collection with a text"],
    );
    refused(
        "userId in groups and length(groups) in groups",
        &expect!["the filter at character 22: groups contain texts, but this is a number"],
    );
    refused(
        "userId in 'a'",
        &expect![
            "the filter at character 11: ''a'' was found, where groups, or a list such as ('a', 'b') is expected"
        ],
    );
    refused(
        "userId in ('a', 5)",
        &expect!["the filter at character 17: the list contains a number, but the value is a text"],
    );
    refused(
        "userId in ('a' 'b')",
        &expect!["the filter at character 16: ''b'' was found, where ',' or ')' is expected"],
    );
}

#[test]
fn wrong_arguments_and_unexpected_tokens_are_named_in_the_error() {
    refused(
        "length(5) gt 1",
        &expect!["the filter at character 8: 'length' needs a text or groups, but this is a number"],
    );
    refused(
        "startswith(userId)",
        &expect!["the filter at character 18: ')' was found, where ',' is expected"],
    );
    refused(
        "substring(userId, length(userId)) eq 'a'",
        &expect!["the filter at character 19: 'length' was found, where a whole number is expected"],
    );
    refused(
        "reverse(userId) eq 'a'",
        &expect![
            "the filter at character 1: 'reverse' is not a function; use tolower, toupper, trim, substring, concat, indexof, length, startswith, endswith or contains"
        ],
    );
    refused(
        "userId eq 'a' eq true",
        &expect![
            "the filter at character 15: 'eq' was found, where 'and', 'or' or the end of the filter is expected"
        ],
    );
    refused(
        "(userId eq 'a'",
        &expect!["the filter at character 15: the filter ends here, where ')' is expected"],
    );
    refused(
        "true and userId",
        &expect!["the filter at character 10: 'and' needs a condition, and 'userId' is a text"],
    );
    refused(
        "true gt false",
        &expect!["the filter at character 1: 'true gt false': conditions have no order, only eq and ne"],
    );
    refused(
        "length(userId) gt 99999999999999999999",
        &expect!["the filter at character 19: '99999999999999999999' is not a whole number of 64 bits"],
    );
}

#[test]
fn a_filter_above_a_limit_of_length_depth_or_parts_is_refused() {
    let nested = |levels: usize| format!("{}true{}", "(".repeat(levels), ")".repeat(levels));
    check(&nested(DEPTH_MAX), true, true);
    refused(&nested(DEPTH_MAX + 1), &expect!["the filter at character 34: it nests deeper than 32 levels"]);
    refused(
        &format!("{}true", "not ".repeat(100)),
        &expect!["the filter at character 133: it nests deeper than 32 levels"],
    );
    refused(
        &vec!["true"; 700].join(" or "),
        &expect!["the filter at character 4001: it has more than the 1000 parts allowed"],
    );
    refused(
        &"x".repeat(BYTES_MAX + 1),
        &expect!["the filter at character 1: it has 8193 bytes, more than the 8192 allowed"],
    );
    refused(
        &format!("{}'a'{} eq 'a'", "trim(".repeat(100), ")".repeat(100)),
        &expect!["the filter at character 165: it nests deeper than 32 levels"],
    );
}

#[test]
fn damaged_filters_are_parsed_or_refused_without_a_panic() {
    let good = [
        "not('group1' in groups) and (userId ne null or length(groups) le 3)",
        "substring(concat(tolower(userId), 'x'), 1, 2) eq trim(' ab ')",
        "indexof(userId, 'b') gt -1 and (connectionId in ('c1', 'it''s')) eq true",
        "(startswith(userId, 'u') or endswith(userId, '\u{e9}')) and not contains(userId, '\u{1f40c}')",
    ];
    // Every filter with a part removed, doubled or moved: parsed, or refused with a position within it.
    let mut refused = 0;
    for text in good {
        Filter::parse(text).expect("the filter is valid");
        let chars: Vec<char> = text.chars().collect();
        for from in 0..chars.len() {
            for length in 1..=4.min(chars.len() - from) {
                let (before, piece, after) =
                    (&chars[..from], &chars[from..from + length], &chars[from + length..]);
                let moved: Vec<char> = piece.iter().chain(before).chain(after).copied().collect();
                for broken in [[before, after].concat(), [before, piece, piece, after].concat(), moved] {
                    let broken: String = broken.into_iter().collect();
                    match Filter::parse(&broken) {
                        Ok(filter) => drop((filter.matches(ADA), filter.matches(ANONYMOUS))),
                        Err(error) => {
                            assert!(error.position <= broken.chars().count() + 1, "{broken}: {error}");
                            refused += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(refused > 1_000, "{refused}");
}
