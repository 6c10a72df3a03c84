//! The properties that Ocelot reads, with their old names.

/// What a property holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Text,
    Whole,
    Real,
    Flag,
    Texts,
    /// An object whose keys are free and whose values are texts.
    Map,
    Object(&'static [Property]),
    Objects(&'static [Property]),
}

/// Which part of Chappe uses a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Routing, matching, upstreams.
    Routing,
    /// A policy that is not enforced yet.
    Policy,
    /// An old name, read as the one given.
    Old(&'static str),
}

/// A property by its name; names are compared without case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Property {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) used: Use,
}

const fn routing(name: &'static str, shape: Shape) -> Property {
    Property { name, shape, used: Use::Routing }
}

const fn policy(name: &'static str, shape: Shape) -> Property {
    Property { name, shape, used: Use::Policy }
}

const fn old(name: &'static str, current: &'static str, shape: Shape) -> Property {
    Property { name, shape, used: Use::Old(current) }
}

const HOSTS: &[Property] = &[routing("Host", Shape::Text), routing("Port", Shape::Whole)];

const AUTHENTICATION: &[Property] = &[
    routing("AllowedScopes", Shape::Texts),
    routing("AllowAnonymous", Shape::Flag),
    routing("AuthenticationProviderKeys", Shape::Texts),
    old("AuthenticationProviderKey", "AuthenticationProviderKeys", Shape::Text),
    routing("RouteKeys", Shape::Texts),
];

const CACHE: &[Property] = &[
    routing("TtlSeconds", Shape::Whole),
    routing("Region", Shape::Text),
    routing("Header", Shape::Text),
    routing("EnableContentHashing", Shape::Flag),
    routing("RouteKeys", Shape::Texts),
];

const HANDLER: &[Property] = &[
    routing("AllowAutoRedirect", Shape::Flag),
    routing("MaxConnectionsPerServer", Shape::Whole),
    routing("PooledConnectionLifetimeSeconds", Shape::Whole),
    routing("UseCookieContainer", Shape::Flag),
    routing("UseProxy", Shape::Flag),
    routing("UseTracing", Shape::Flag),
    routing("RouteKeys", Shape::Texts),
];

const LOAD_BALANCER: &[Property] = &[
    routing("Type", Shape::Text),
    routing("Key", Shape::Text),
    routing("Expiry", Shape::Whole),
    routing("RouteKeys", Shape::Texts),
];

const QUALITY_OF_SERVICE: &[Property] = &[
    routing("MinimumThroughput", Shape::Whole),
    old("ExceptionsAllowedBeforeBreaking", "MinimumThroughput", Shape::Whole),
    routing("BreakDuration", Shape::Whole),
    old("DurationOfBreak", "BreakDuration", Shape::Whole),
    routing("FailureRatio", Shape::Real),
    routing("SamplingDuration", Shape::Whole),
    routing("Timeout", Shape::Whole),
    old("TimeoutValue", "Timeout", Shape::Whole),
    routing("RouteKeys", Shape::Texts),
];

const RATE_LIMIT: &[Property] = &[
    routing("ClientIdHeader", Shape::Text),
    routing("ClientWhitelist", Shape::Texts),
    routing("EnableRateLimiting", Shape::Flag),
    routing("EnableHeaders", Shape::Flag),
    old("DisableRateLimitHeaders", "EnableHeaders (with the opposite value)", Shape::Flag),
    routing("Limit", Shape::Whole),
    routing("Period", Shape::Text),
    routing("Wait", Shape::Text),
    old("PeriodTimespan", "Wait", Shape::Real),
    routing("StatusCode", Shape::Whole),
    old("HttpStatusCode", "StatusCode", Shape::Whole),
    routing("QuotaMessage", Shape::Text),
    old("QuotaExceededMessage", "QuotaMessage", Shape::Text),
    routing("KeyPrefix", Shape::Text),
    old("RateLimitCounterPrefix", "KeyPrefix", Shape::Text),
    routing("RouteKeys", Shape::Texts),
];

const SECURITY: &[Property] = &[
    routing("IPAllowedList", Shape::Texts),
    routing("IPBlockedList", Shape::Texts),
    routing("ExcludeAllowedFromBlocked", Shape::Flag),
];

const DISCOVERY: &[Property] = &[
    routing("Scheme", Shape::Text),
    routing("Host", Shape::Text),
    routing("Port", Shape::Whole),
    routing("Type", Shape::Text),
    routing("Token", Shape::Text),
    routing("ConfigurationKey", Shape::Text),
    routing("PollingInterval", Shape::Whole),
    routing("Namespace", Shape::Text),
];

const METADATA_OPTIONS: &[Property] = &[
    routing("CurrentCulture", Shape::Text),
    routing("NumberStyle", Shape::Text),
    routing("Separators", Shape::Texts),
    routing("StringSplitOption", Shape::Text),
    routing("TrimChars", Shape::Texts),
];

const AGGREGATE_KEYS: &[Property] =
    &[routing("RouteKey", Shape::Text), routing("Parameter", Shape::Text), routing("JsonPath", Shape::Text)];

/// `Routes[]`.
pub(crate) const ROUTE: &[Property] = &[
    routing("UpstreamPathTemplate", Shape::Text),
    routing("UpstreamHttpMethod", Shape::Texts),
    routing("UpstreamHost", Shape::Text),
    routing("UpstreamHeaderTemplates", Shape::Map),
    routing("RouteIsCaseSensitive", Shape::Flag),
    old("ReRouteIsCaseSensitive", "RouteIsCaseSensitive", Shape::Flag),
    routing("Priority", Shape::Whole),
    routing("DownstreamPathTemplate", Shape::Text),
    routing("DownstreamHttpMethod", Shape::Text),
    routing("DownstreamScheme", Shape::Text),
    routing("DownstreamHostAndPorts", Shape::Objects(HOSTS)),
    routing("DownstreamHttpVersion", Shape::Text),
    routing("DownstreamHttpVersionPolicy", Shape::Text),
    routing("ServiceName", Shape::Text),
    routing("ServiceNamespace", Shape::Text),
    routing("Key", Shape::Text),
    routing("Timeout", Shape::Whole),
    routing("UpstreamHeaderTransform", Shape::Map),
    routing("DownstreamHeaderTransform", Shape::Map),
    routing("LoadBalancerOptions", Shape::Object(LOAD_BALANCER)),
    routing("Metadata", Shape::Map),
    routing("HttpHandlerOptions", Shape::Object(HANDLER)),
    routing("DangerousAcceptAnyServerCertificateValidator", Shape::Flag),
    policy("AuthenticationOptions", Shape::Object(AUTHENTICATION)),
    policy("RouteClaimsRequirement", Shape::Map),
    policy("AddClaimsToRequest", Shape::Map),
    policy("AddHeadersToRequest", Shape::Map),
    policy("AddQueriesToRequest", Shape::Map),
    policy("ChangeDownstreamPathTemplate", Shape::Map),
    policy("RequestIdKey", Shape::Text),
    policy("CacheOptions", Shape::Object(CACHE)),
    old("FileCacheOptions", "CacheOptions", Shape::Object(CACHE)),
    policy("SecurityOptions", Shape::Object(SECURITY)),
    policy("QoSOptions", Shape::Object(QUALITY_OF_SERVICE)),
    policy("RateLimitOptions", Shape::Object(RATE_LIMIT)),
    policy("DelegatingHandlers", Shape::Texts),
];

/// `DynamicRoutes[]`.
pub(crate) const DYNAMIC_ROUTE: &[Property] = &[
    routing("ServiceName", Shape::Text),
    routing("ServiceNamespace", Shape::Text),
    routing("Key", Shape::Text),
    routing("DownstreamScheme", Shape::Text),
    routing("DownstreamHttpVersion", Shape::Text),
    routing("DownstreamHttpVersionPolicy", Shape::Text),
    routing("Timeout", Shape::Whole),
    routing("LoadBalancerOptions", Shape::Object(LOAD_BALANCER)),
    routing("HttpHandlerOptions", Shape::Object(HANDLER)),
    routing("Metadata", Shape::Map),
    policy("AuthenticationOptions", Shape::Object(AUTHENTICATION)),
    policy("CacheOptions", Shape::Object(CACHE)),
    policy("QoSOptions", Shape::Object(QUALITY_OF_SERVICE)),
    policy("RateLimitOptions", Shape::Object(RATE_LIMIT)),
    old("RateLimitRule", "RateLimitOptions", Shape::Object(RATE_LIMIT)),
];

/// `Aggregates[]`.
pub(crate) const AGGREGATE: &[Property] = &[
    routing("UpstreamPathTemplate", Shape::Text),
    routing("UpstreamHttpMethod", Shape::Texts),
    routing("UpstreamHost", Shape::Text),
    routing("UpstreamHeaderTemplates", Shape::Map),
    routing("RouteIsCaseSensitive", Shape::Flag),
    old("ReRouteIsCaseSensitive", "RouteIsCaseSensitive", Shape::Flag),
    routing("Priority", Shape::Whole),
    routing("RouteKeys", Shape::Texts),
    old("ReRouteKeys", "RouteKeys", Shape::Texts),
    routing("RouteKeysConfig", Shape::Objects(AGGREGATE_KEYS)),
    old("ReRouteKeysConfig", "RouteKeysConfig", Shape::Objects(AGGREGATE_KEYS)),
    routing("Aggregator", Shape::Text),
];

/// `GlobalConfiguration`.
pub(crate) const GLOBAL: &[Property] = &[
    routing("BaseUrl", Shape::Text),
    routing("DownstreamScheme", Shape::Text),
    routing("DownstreamHttpVersion", Shape::Text),
    routing("DownstreamHttpVersionPolicy", Shape::Text),
    routing("UpstreamHeaderTransform", Shape::Map),
    routing("DownstreamHeaderTransform", Shape::Map),
    routing("HttpHandlerOptions", Shape::Object(HANDLER)),
    routing("LoadBalancerOptions", Shape::Object(LOAD_BALANCER)),
    routing("Metadata", Shape::Map),
    routing("MetadataOptions", Shape::Object(METADATA_OPTIONS)),
    routing("ServiceDiscoveryProvider", Shape::Object(DISCOVERY)),
    routing("Timeout", Shape::Whole),
    policy("AuthenticationOptions", Shape::Object(AUTHENTICATION)),
    policy("CacheOptions", Shape::Object(CACHE)),
    policy("QoSOptions", Shape::Object(QUALITY_OF_SERVICE)),
    policy("RateLimitOptions", Shape::Object(RATE_LIMIT)),
    policy("RequestIdKey", Shape::Text),
    policy("SecurityOptions", Shape::Object(SECURITY)),
];
