//! [`DevAuthority`]: certificates for development, from a certificate authority that never leaves this machine.
//!
//! The authority is created once and stored, so that it has to be trusted only once; the server certificate is created at each
//! start, and again before it expires. The authority is constrained to names of this machine (RFC 5280 section 4.2.1.10), so that
//! its key, if stolen, is useless for other names.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_messages::ErrorDescription;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error_table;
use crate::platform;
use crate::tls::TlsConfig;

/// The authority's certificate, for clients to trust.
const CERTIFICATE_FILE: &str = "authority.pem";
/// The authority itself: metadata, certificate and key. Only we read it.
const AUTHORITY_FILE: &str = "authority-private.pem";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const AUTHORITY_LIFETIME: Duration = DAY.saturating_mul(3650);
/// Also the time before its expiry at which an authority is replaced.
const LEAF_LIFETIME: Duration = DAY.saturating_mul(90);
/// How long before its expiry a leaf certificate is replaced.
const LEAF_RENEWAL: Duration = DAY.saturating_mul(30);
/// Clocks of this machine and its virtual machines may differ.
const CLOCK_SKEW: Duration = DAY;

/// A local certificate authority for development; cheap to clone.
#[derive(Clone, Debug)]
pub struct DevAuthority(Arc<Authority>);

#[derive(Debug)]
struct Authority {
    certificate_path: PathBuf,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    facts: AuthorityProperties,
}

/// The metadata of the authority's certificate, stored in lines above it so that the certificate does not have to be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AuthorityProperties {
    /// The machine's name at that time, which the constraints permit.
    host: Option<String>,
    /// Seconds since the Unix epoch.
    not_after_s: u64,
}

/// Why there is no authority. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("cannot read or write the development certificate authority in {}; correct the permissions of the folder", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        cause: io::Error,
    },
    /// The file does not have the content that we wrote.
    #[error("{} is damaged; delete it, and a new authority is made, which clients must trust again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A certificate cannot be created.
    #[error("cannot create a development certificate")]
    Issue(#[from] rcgen::Error),
    /// TLS does not accept the created certificate.
    #[error("cannot use a development certificate")]
    Use(#[from] rustls::Error),
}

impl AuthorityError {
    /// Its code, and what to do.
    #[must_use]
    pub fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::File { .. } => &error_table::AUTHORITY_FILE,
            Self::Damaged { .. } => &error_table::AUTHORITY_DAMAGED,
            Self::Issue(_) | Self::Use(_) => &error_table::AUTHORITY_FAILED,
        }
    }
}

impl DevAuthority {
    /// Loads the authority stored in `dir`, or creates one there. The folder is created if it does not exist; only the owner can
    /// read the private file. An authority that is about to expire is replaced.
    ///
    /// # Errors
    ///
    /// If the files cannot be read or written, or are damaged.
    pub fn load_or_create(dir: &Path) -> Result<Self, AuthorityError> {
        Self::load_or_create_at(dir, SystemTime::now(), platform::host_name())
    }

    fn load_or_create_at(dir: &Path, now: SystemTime, host: Option<String>) -> Result<Self, AuthorityError> {
        let private_path = dir.join(AUTHORITY_FILE);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |cause| AuthorityError::File { path, cause }
        };
        let kept = match std::fs::read_to_string(&private_path) {
            Ok(text) => {
                let damaged = || AuthorityError::Damaged { path: private_path.clone() };
                Some(parse(&text).ok_or_else(damaged)?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => return Err(at(&private_path)(cause)),
        };
        let StoredAuthority { facts, certificate_pem, key } = match kept {
            Some(kept) if kept.facts.not_after_s > unix_s(now + LEAF_LIFETIME) => kept,
            expiring => {
                if expiring.is_some() {
                    tracing::warn!(dir = %dir.display(), "the development certificate authority expires and is replaced; trust the new one");
                    std::fs::remove_file(&private_path).map_err(at(&private_path))?;
                }
                std::fs::create_dir_all(dir).map_err(at(dir))?;
                let text = create(now, host.filter(|name| is_dns_name(name)))?;
                // Another process may have been faster; then its authority is used.
                let text = create_or_read(&private_path, &text).map_err(at(&private_path))?;
                parse(&text).ok_or_else(|| AuthorityError::Damaged { path: private_path.clone() })?
            }
        };
        let issuer = Issuer::new(authority_params(&facts, &key, now), key);
        let certificate_path = dir.join(CERTIFICATE_FILE);
        publish(&certificate_path, &certificate_pem).map_err(at(&certificate_path))?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_malformed| AuthorityError::Damaged { path: private_path.clone() })?;
        Ok(Self(Arc::new(Authority { certificate_path, certificate, issuer, facts })))
    }

    /// The file with the authority's certificate in PEM form, which users trust or name in `NODE_EXTRA_CA_CERTS`.
    pub fn certificate_path(&self) -> &Path {
        &self.0.certificate_path
    }

    /// A certificate for localhost, 127.0.0.1, ::1 and this machine's name, renewed before it expires while the process runs.
    ///
    /// # Errors
    ///
    /// If the certificate cannot be created.
    pub fn tls_config(&self) -> Result<TlsConfig, AuthorityError> {
        let leaf = Mutex::new(self.leaf(&self.names(), SystemTime::now())?);
        Ok(TlsConfig::from_resolver(Arc::new(Leaves { authority: self.clone(), leaf })))
    }

    fn names(&self) -> Vec<String> {
        let localhost = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        // If the machine was renamed, the authority is kept; its constraints permit the old name only.
        let host = self.0.facts.host.clone().filter(|name| platform::host_name().as_ref() == Some(name));
        localhost.into_iter().chain(host).collect()
    }

    fn leaf(&self, names: &[String], now: SystemTime) -> Result<Leaf, AuthorityError> {
        let authority_ends = UNIX_EPOCH + Duration::from_secs(self.0.facts.not_after_s);
        let not_after = (now + LEAF_LIFETIME).min(authority_ends);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = not_after.into();
        params.distinguished_name = named("Chappe development certificate");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.0.issuer)?;
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let chain = vec![certificate.der().clone(), self.0.certificate.clone()];
        let provider = rustls::crypto::ring::default_provider();
        let certified = CertifiedKey::from_der(chain, private, &provider)?;
        Ok(Leaf { certified: Arc::new(certified), renew_at: not_after - LEAF_RENEWAL })
    }
}

/// The server's certificate, until it is renewed.
#[derive(Debug)]
struct Leaf {
    certified: Arc<CertifiedKey>,
    renew_at: SystemTime,
}

#[derive(Debug)]
struct Leaves {
    authority: DevAuthority,
    leaf: Mutex<Leaf>,
}

impl Leaves {
    fn current(&self, now: SystemTime) -> Arc<CertifiedKey> {
        let mut leaf = self.leaf.lock().unwrap_or_else(PoisonError::into_inner);
        if leaf.renew_at <= now {
            match self.authority.leaf(&self.authority.names(), now) {
                Ok(renewed) => *leaf = renewed,
                // The old one is still valid for some time, and the next connection tries again.
                Err(error) => tracing::error!(%error, "the development certificate was not renewed"),
            }
        }
        Arc::clone(&leaf.certified)
    }
}

impl ResolvesServerCert for Leaves {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current(SystemTime::now()))
    }
}

/// The text of a new authority: metadata, certificate, key.
fn create(now: SystemTime, host: Option<String>) -> Result<String, rcgen::Error> {
    let facts = AuthorityProperties { host, not_after_s: unix_s(now + AUTHORITY_LIFETIME) };
    let key = KeyPair::generate()?;
    let certificate = authority_params(&facts, &key, now).self_signed(&key)?;
    let mut text = format!(
        "A certificate authority for development on this machine. Keep this file to yourself; share {CERTIFICATE_FILE} instead.\nNot-After: {}\n",
        facts.not_after_s
    );
    if let Some(host) = &facts.host {
        writeln!(text, "Host: {host}").expect("a String takes all text");
    }
    text.push_str(&certificate.pem());
    text.push_str(&key.serialize_pem());
    Ok(text)
}

/// An authority as stored.
struct StoredAuthority {
    facts: AuthorityProperties,
    certificate_pem: String,
    key: KeyPair,
}

fn parse(text: &str) -> Option<StoredAuthority> {
    let fact = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let not_after_s = fact("Not-After: ")?.parse().ok()?;
    let host = fact("Host: ").map(str::to_owned);
    let begin = text.find("-----BEGIN CERTIFICATE-----")?;
    let key_begin = text.find("-----BEGIN PRIVATE KEY-----")?;
    let certificate_pem = text.get(begin..key_begin)?.to_owned();
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).ok()?;
    let key = KeyPair::try_from(&key).ok()?;
    Some(StoredAuthority { facts: AuthorityProperties { host, not_after_s }, certificate_pem, key })
}

/// The same parameters whenever they are created from the same metadata and key: issuer and subject must agree in every start.
fn authority_params(facts: &AuthorityProperties, key: &KeyPair, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (UNIX_EPOCH + Duration::from_secs(facts.not_after_s)).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let names = ["localhost".to_owned()].into_iter().chain(facts.host.clone());
    let addresses = [(IpAddr::from(Ipv4Addr::LOCALHOST), 8), (IpAddr::from(Ipv6Addr::LOCALHOST), 128)];
    let addresses = addresses.map(|(address, prefix)| CidrSubnet::from_addr_prefix(address, prefix));
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: names
            .map(GeneralSubtree::DnsName)
            .chain(addresses.map(GeneralSubtree::IpAddress))
            .collect(),
        excluded_subtrees: Vec::new(),
    });
    // Two authorities with one name confuse trust stores, so the name includes a part of the key's digest.
    let key_id = params.key_identifier(key);
    let short: String = key_id.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = named(&format!("Chappe development authority {short}"));
    params
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Writes a private file atomically unless it exists, and returns its content.
fn create_or_read(path: &Path, text: &str) -> io::Result<String> {
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    // A killed process with the same process id may have left one.
    let _ = std::fs::remove_file(&draft);
    let mut file = platform::create_private(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    drop(file);
    // Unlike a rename, a link does not replace. If the file system has no links, the last writer wins.
    match std::fs::hard_link(&draft, path) {
        Ok(()) => std::fs::remove_file(&draft)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => std::fs::remove_file(&draft)?,
        Err(_unsupported) => std::fs::rename(&draft, path)?,
    }
    std::fs::read_to_string(path)
}

/// Writes the certificate to the file where users look for it.
fn publish(path: &Path, pem: &str) -> io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|kept| kept == pem) {
        return Ok(());
    }
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    std::fs::write(&draft, pem)?;
    std::fs::rename(&draft, path)
}

/// A name that a certificate may contain and a verifier understands, other than localhost itself.
fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name != "localhost" && name.len() <= 253 && name.split('.').all(label)
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
