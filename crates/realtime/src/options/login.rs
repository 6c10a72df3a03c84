//! Options for callers that log in instead of using an account key.

use std::num::NonZeroU64;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Dynamic keys, which are issued to app servers that log in, so that they can sign their clients' tokens. Unknown keys are
/// refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DynamicKeyOptions {
    /// How long one key is issued before the next one is generated, in seconds. Default: 3600. Since 0.1.0.
    pub rotation_s: NonZeroU64,
    /// How long tokens signed with a key are accepted, in seconds from when it was generated: longer than the sum of
    /// `rotation_s`, the time for which an app server uses it (up to 110 minutes in the SDKs) and the lifetime of a client's
    /// token (an hour); at most 64 times `rotation_s`. Default: 21600. Since 0.1.0.
    pub lifetime_s: NonZeroU64,
}

/// The login provider of apps: an OpenID Connect issuer such as Entra ID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenIdOptions {
    /// The issuer, exactly as in the `iss` of its tokens, such as `https://sts.windows.net/<tenant>/`. Default: absent, and
    /// required. Since 0.1.0.
    pub issuer: String,
    /// The accepted audiences: a token must have one of them in its `aud`. Default: `https://signalr.azure.com`, which the SDKs
    /// request. Since 0.1.0.
    pub audiences: Vec<String>,
    /// File with the provider's public keys, a JSON Web Key Set. Either this or `key_set_url`. Default: absent. Since 0.1.0.
    pub key_set_file: Option<PathBuf>,
    /// URL of the provider's keys; `https`, or `http` on this machine. Default: absent. Since 0.1.0.
    pub key_set_url: Option<String>,
    /// How long keys are used before they are read again, in seconds. A token that names an unknown key causes an earlier read,
    /// but not more than one in 30 seconds. Default: 3600. Since 0.1.0.
    pub refresh_s: NonZeroU64,
    /// The accepted callers: ids that are compared with the claims `oid`, `appid`, `azp` and `sub`. Default: none. Since 0.1.0.
    pub callers: Vec<String>,
    /// Whether a token must have a role (claim `roles` or `role`): `SignalR App Server` for keys and server connections, `SignalR
    /// REST API Owner` for REST operations, `SignalR REST API Reader` for those that only read, `SignalR Service Owner` for
    /// everything. Default: false. Since 0.1.0.
    pub roles_required: bool,
    /// Whether every caller is accepted that has a token of the provider for these audiences. If false, `callers` or
    /// `roles_required` must be set. Default: false. Since 0.1.0.
    pub any_caller: bool,
}

impl DynamicKeyOptions {
    /// Most keys that are valid at a time.
    pub(crate) const LIVE_MAX: usize = 64;

    pub(crate) fn check(self) -> Result<(), &'static str> {
        let (rotation, lifetime) = (self.rotation_s.get(), self.lifetime_s.get());
        if lifetime < rotation.saturating_mul(2) {
            return Err("dynamic_keys.lifetime_s is less than twice dynamic_keys.rotation_s");
        }
        if lifetime / rotation >= Self::LIVE_MAX as u64 {
            return Err("dynamic_keys.lifetime_s is more than 64 times dynamic_keys.rotation_s");
        }
        Ok(())
    }
}

impl Default for DynamicKeyOptions {
    fn default() -> Self {
        let seconds = |seconds| NonZeroU64::new(seconds).expect("not zero");
        Self { rotation_s: seconds(3_600), lifetime_s: seconds(21_600) }
    }
}

impl OpenIdOptions {
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.issuer.is_empty() {
            return Err("openid.issuer is missing");
        }
        if self.audiences.is_empty() {
            return Err("openid.audiences is empty, so that no token would be accepted; add at least one");
        }
        if self.key_set_file.is_some() == self.key_set_url.is_some() {
            return Err("set one of openid.key_set_file and openid.key_set_url");
        }
        if self.key_set_url.as_ref().is_some_and(|url| !is_trustworthy(url)) {
            return Err(
                "openid.key_set_url must be https, or http on this machine; otherwise keys could be forged in transit",
            );
        }
        if self.callers.is_empty() && !self.roles_required && !self.any_caller {
            return Err(
                "openid does not name the accepted callers; set callers, roles_required or any_caller",
            );
        }
        Ok(())
    }
}

fn is_trustworthy(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let here = host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => here,
        _ => false,
    }
}

impl Default for OpenIdOptions {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audiences: vec!["https://signalr.azure.com".to_owned()],
            key_set_file: None,
            key_set_url: None,
            refresh_s: NonZeroU64::new(3_600).expect("not zero"),
            callers: Vec::new(),
            roles_required: false,
            any_caller: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_without_issuer_keys_or_callers_is_refused() {
        let good = OpenIdOptions {
            issuer: "https://login.example".to_owned(),
            key_set_url: Some("https://login.example/keys".to_owned()),
            callers: vec!["app-1".to_owned()],
            ..OpenIdOptions::default()
        };
        assert_eq!(good.check(), Ok(()));
        let check = |options: OpenIdOptions, expected: &str| assert_eq!(options.check(), Err(expected));
        check(OpenIdOptions { issuer: String::new(), ..good.clone() }, "openid.issuer is missing");
        check(
            OpenIdOptions { audiences: Vec::new(), ..good.clone() },
            "openid.audiences is empty, so that no token would be accepted; add at least one",
        );
        let one = "set one of openid.key_set_file and openid.key_set_url";
        check(OpenIdOptions { key_set_url: None, ..good.clone() }, one);
        check(OpenIdOptions { key_set_file: Some("keys.json".into()), ..good.clone() }, one);
        let forged = "openid.key_set_url must be https, or http on this machine; otherwise keys could be forged in transit";
        for url in ["http://login.example/keys", "ftp://localhost/keys", "keys", ""] {
            check(OpenIdOptions { key_set_url: Some(url.to_owned()), ..good.clone() }, forged);
        }
        for url in ["http://localhost:1/keys", "http://[::1]:1/keys", "http://127.0.0.1/keys"] {
            assert_eq!(OpenIdOptions { key_set_url: Some(url.to_owned()), ..good.clone() }.check(), Ok(()));
        }
        let nobody = OpenIdOptions { callers: Vec::new(), ..good };
        check(
            nobody.clone(),
            "openid does not name the accepted callers; set callers, roles_required or any_caller",
        );
        assert_eq!(OpenIdOptions { any_caller: true, ..nobody.clone() }.check(), Ok(()));
        assert_eq!(OpenIdOptions { roles_required: true, ..nobody }.check(), Ok(()));
    }

    #[test]
    fn dynamic_key_lifetimes_that_do_not_overlap_or_need_too_many_keys_are_refused() {
        let check = |rotation_s, lifetime_s| {
            let seconds = |seconds| NonZeroU64::new(seconds).unwrap();
            let options =
                DynamicKeyOptions { rotation_s: seconds(rotation_s), lifetime_s: seconds(lifetime_s) };
            options.check().is_ok()
        };
        assert!(check(3_600, 21_600) && check(1, 2) && check(1, 63));
        assert!(!check(3_600, 3_600) && !check(2, 3) && !check(1, 64));
        assert!(DynamicKeyOptions::default().check().is_ok());
    }
}
