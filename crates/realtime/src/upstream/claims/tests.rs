use super::*;

/// The two headers of a payload, the encoded one decoded.
fn check(payload: &str, expected_classic: &str, expected_encoded: &str) {
    let claims = parse(payload);
    let claims = listed(&claims);
    let text = |value: Option<HeaderValue>| {
        value.map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap()).unwrap_or_default()
    };
    assert_eq!(text(classic(&claims)), expected_classic);
    let encoded = STANDARD.decode(text(encoded(&claims))).unwrap();
    assert_eq!(String::from_utf8(encoded).unwrap(), expected_encoded);
}

#[test]
fn each_value_is_an_item_of_the_classic_header_in_order() {
    check(
        r#"{"id":"ada","group_ids":["a","b"],"exp":12,"on":true,"none":null,"place":{"city":"x"}}"#,
        r#"id: ada, group_ids: a, group_ids: b, exp: 12, on: true, none: , place: {"city":"x"}"#,
        concat!(
            r#"[{"type":"id","value":"ada"},{"type":"group_ids","value":"a"},{"type":"group_ids","value":"b"},"#,
            r#"{"type":"exp","value":"12"},{"type":"on","value":"true"},{"type":"none","value":""},"#,
            r#"{"type":"place","value":"{\"city\":\"x\"}"}]"#
        ),
    );
}

#[test]
fn claims_known_to_dot_net_are_listed_by_long_type_and_again_by_their_own_name() {
    check(
        r#"{"sub":"ada","name":"Ada","role":["a","b"]}"#,
        concat!(
            "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier: ada, name: Ada, ",
            "http://schemas.microsoft.com/ws/2008/06/identity/claims/role: a, ",
            "http://schemas.microsoft.com/ws/2008/06/identity/claims/role: b, ",
            "sub: ada, role: a, role: b"
        ),
        concat!(
            r#"[{"type":"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier","value":"ada"},"#,
            r#"{"type":"name","value":"Ada"},"#,
            r#"{"type":"http://schemas.microsoft.com/ws/2008/06/identity/claims/role","value":"a"},"#,
            r#"{"type":"http://schemas.microsoft.com/ws/2008/06/identity/claims/role","value":"b"},"#,
            r#"{"type":"sub","value":"ada"},{"type":"role","value":"a"},{"type":"role","value":"b"}]"#
        ),
    );
}

#[test]
fn commas_in_a_value_are_encoded_and_do_not_add_claims() {
    check(
        r#"{"name":"x, role: admin","share":"50%, half","plain":"50%"}"#,
        "name: x%2C role: admin, share: 50%25%2C half, plain: 50%",
        concat!(
            r#"[{"type":"name","value":"x, role: admin"},{"type":"share","value":"50%, half"},"#,
            r#"{"type":"plain","value":"50%"}]"#
        ),
    );
    check(
        r#"{"role: admin, a":"b"}"#,
        "role:%20admin%2C%20a: b",
        r#"[{"type":"role: admin, a","value":"b"}]"#,
    );
}

#[test]
fn umlauts_stay_and_control_characters_are_percent_encoded() {
    check(
        r#"{"name":"Müller, Jürgen","city":"Köln","note":"a\r\nx-evil: 1"}"#,
        "name: Müller%2C Jürgen, city: Köln, note: a%0D%0Ax-evil: 1",
        concat!(
            r#"[{"type":"name","value":"Müller, Jürgen"},{"type":"city","value":"Köln"},"#,
            r#"{"type":"note","value":"a\r\nx-evil: 1"}]"#
        ),
    );
}

#[test]
fn a_payload_that_is_not_an_object_has_no_claims() {
    for payload in ["", "[]", "null", "{}", "{", r#"{"role":[]}"#] {
        check(payload, "", "");
    }
}

#[test]
fn the_derror_claim_asks_for_detailed_errors() {
    for (payload, expected) in [
        (r#"{"asrs.s.derror":"True"}"#, true),
        (r#"{"asrs.s.derror":true}"#, true),
        (r#"{"asrs.s.derror":"False"}"#, false),
        (r#"{"asrs.s.derror":1}"#, false),
        ("{}", false),
    ] {
        assert_eq!(asks_for_details(&parse(payload)), expected, "{payload}");
    }
}

/// Decodes what [`header`] wrote, as the documentation of upstreams says.
fn decode(header: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut at = 0;
    while at < header.len() {
        let digits = header.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits =
            digits.filter(|_| header[at] == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        text.push(byte.unwrap_or(header[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    text
}

#[test]
fn texts_without_special_characters_are_unchanged_in_a_header() {
    for text in ["ada", "100%", "a b", "Jürgen", "50% off", "a+b@c.example"] {
        assert_eq!(header(text).as_bytes(), text.as_bytes());
    }
    for (text, expected) in [("a\n", "a%0A"), ("a%0A", "a%250A"), (" a ", "%20a%20"), ("%\t", "%%09")] {
        assert_eq!(header(text).as_bytes(), expected.as_bytes());
    }
    assert_eq!(verbatim("?a=%20b").as_bytes(), b"?a=%20b");
}

proptest::proptest! {
    /// Two users never have the same header.
    #[test]
    fn any_text_in_a_header_decodes_to_itself(text in "[%0-9a-fA-F \\x00-\\x1f\\x7fxü,:]{0,12}") {
        let header = header(&text);
        proptest::prop_assert_eq!(decode(header.as_bytes()), text.as_bytes());
        // A reader of the header trims spaces.
        proptest::prop_assert_eq!(header.as_bytes().trim_ascii(), header.as_bytes());
        let mut part = String::new();
        push_part(&mut part, &text, false);
        proptest::prop_assert_eq!(decode(part.as_bytes()), text.as_bytes());
    }
}
