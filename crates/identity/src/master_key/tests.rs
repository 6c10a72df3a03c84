use super::*;

const DATE: &str = "Fri, 20 Nov 2026 21:36:21 GMT";

fn key() -> MasterKey {
    MasterKey::parse(crate::DEVELOPMENT_COSMOS_KEY).expect("the development key is base64")
}

fn parts<'a>(verb: &'a str, path: &'a str) -> SignedParts<'a> {
    SignedParts { verb, path, ms_date: DATE, date: "" }
}

fn check(verb: &str, path: &str, signature: &str) {
    let plain = format!("type=master&ver=1.0&sig={signature}");
    assert_eq!(verify(&[key()], Some(&plain), &parts(verb, path), DateRule::Any), Ok(()), "plain {path}");
    let encoded = utf8_percent_encode(&plain, NON_ALPHANUMERIC).to_string();
    assert_eq!(verify(&[key()], Some(&encoded), &parts(verb, path), DateRule::Any), Ok(()), "encoded {path}");
}

#[test]
fn known_signatures_are_valid_encoded_or_not() {
    check("GET", "/", "6u7SGqQjbKxkiEmq/4WSVem8UkSSAmXRk0EPGWvTeVQ=");
    check("POST", "/dbs/db%201/colls/c1/docs/", "OxYKkMjmQUQg31QD5doVxRDsjlz7LtrMEcnnklLuX3A=");
    check("GET", "/dbs/AQAAAQ==/colls/AQAAAYAAAAE=/pkranges", "4Y/rUbuz0hKAXQxyxznQTb8NkTFJvwaZ+shRWI6qww0=");
}

#[test]
fn verify_accepts_the_output_of_sign() {
    for (verb, path) in [
        ("GET", "/"),
        ("POST", "/dbs"),
        ("PUT", "/dbs/d/colls/c/docs/a%20b"),
        ("POST", "/dbs/d/colls/c/operations/partitionkeydelete"),
    ] {
        let parts = parts(verb, path);
        assert_eq!(
            verify(&[key()], Some(&sign(&key(), &parts)), &parts, DateRule::Any),
            Ok(()),
            "{verb} {path}"
        );
    }
}

#[test]
fn the_date_header_is_signed_if_ms_date_is_missing() {
    let parts = SignedParts { verb: "GET", path: "/dbs", ms_date: "", date: DATE };
    assert_eq!(verify(&[key()], Some(&sign(&key(), &parts)), &parts, DateRule::Any), Ok(()));
    let none = SignedParts { date: "", ..parts };
    assert_eq!(
        verify(&[key()], Some(&sign(&key(), &parts)), &none, DateRule::Any),
        Err(SignatureError::DateMissing)
    );
}

/// Verifies a signature with the given date.
fn dated(date: &str, dates: DateRule) -> Result<(), SignatureError> {
    let parts = SignedParts { ms_date: date, ..parts("GET", "/dbs") };
    verify(&[key()], Some(&sign(&key(), &parts)), &parts, dates)
}

#[test]
fn a_date_older_than_the_age_limit_is_rejected() {
    // The date of `DATE`.
    let signed_at = 1_795_210_581;
    let at = |now| dated(DATE, DateRule::Fresh { now, age_max_s: 900 });
    for now in [signed_at - 300, signed_at, signed_at + 900] {
        assert_eq!(at(now), Ok(()), "{now}");
    }
    for now in [0, signed_at - 301, signed_at + 901, u64::MAX] {
        let outside = SignatureError::DateOutside { signed_at, age_max_s: 900, now };
        assert_eq!(at(now), Err(outside), "{now}");
        assert_eq!(dated(DATE, DateRule::Any), Ok(()));
    }
    assert_eq!(
        at(signed_at + 901).unwrap_err().to_string(),
        "the authorization token is not valid at the current time (token start time: Fri, 20 Nov 2026 21:36:21 GMT, token expiry time: Fri, 20 Nov 2026 21:51:21 GMT, current server time: Fri, 20 Nov 2026 21:51:22 GMT); compare the clocks of both machines, and sign each request anew"
    );
    // A caller without a key does not learn the time of this clock.
    let parts = parts("GET", "/dbs");
    let other = MasterKey::parse("b3RoZXI=").expect("base64");
    let dates = DateRule::Fresh { now: signed_at + 901, age_max_s: 900 };
    let refused = verify(&[key()], Some(&sign(&other, &parts)), &parts, dates);
    assert_eq!(refused, Err(SignatureError::Mismatch));
}

#[test]
fn an_invalid_date_is_rejected_by_every_rule() {
    for date in [
        "x",
        "2026-11-20T21:36:21Z",
        "Fri, 20 Nov 2026",
        "Fri, 32 Nov 2026 21:36:21 GMT",
        "Mon, 20 Nov 2026 21:36:21 GMT",
        "Fri, 20 Nov 2026 25:36:21 GMT",
        "1795210581",
        "Fri, 20 Nov 1899 21:36:21 GMT",
    ] {
        for dates in [DateRule::Any, DateRule::Fresh { now: 1_795_210_581, age_max_s: 900 }] {
            assert_eq!(dated(date, dates), Err(SignatureError::DateMalformed), "{date}");
        }
    }
    // As scripts write it: in lower case, with a day of one digit.
    for date in
        ["fri, 20 nov 2026 21:36:21 gmt", "Thu, 5 Nov 2026 21:36:21 GMT", " Fri, 20 Nov 2026 21:36:21 GMT "]
    {
        assert_eq!(dated(date, DateRule::Any), Ok(()), "{date}");
    }
}

#[test]
fn signatures_of_other_requests_keys_and_types_are_rejected() {
    let signed = sign(&key(), &parts("GET", "/dbs/d/colls/c"));
    let refused = |authorization: Option<&str>, verb, path| {
        verify(&[key()], authorization, &parts(verb, path), DateRule::Any).expect_err("must be refused")
    };
    assert_eq!(refused(Some(&signed), "DELETE", "/dbs/d/colls/c"), SignatureError::Mismatch);
    assert_eq!(refused(Some(&signed), "GET", "/dbs/d/colls/C"), SignatureError::Mismatch);
    assert_eq!(refused(None, "GET", "/"), SignatureError::Missing);
    assert_eq!(refused(Some("Bearer x"), "GET", "/"), SignatureError::Malformed);
    assert_eq!(refused(Some("type=master&ver=1.0&sig=%%%"), "GET", "/"), SignatureError::Malformed);
    assert_eq!(refused(Some("type=aad&ver=1.0&sig=e.y.J"), "GET", "/"), SignatureError::EntraNotSupported);
    let token = "type=resource&ver=1&sig=a;b;c";
    assert_eq!(refused(Some(token), "GET", "/"), SignatureError::ResourceTokenNotSupported);
    let other = MasterKey::parse("b3RoZXI=").expect("base64");
    let parts = parts("GET", "/dbs/d/colls/c");
    assert_eq!(verify(&[other], Some(&signed), &parts, DateRule::Any), Err(SignatureError::Mismatch));
}

#[test]
fn a_signature_for_a_resource_id_is_invalid_for_a_link_of_names() {
    // Signed for the item whose id (not name) is `x`: link `x` alone.
    let message = format!("get\ndocs\nx\n{}\n\n", DATE.to_lowercase());
    let signature = STANDARD.encode(hmac::sign(&key().0, message.as_bytes()));
    let header = format!("type=master&ver=1.0&sig={signature}");
    let parts = parts("GET", "/dbs/names/colls/names/docs/x");
    assert_eq!(verify(&[key()], Some(&header), &parts, DateRule::Any), Err(SignatureError::Mismatch));
}

#[test]
fn debug_output_does_not_contain_the_key() {
    assert_eq!(format!("{:?}", key()), "MasterKey(…)");
    assert!(MasterKey::parse("").is_err());
    assert!(MasterKey::parse("not base64!").is_err());
}
