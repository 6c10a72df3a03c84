use proptest::prelude::*;

use super::*;

const ROLE: &str = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role";
const NAME_IDENTIFIER: &str = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier";

fn client_context(claims: &[(&str, &str)]) -> ClientContext {
    let claims: Claims = claims.iter().copied().collect();
    ClientContext { claims: payload(&claims).into(), query: "hub=chat".into(), remote: None }
}

fn of_app(claims: &[(&str, &str)]) -> NewClaims {
    NewClaims::OfApp(claims.iter().map(|(kind, value)| ((*kind).to_owned(), (*value).to_owned())).collect())
}

/// The claims after a refresh, and whether they have changed.
fn refreshed(
    old: &[(&str, &str)],
    user: Option<&str>,
    claims: NewClaims,
    expires_on: Option<u64>,
) -> Result<(String, bool), OtherUser> {
    let refreshed = refresh(&client_context(old), user, Refresh { claims, expires_on })?;
    assert_eq!(&*refreshed.client_context.query, "hub=chat");
    Ok((refreshed.client_context.claims.into(), refreshed.is_changed))
}

fn check(
    old: &[(&str, &str)],
    user: Option<&str>,
    given: &[(&str, &str)],
    expires_on: Option<u64>,
    expected: (&str, bool),
) {
    let (claims, is_changed) = refreshed(old, user, of_app(given), expires_on).unwrap();
    assert_eq!((claims.as_str(), is_changed), expected, "{old:?} {given:?}");
}

#[test]
fn claims_of_the_app_replace_all_but_the_system_claims() {
    let old =
        [("aud", "a"), ("exp", "9"), ("asrs.s.uid", "ada"), ("asrs.s.derror", "True"), ("role", "reader")];
    let given = [(NAME_IDENTIFIER, "ada"), (ROLE, "writer"), (ROLE, "owner"), ("city", "Ulm"), ("exp", "1")];
    let kept = r#""aud":"a","exp":"9","asrs.s.uid":"ada","asrs.s.derror":"True""#;
    let expected =
        format!(r#"{{{kept},"nameid":"ada","role":["writer","owner"],"city":"Ulm","asrs.u.exp":"1"}}"#);
    check(&old, Some("ada"), &given, None, (&expected, true));
}

#[test]
fn equal_claims_under_other_names_with_a_later_expiry_are_unchanged() {
    let old = [("exp", "9"), ("sub", "ada"), ("role", "a"), ("role", "b"), ("asrs.s.aeo", "10")];
    let given = [(ROLE, "b"), (ROLE, "a"), (NAME_IDENTIFIER, "ada")];
    let expected = r#"{"exp":"9","role":["b","a"],"nameid":"ada","asrs.s.aeo":"20"}"#;
    check(&old, Some("ada"), &given, Some(20), (expected, false));
    let kept = refreshed(&old, Some("ada"), NewClaims::Keep, None).unwrap();
    assert_eq!(kept, (client_context(&old).claims.into(), false));
}

#[test]
fn a_refresh_with_another_user_is_an_error() {
    let refuses = |old: &[(&str, &str)], user, given: &[(&str, &str)]| {
        let refused = refreshed(old, user, of_app(given), Some(5));
        assert_eq!(refused.unwrap_err(), OtherUser, "{old:?} {given:?}");
    };
    refuses(&[("sub", "ada")], Some("ada"), &[("sub", "bob")]);
    refuses(&[("sub", "ada")], Some("ada"), &[(NAME_IDENTIFIER, "bob")]);
    refuses(&[("asrs.s.uid", "ada"), ("nameid", "1")], Some("ada"), &[("nameid", "2")]);
    refuses(
        &[("asrs.s.uid", "ada"), ("nameid", "1")],
        Some("ada"),
        &[("asrs.s.uid", "bob"), ("nameid", "1")],
    );
    refuses(&[("asrs.s.uid", "ada")], Some("ada"), &[("asrs.s.uid", "")]);
    refuses(&[("role", "a")], None, &[("sub", "bob")]);
    let other: Claims = [("sub", "bob")].into_iter().collect();
    assert_eq!(refreshed(&[("sub", "ada")], Some("ada"), NewClaims::OfToken(other), None), Err(OtherUser));
}

#[test]
fn claims_without_a_user_id_leave_the_user_unchanged() {
    check(&[("sub", "ada")], Some("ada"), &[("a", "b")], None, (r#"{"a":"b","asrs.s.uid":"ada"}"#, true));
    check(
        &[("asrs.s.uid", "ada@x"), ("nameid", "1")],
        Some("ada@x"),
        &[(NAME_IDENTIFIER, "1")],
        None,
        (r#"{"asrs.s.uid":"ada@x","nameid":"1"}"#, false),
    );
    check(&[("role", "a")], None, &[("role", "b")], None, (r#"{"role":"b"}"#, true));
}

#[test]
fn a_connection_ends_when_its_authentication_expires_if_its_app_asks_for_it() {
    let ends = |claims: &[(&str, &str)]| {
        let end = ends_at(&claims.iter().copied().collect())?;
        Some(end.duration_since(UNIX_EPOCH).unwrap().as_secs())
    };
    assert_eq!(ends(&[("exp", "9"), ("asrs.s.aeo", "20")]), None);
    assert_eq!(ends(&[("exp", "9"), ("asrs.s.coae", "true")]), Some(9));
    assert_eq!(ends(&[("exp", "9"), ("asrs.s.coae", "True"), ("asrs.s.aeo", "20")]), Some(20));
    let lifetime = |claims: &[(&str, &str)]| lifetime_s(&claims.iter().copied().collect(), 4);
    assert_eq!(lifetime(&[("exp", "9")]), None);
    assert_eq!(lifetime(&[("exp", "9"), ("asrs.s.coae", "true"), ("asrs.s.aeo", "20")]), Some(5));
    assert_eq!(lifetime(&[("exp", "9"), ("asrs.s.coae", "true"), ("asrs.s.aeo", "6")]), Some(2));
    assert_eq!(lifetime(&[("exp", "3"), ("asrs.s.coae", "true")]), Some(0));
}

#[test]
fn a_refresh_changes_the_expiry_of_a_connection_that_has_one() {
    let end = |old: &[(&str, &str)], claims, expires_on| {
        let refreshed = refresh(&client_context(old), None, Refresh { claims, expires_on }).unwrap();
        refreshed.ends_at.map(|at| at.duration_since(UNIX_EPOCH).unwrap().as_secs())
    };
    let ending = [("exp", "9"), ("asrs.s.coae", "true")];
    assert_eq!(end(&ending, NewClaims::Keep, Some(30)), Some(30));
    assert_eq!(end(&ending, of_app(&[("a", "b")]), Some(30)), Some(30));
    assert_eq!(end(&ending, of_app(&[("a", "b")]), None), Some(9));
    assert_eq!(end(&[("exp", "9")], NewClaims::Keep, Some(30)), None);
    let token: Claims = [("exp", "40"), ("asrs.s.coae", "true")].into_iter().collect();
    assert_eq!(end(&ending, NewClaims::OfToken(token), None), Some(40));
}

#[test]
fn an_app_receives_all_claims_except_those_about_the_token() {
    let payload = r#"{"aud":"x","exp":9,"iat":1,"nbf":1,"sub":"ada","asrs.s.uid":"ada","role":["a","b"]}"#;
    let claims = claims_for_app(payload);
    let claims: Vec<_> = claims.iter().map(|(kind, value)| (kind.as_str(), value.as_str())).collect();
    let expected = [
        (NAME_IDENTIFIER, "ada"),
        ("asrs.s.uid", "ada"),
        (ROLE, "a"),
        (ROLE, "b"),
        ("sub", "ada"),
        ("role", "a"),
        ("role", "b"),
    ];
    assert_eq!(claims, expected);
}

/// Claims with few types and values, so that they often collide.
fn some_claims() -> impl Strategy<Value = Vec<(String, String)>> {
    let kind = prop::sample::select(vec![
        "asrs.s.uid",
        "asrs.s.coae",
        "asrs.s.aeo",
        "nameid",
        "sub",
        NAME_IDENTIFIER,
        "role",
        ROLE,
        "aud",
        "exp",
        "city",
    ]);
    let value = prop::sample::select(vec!["", "ada", "bob", "true", "7"]);
    prop::collection::vec((kind.prop_map(str::to_owned), value.prop_map(str::to_owned)), 0..8)
}

proptest! {
    #[test]
    fn no_refresh_changes_the_user_or_the_claims_about_the_token(
        old in some_claims(),
        given in some_claims(),
        expires_on in prop::option::of(0_u64..10),
    ) {
        let old: Claims = old.into_iter().collect();
        let user = old.user_id();
        let known = ClientContext { claims: payload(&old).into(), ..ClientContext::default() };
        let asked = Refresh { claims: NewClaims::OfApp(given), expires_on };
        if let Ok(refreshed) = refresh(&known, user, asked) {
            let claims: Claims = claim_types::parse(&refreshed.client_context.claims).into_iter().collect();
            prop_assert_eq!(claims.user_id(), user);
            prop_assert_eq!((claims.values("aud"), claims.values("exp")), (old.values("aud"), old.values("exp")));
            let claims = claims_for_app(&refreshed.client_context.claims);
            // As the SDK makes it: with short names, and equal claims only once.
            let mut next = Claims::new();
            for (kind, value) in &claims {
                let kind = name_in_token(kind).unwrap_or(kind);
                if !next.values(kind).contains(value) {
                    next.push(kind, value);
                }
            }
            prop_assert_eq!(next.user_id(), user);
        }
    }
}
