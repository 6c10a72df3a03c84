//! However a head is split: within its limits it passes unchanged, beyond them hyper receives a complete head that is not larger,
//! and the `Origin` field is found in either part.

use proptest::prelude::*;

use super::*;

const BYTES_MAX: usize = 8192;
const FIELDS_MAX: usize = 20;

/// What hyper receives of one head that arrives in pieces of these lengths, and the limit that it exceeds.
fn seen(head: &[u8], pieces: &[usize]) -> (Vec<u8>, Option<HeadTooLarge>) {
    let mut follower = Head::new(BYTES_MAX, FIELDS_MAX);
    let (mut seen, mut rest, mut lengths) = (Vec::new(), head, pieces.iter().cycle());
    while !rest.is_empty() {
        let (mut piece, later) = rest.split_at(rest.len().min(*lengths.next().unwrap_or(&usize::MAX)));
        rest = later;
        if !follower.is_skipping() {
            let passed = follower.pass(piece);
            seen.extend_from_slice(&piece[..passed]);
            piece = &piece[passed..];
        }
        if follower.is_skipping()
            && let Some((found, end)) = follower.skip(piece)
        {
            seen.extend_from_slice(end);
            return (seen, Some(found));
        }
    }
    (seen, None)
}

fn check(head: &str, excess: Option<HeadLimit>, origin: Option<&str>, end: &str) {
    let in_pieces: [&[usize]; 4] = [&[], &[1], &[7, 1000], &[8192]];
    for pieces in in_pieces {
        let (seen, found) = seen(head.as_bytes(), pieces);
        let text = String::from_utf8(seen).expect("it was text");
        assert_eq!(found.as_ref().map(|found| found.excess), excess);
        let found_origin = found.as_ref().and_then(|found| found.origin.as_ref());
        assert_eq!(found_origin.map(|origin| origin.to_str().expect("text")), origin);
        assert!(text.ends_with(end), "{}", &text[text.len().saturating_sub(60)..]);
        assert!(text.len() <= BYTES_MAX + LINE_GRACE_BYTES + 16, "{}", text.len());
        if excess.is_none() {
            assert_eq!(text, head);
        }
    }
}

#[test]
fn heads_within_the_limits_pass_unchanged() {
    check("GET / HTTP/1.1\r\nHost: x\r\n\r\n", None, None, "\r\n\r\n");
    check("\r\n\r\nGET / HTTP/1.1\nHost: x\n\n", None, None, "\n\n");
    let filler = "a".repeat(BYTES_MAX - "GET / HTTP/1.1\r\nA: \r\n\r\n".len());
    check(&format!("GET / HTTP/1.1\r\nA: {filler}\r\n\r\n"), None, None, "\r\n\r\n");
    let fields = "A: b\r\n".repeat(FIELDS_MAX);
    check(&format!("GET / HTTP/1.1\r\n{fields}\r\n"), None, None, "A: b\r\n\r\n");
}

#[test]
fn bytes_after_the_head_are_not_counted() {
    let mut head = Head::new(BYTES_MAX, FIELDS_MAX);
    let request = b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nbody\n\n";
    assert_eq!(head.pass(request), request.len());
    head.is_over();
    for _ in 0..3 {
        let next = format!("GET / HTTP/1.1\r\nA: {}\r\n", "a".repeat(BYTES_MAX - 200));
        assert_eq!(head.pass(next.as_bytes()), next.len());
        assert_eq!(head.pass(b"\r\n"), 2);
    }
}

#[test]
fn a_truncated_head_is_terminated_wherever_it_is_truncated() {
    let long = "a".repeat(4 * BYTES_MAX);
    let bytes = Some(HeadLimit::Bytes);
    check(&format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), bytes, None, "aaa HTTP/1.1\r\n\r\n");
    check(&format!("GET / HTTP/1.1\r\n{long}: x\r\n\r\n"), bytes, None, "aaa:\r\n\r\n");
    check(&format!("GET / HTTP/1.1\r\nA: {long}\r\n\r\n"), bytes, None, "aaa\r\n\r\n");
    let short = "Cookie: abc\r\n".repeat(15) + &format!("A: {}\r\n", "a".repeat(BYTES_MAX));
    check(&format!("GET / HTTP/1.1\r\n{short}Last: x\r\n\r\n"), bytes, None, "aaa\r\n\r\n");
    let fields = "A: b\r\n".repeat(FIELDS_MAX + 1);
    check(&format!("GET / HTTP/1.1\r\n{fields}\r\n"), Some(HeadLimit::Fields), None, "A: b\r\n\r\n");
}

#[test]
fn the_origin_header_is_found_in_the_truncated_part() {
    let long = "a".repeat(4 * BYTES_MAX);
    let page = Some("https://page.example");
    let origin = "oRIGIN:  https://page.example \r\n";
    check(&format!("GET /{long} HTTP/1.1\r\n{origin}\r\n"), Some(HeadLimit::Bytes), page, "\r\n\r\n");
    check(
        &format!("GET / HTTP/1.1\r\nA: {long}\r\nB: {long}\r\n{origin}C: d\r\n\r\n"),
        Some(HeadLimit::Bytes),
        page,
        "",
    );
    let fields = "A: b\r\n".repeat(FIELDS_MAX + 5);
    check(&format!("GET / HTTP/1.1\r\n{fields}{origin}\r\n"), Some(HeadLimit::Fields), page, "");
    // A value that looks like the field is not the field.
    check(&format!("GET / HTTP/1.1\r\nA: {long}origin: x\r\n\r\n"), Some(HeadLimit::Bytes), None, "");
}

#[test]
fn a_head_that_never_ends_closes_the_connection() {
    let endless = "A: b\r\n".repeat(BYTES_MAX * SKIPPED_HEADS_MAX);
    check(&format!("GET / HTTP/1.1\r\n{endless}"), Some(HeadLimit::Fields), None, "\r\n\r\n");
}

proptest! {
    #[test]
    fn a_head_passes_or_its_origin_is_found(
        fields in proptest::collection::vec((1usize..40, 0usize..3000), 0..30),
        place in any::<prop::sample::Index>(),
        pieces in proptest::collection::vec(1usize..4000, 1..5),
    ) {
        let mut lines: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}: {}\r\n", "n".repeat(*name), "v".repeat(*value)))
            .collect();
        lines.insert(place.index(lines.len() + 1), "Origin: https://page.example\r\n".to_owned());
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", lines.concat());
        let (seen, found) = seen(head.as_bytes(), &pieces);
        let text = String::from_utf8(seen).expect("it was text");
        match found {
            None => {
                prop_assert!(head.len() <= BYTES_MAX + LINE_GRACE_BYTES && lines.len() <= FIELDS_MAX);
                prop_assert_eq!(text, head);
            }
            Some(found) => {
                prop_assert!(head.len() > BYTES_MAX || lines.len() > FIELDS_MAX);
                prop_assert!(text.ends_with("\r\n\r\n") && text.matches("\r\n\r\n").count() == 1);
                let seen = text.contains("\r\nOrigin: https://page.example\r\n");
                prop_assert!(seen != found.origin.is_some());
            }
        }
    }
}
