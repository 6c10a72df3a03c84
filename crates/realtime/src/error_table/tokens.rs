//! Error codes for tokens and login.

http_messages::error_table! {
    /// Error codes for tokens and login.
    pub(crate) TOKENS;

    MISSING_TOKEN = {
        code: "MissingToken",
        statuses: [UNAUTHORIZED],
        fault: Caller,
        retry: AfterChange,
        happened: "The request has no token.",
        why: "Clients and apps authenticate with a JSON web token that is signed with an access key.",
        action: "Send `Authorization: Bearer <token>`; a browser's WebSocket may send it in the query as `access_token`. A client gets its token from your negotiate function, an app makes one from the connection string.",
    }

    TOKEN_MALFORMED = {
        code: "TokenMalformed",
        statuses: [UNAUTHORIZED],
        fault: Caller,
        retry: AfterChange,
        happened: "The token cannot be read.",
        why: "It is not three parts of URL-safe base64 with dots between, or its claims are not JSON.",
        action: "Send the complete token, without quotes or line breaks.",
    }

    TOKEN_ALGORITHM = {
        code: "TokenAlgorithm",
        statuses: [UNAUTHORIZED],
        fault: Caller,
        retry: AfterChange,
        happened: "The signature algorithm of the token is not accepted.",
        why: "HS256 and HS512 are accepted, for apps also RS256 and ES256 of the configured login provider; or a header `crit` names extensions that are not supported.",
        action: "Sign with HS256, without `crit`. To let apps log in, configure `openid`.",
    }

    TOKEN_SIGNATURE = {
        code: "TokenSignature",
        statuses: [UNAUTHORIZED],
        fault: Caller,
        retry: AfterChange,
        happened: "The token is not signed with an access key in use.",
        why: "The issuer has another key: often the emulator's public key, outside of [development mode](../guard.md#development-mode); or the key was replaced, or was a dynamic key that has expired; or, for a token of a login provider, the provider has no such key.",
        action: "Put the key in use into the issuer's connection string: `realtime.primary_key`, or the one in `keys.json` in the data folder. While keys are being replaced, keep the old one as `secondary_key`.",
    }

    TOKEN_MISSING_EXPIRY = {
        code: "TokenMissingExpiry",
        statuses: [UNAUTHORIZED],
        fault: Caller,
        retry: AfterChange,
        happened: "The token does not expire.",
        why: "It has no claim `exp`, and a token that leaked would be valid for ever.",
        action: "Add `exp`, in seconds since 1970.",
    }

    TOKEN_EXPIRED = {
        code: "TokenExpired",
        statuses: [UNAUTHORIZED],
        fault: Caller,
        retry: AfterChange,
        happened: "The token has expired.",
        why: "Its `exp` has passed, by more than `token_leeway_s`; or the clocks differ.",
        action: "Negotiate again for a new one. If it happens immediately, correct the clock of the issuer or of this machine.",
    }

    TOKEN_NOT_YET_VALID = {
        code: "TokenNotYetValid",
        statuses: [UNAUTHORIZED],
        fault: Caller,
        retry: Later,
        happened: "The token is not valid yet.",
        why: "Its `nbf` is more than five minutes ahead, which is the allowed difference of clocks.",
        action: "Correct the clock of the issuer or of this machine, or wait.",
    }

    TOKEN_ISSUER = {
        code: "TokenIssuer",
        statuses: [UNAUTHORIZED],
        fault: Caller,
        retry: AfterChange,
        happened: "The token is of another login provider.",
        why: "Its `iss` is not exactly `openid.issuer`.",
        action: "Request the token from the configured provider, or correct the option: the message has the issuer of the token.",
    }

    CALLER_NOT_ALLOWED = {
        code: "CallerNotAllowed",
        statuses: [FORBIDDEN],
        fault: Caller,
        retry: AfterChange,
        happened: "The token is valid, but its caller is not allowed to call.",
        why: "None of its claims `oid`, `appid`, `azp` and `sub` is in `openid.callers`.",
        action: "Add the caller's id to `openid.callers`.",
    }

    ROLE_MISSING = {
        code: "RoleMissing",
        statuses: [FORBIDDEN],
        fault: Caller,
        retry: AfterChange,
        happened: "The token has no role that allows this.",
        why: "With `openid.roles_required` an operation needs one of the roles in the message.",
        action: "Give the caller one of these roles at the login provider.",
    }

    LOGIN_UNAVAILABLE = {
        code: "LoginUnavailable",
        statuses: [SERVICE_UNAVAILABLE],
        fault: Upstream,
        retry: Later,
        happened: "Tokens of the login provider cannot be verified.",
        why: "Its keys could not be read from `openid.key_set_file` or `openid.key_set_url`; the log has the cause. While requests need them, reading is repeated every 30 seconds.",
        action: "Correct the option, or make the address reachable from here.",
    }

    TOKEN_AUDIENCE = {
        code: "TokenAudience",
        statuses: [UNAUTHORIZED],
        fault: Caller,
        retry: AfterChange,
        happened: "The token is for another audience.",
        why: "Its claim `aud` names another hub, or for an app another path than that of the request; with `audience_host_strict` also another host.",
        action: "Make one token for each hub; for `/api`, use the request's own address as audience. A proxy must not change the path.",
    }

    TOKEN_TOO_LONG = {
        code: "TokenTooLong",
        statuses: [PAYLOAD_TOO_LARGE, BAD_REQUEST],
        fault: Caller,
        retry: AfterChange,
        happened: "The token is too long.",
        why: "The limit is 4096 characters for a client's token, and 8192 for an app's, without the address that it is for.",
        action: "Put fewer claims into the token; a client can get other data after it has connected.",
    }
}
