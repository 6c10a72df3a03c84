use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::{ServerName, UnixTime};

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn authority(dir: &Path, now: SystemTime, host: &str) -> DevAuthority {
    DevAuthority::load_or_create_at(dir, now, Some(host.to_owned())).expect("an authority")
}

/// Whether a client that trusts the published certificate accepts `leaf` for `name`.
fn trusts(authority: &DevAuthority, leaf: &Leaf, name: &str, now: SystemTime) -> Result<(), rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.certificate_path()).expect("a certificate"))
        .expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("a verifier");
    let chain = &leaf.certified.cert;
    let name = ServerName::try_from(name).expect("a name");
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).expect("after 1970"));
    verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], now).map(|_verified| ())
}

#[test]
fn the_authority_is_reused_and_its_certificates_verify() {
    let dir = folder();
    let now = SystemTime::now();
    let first = authority(dir.path(), now, "box.lan");
    let second = authority(dir.path(), now, "box.lan");
    assert_eq!(first.0.certificate, second.0.certificate);
    // Created after a restart, and trusted by clients that trusted the first.
    let names = ["localhost", "127.0.0.1", "::1", "box.lan"];
    let leaf = second.leaf(&names.map(str::to_owned), now).expect("a leaf");
    for name in names {
        assert_eq!(trusts(&first, &leaf, name, now), Ok(()), "{name}");
    }
}

#[test]
fn the_development_authority_cannot_sign_for_other_hosts() {
    let dir = folder();
    let now = SystemTime::now();
    let authority = authority(dir.path(), now, "box.lan");
    for name in ["bank.test", "10.0.0.1"] {
        let leaf = authority.leaf(&[name.to_owned()], now).expect("a leaf");
        let refused = trusts(&authority, &leaf, name, now).expect_err("it is not constrained");
        assert!(format!("{refused:?}").contains("NameConstraint"), "{refused:?}");
    }
}

#[test]
fn leaves_are_renewed_before_they_expire() {
    let dir = folder();
    let now = SystemTime::now();
    let authority = authority(dir.path(), now, "box.lan");
    let leaf = Mutex::new(authority.leaf(&authority.names(), now).expect("a leaf"));
    let leaves = Leaves { authority: authority.clone(), leaf };
    let first = leaves.current(now);
    assert!(Arc::ptr_eq(&first, &leaves.current(now + DAY * 59)));
    let later = now + DAY * 61;
    let second = leaves.current(later);
    assert!(!Arc::ptr_eq(&first, &second));
    let leaf = Leaf { certified: second, renew_at: later };
    assert_eq!(trusts(&authority, &leaf, "localhost", now + DAY * 100), Ok(()));
}

#[test]
fn an_authority_is_replaced_before_it_expires() {
    let dir = folder();
    let now = SystemTime::now();
    let first = authority(dir.path(), now, "box.lan");
    let kept = authority(dir.path(), now + DAY * 3500, "box.lan");
    let replaced = authority(dir.path(), now + DAY * 3600, "box.lan");
    assert_eq!(first.0.certificate, kept.0.certificate);
    assert_ne!(first.0.certificate, replaced.0.certificate);
}

#[test]
fn a_damaged_file_is_reported_by_name() {
    let dir = folder();
    let path = dir.path().join(AUTHORITY_FILE);
    std::fs::write(&path, "Not-After: 1\n").expect("written");
    let error = DevAuthority::load_or_create(dir.path()).expect_err("it is damaged");
    assert!(error.to_string().contains("is damaged; delete it"), "{error}");
    assert!(matches!(error, AuthorityError::Damaged { path: named } if named == path));
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_the_key() {
    use std::os::unix::fs::PermissionsExt;
    let dir = folder();
    let authority = authority(dir.path(), SystemTime::now(), "box.lan");
    let mode = std::fs::metadata(dir.path().join(AUTHORITY_FILE)).expect("written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let published = std::fs::read_to_string(authority.certificate_path()).expect("published");
    assert!(!published.contains("PRIVATE"));
    let files = std::fs::read_dir(dir.path()).expect("a folder").count();
    assert_eq!(files, 2, "no draft is left behind");
}

#[test]
fn invalid_host_names_are_left_out_of_the_certificate() {
    for name in ["localhost", "my_box", "-a", "a..b", "a b", ""] {
        assert!(!is_dns_name(name), "{name}");
    }
    assert!(is_dns_name("my-box.lan"));
}
