//! .NET's claim types for the claims of a token. The SDKs write short names into a token, and expect the service to send the long
//! types: an app looks up `ClaimTypes.Role`, not `role`. The real service sends each such claim twice, first under its long type
//! and then under its name in the token (azure-signalr, issues 429 and 1084). Upstreams and app servers receive the same claims.
//! Pure.

use serde_json::Value;

/// The claims of a token as upstreams and app servers receive them: first all claims in order, under their long types if they
/// have one; then the claims with a long type again, under their names in the token. Others, such as `asrs.*`, appear once and
/// unchanged.
pub(crate) fn with_long_types<'a, V, I>(claims: I) -> impl Iterator<Item = (&'a str, V)>
where
    I: Iterator<Item = (&'a str, V)> + Clone,
{
    let again = claims.clone().filter(|(name, _)| long_type(name).is_some());
    claims.map(|(name, value)| (long_type(name).unwrap_or(name), value)).chain(again)
}

/// The long type for the name of a claim in a token; `None` if .NET has none.
pub(crate) fn long_type(name: &str) -> Option<&'static str> {
    let found = LONG_TYPES.binary_search_by_key(&name, |(short, _)| *short);
    found.ok().map(|at| LONG_TYPES[at].1)
}

/// The name that the SDKs write into a token for a long type; `None` if they write the type itself. If a type has two names, such
/// as `role` and `roles`, it is the one that the SDKs write.
pub(crate) fn name_in_token(long: &str) -> Option<&'static str> {
    let found = LONG_TYPES.iter().find(|(name, kind)| *kind == long && !["roles", "sub"].contains(name));
    found.map(|(name, _)| *name)
}

/// Parses each claim of a token's payload, a JSON object, with one value. Numbers, booleans and objects become JSON text. A
/// payload that is not an object has no claims.
pub(crate) fn parse(payload: &str) -> Vec<(String, String)> {
    let Ok(Value::Object(claims)) = serde_json::from_str(payload) else { return Vec::new() };
    let text = |value: Value| match value {
        Value::String(text) => text,
        // As .NET formats it.
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let mut all = Vec::new();
    for (kind, value) in claims {
        match value {
            Value::Array(values) => {
                all.extend(values.into_iter().map(|value| (kind.clone(), text(value))));
            }
            value => all.push((kind, text(value))),
        }
    }
    all
}

/// Names in a token and the long types to which `System.IdentityModel.Tokens.Jwt` 8.23.0 maps them by default. Sorted for binary
/// search.
#[rustfmt::skip]
const LONG_TYPES: [(&str, &str); 73] = [
    ("acr", "http://schemas.microsoft.com/claims/authnclassreference"),
    ("actort", "http://schemas.xmlsoap.org/ws/2009/09/identity/claims/actor"),
    ("adfs1email", "http://schemas.xmlsoap.org/claims/EmailAddress"),
    ("adfs1upn", "http://schemas.xmlsoap.org/claims/UPN"),
    ("amr", "http://schemas.microsoft.com/claims/authnmethodsreferences"),
    ("authmethod", "http://schemas.microsoft.com/ws/2008/06/identity/claims/authenticationmethod"),
    ("birthdate", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/dateofbirth"),
    ("certapppolicy", "http://schemas.microsoft.com/2012/12/certificatecontext/extension/applicationpolicy"),
    ("certauthoritykeyidentifier", "http://schemas.microsoft.com/2012/12/certificatecontext/extension/authoritykeyidentifier"),
    ("certbasicconstraints", "http://schemas.microsoft.com/2012/12/certificatecontext/extension/basicconstraints"),
    ("certeku", "http://schemas.microsoft.com/2012/12/certificatecontext/extension/eku"),
    ("certissuer", "http://schemas.microsoft.com/2012/12/certificatecontext/field/issuer"),
    ("certissuername", "http://schemas.microsoft.com/2012/12/certificatecontext/field/issuername"),
    ("certkeyusage", "http://schemas.microsoft.com/2012/12/certificatecontext/extension/keyusage"),
    ("certnotafter", "http://schemas.microsoft.com/2012/12/certificatecontext/field/notafter"),
    ("certnotbefore", "http://schemas.microsoft.com/2012/12/certificatecontext/field/notbefore"),
    ("certpolicy", "http://schemas.microsoft.com/2012/12/certificatecontext/extension/certificatepolicy"),
    ("certpublickey", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/rsa"),
    ("certrawdata", "http://schemas.microsoft.com/2012/12/certificatecontext/field/rawdata"),
    ("certserialnumber", "http://schemas.microsoft.com/ws/2008/06/identity/claims/serialnumber"),
    ("certsignaturealgorithm", "http://schemas.microsoft.com/2012/12/certificatecontext/field/signaturealgorithm"),
    ("certsubject", "http://schemas.microsoft.com/2012/12/certificatecontext/field/subject"),
    ("certsubjectaltname", "http://schemas.microsoft.com/2012/12/certificatecontext/extension/san"),
    ("certsubjectkeyidentifier", "http://schemas.microsoft.com/2012/12/certificatecontext/extension/subjectkeyidentifier"),
    ("certsubjectname", "http://schemas.microsoft.com/2012/12/certificatecontext/field/subjectname"),
    ("certtemplateinformation", "http://schemas.microsoft.com/2012/12/certificatecontext/extension/certificatetemplateinformation"),
    ("certtemplatename", "http://schemas.microsoft.com/2012/12/certificatecontext/extension/certificatetemplatename"),
    ("certthumbprint", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/thumbprint"),
    ("certx509version", "http://schemas.microsoft.com/2012/12/certificatecontext/field/x509version"),
    ("clientapplication", "http://schemas.microsoft.com/2012/01/requestcontext/claims/x-ms-client-application"),
    ("clientip", "http://schemas.microsoft.com/2012/01/requestcontext/claims/x-ms-client-ip"),
    ("clientuseragent", "http://schemas.microsoft.com/2012/01/requestcontext/claims/x-ms-client-user-agent"),
    ("commonname", "http://schemas.xmlsoap.org/claims/CommonName"),
    ("denyonlyprimarygroupsid", "http://schemas.microsoft.com/ws/2008/06/identity/claims/denyonlyprimarygroupsid"),
    ("denyonlyprimarysid", "http://schemas.microsoft.com/ws/2008/06/identity/claims/denyonlyprimarysid"),
    ("denyonlysid", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/denyonlysid"),
    ("devicedispname", "http://schemas.microsoft.com/2012/01/devicecontext/claims/displayname"),
    ("deviceid", "http://schemas.microsoft.com/2012/01/devicecontext/claims/identifier"),
    ("deviceismanaged", "http://schemas.microsoft.com/2012/01/devicecontext/claims/ismanaged"),
    ("deviceostype", "http://schemas.microsoft.com/2012/01/devicecontext/claims/ostype"),
    ("deviceosver", "http://schemas.microsoft.com/2012/01/devicecontext/claims/osversion"),
    ("deviceowner", "http://schemas.microsoft.com/2012/01/devicecontext/claims/userowner"),
    ("deviceregid", "http://schemas.microsoft.com/2012/01/devicecontext/claims/registrationid"),
    ("email", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"),
    ("endpointpath", "http://schemas.microsoft.com/2012/01/requestcontext/claims/x-ms-endpoint-absolute-path"),
    ("family_name", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/surname"),
    ("forwardedclientip", "http://schemas.microsoft.com/2012/01/requestcontext/claims/x-ms-forwarded-client-ip"),
    ("gender", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/gender"),
    ("given_name", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/givenname"),
    ("group", "http://schemas.xmlsoap.org/claims/Group"),
    ("groupsid", "http://schemas.microsoft.com/ws/2008/06/identity/claims/groupsid"),
    ("idp", "http://schemas.microsoft.com/identity/claims/identityprovider"),
    ("insidecorporatenetwork", "http://schemas.microsoft.com/ws/2012/01/insidecorporatenetwork"),
    ("isregistereduser", "http://schemas.microsoft.com/2012/01/devicecontext/claims/isregistereduser"),
    ("nameid", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"),
    ("oid", "http://schemas.microsoft.com/identity/claims/objectidentifier"),
    ("ppid", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/privatepersonalidentifier"),
    ("primarygroupsid", "http://schemas.microsoft.com/ws/2008/06/identity/claims/primarygroupsid"),
    ("primarysid", "http://schemas.microsoft.com/ws/2008/06/identity/claims/primarysid"),
    ("proxy", "http://schemas.microsoft.com/2012/01/requestcontext/claims/x-ms-proxy"),
    ("pwdchgurl", "http://schemas.microsoft.com/ws/2012/01/passwordchangeurl"),
    ("pwdexpdays", "http://schemas.microsoft.com/ws/2012/01/passwordexpirationdays"),
    ("pwdexptime", "http://schemas.microsoft.com/ws/2012/01/passwordexpirationtime"),
    ("relyingpartytrustid", "http://schemas.microsoft.com/2012/01/requestcontext/claims/relyingpartytrustid"),
    ("role", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"),
    ("roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"),
    ("scp", "http://schemas.microsoft.com/identity/claims/scope"),
    ("sub", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"),
    ("tid", "http://schemas.microsoft.com/identity/claims/tenantid"),
    ("unique_name", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"),
    ("upn", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"),
    ("website", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/webpage"),
    ("winaccountname", "http://schemas.microsoft.com/ws/2008/06/identity/claims/windowsaccountname"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_known_ones_are_found() {
        assert!(LONG_TYPES.is_sorted_by(|(one, _), (next, _)| one < next));
        for (short, long) in LONG_TYPES {
            assert_eq!(long_type(short), Some(long));
        }
        for (short, long) in [
            ("role", Some("http://schemas.microsoft.com/ws/2008/06/identity/claims/role")),
            ("roles", Some("http://schemas.microsoft.com/ws/2008/06/identity/claims/role")),
            ("sub", Some("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier")),
            ("unique_name", Some("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name")),
            ("Role", None),
            ("name", None),
            ("exp", None),
            ("asrs.s.uid", None),
            ("", None),
        ] {
            assert_eq!(long_type(short), long, "{short}");
        }
    }

    #[test]
    fn a_long_type_has_the_name_that_the_sdks_write() {
        for (long, name) in [
            ("http://schemas.microsoft.com/ws/2008/06/identity/claims/role", Some("role")),
            ("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier", Some("nameid")),
            ("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name", Some("unique_name")),
            ("http://schemas.microsoft.com/claims/authnclassreference", Some("acr")),
            ("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/sid", None),
            ("role", None),
        ] {
            assert_eq!(name_in_token(long), name, "{long}");
        }
    }

    #[test]
    fn claims_with_a_long_type_are_listed_under_it_and_at_the_end_under_their_name() {
        let token = [
            ("sub", "ann"),
            ("asrs.s.uid", "ann"),
            ("role", "a"),
            ("role", "b"),
            ("exp", "12"),
            ("city", "Ulm"),
        ];
        let told: Vec<_> = with_long_types(token.into_iter()).collect();
        let expected = [
            ("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier", "ann"),
            ("asrs.s.uid", "ann"),
            ("http://schemas.microsoft.com/ws/2008/06/identity/claims/role", "a"),
            ("http://schemas.microsoft.com/ws/2008/06/identity/claims/role", "b"),
            ("exp", "12"),
            ("city", "Ulm"),
            ("sub", "ann"),
            ("role", "a"),
            ("role", "b"),
        ];
        assert_eq!(told, expected);
    }
}
