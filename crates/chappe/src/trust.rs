//! `chappe trust`: prints where the certificate of the development authority is, and how to make clients trust it. `docs/trust.md`
//! has the same commands; a test compares the two.

use std::path::{Path, PathBuf};

use anyhow::Context;
use edge::DevAuthority;

use crate::cli::TrustArgs;
use crate::data_folder;
use crate::plan::{self, PlanError};
use crate::ready;
use crate::services;

/// The authority's folder in the data folder.
pub(crate) const FOLDER: &str = "tls";

/// Why there is no development authority to trust.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// The configuration cannot be read.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The folder of the app does not exist; its name is probably misspelt.
    #[error("the folder {} does not exist; name the app's folder, or the data folder with --data-dir", .0.display())]
    NoFolder(PathBuf),
    /// The process uses a certificate of the operator.
    #[error(
        "clients see the certificate in {} (tls.certificate_file), which no development authority signed; clients must trust whoever issued it",
        .0.display()
    )]
    OwnCertificate(PathBuf),
}

/// Prints the path of the authority's certificate, and how to trust it. Creates the authority if it does not exist, as `start`
/// does.
pub(crate) fn run(arguments: &TrustArgs) -> anyhow::Result<()> {
    if arguments.data_dir.is_none() && !arguments.app.is_dir() {
        return Err(TrustError::NoFolder(arguments.app.clone()).into());
    }
    let sections = services::sections(services::TABLE);
    let config = plan::layers(sections, &arguments.app, arguments.config.as_deref(), &[])
        .and_then(|(layers, _)| layers.config())
        .map_err(|error| TrustError::Plan(error.into()))?;
    if let Some(certificate) = config.tls.certificate_file {
        return Err(TrustError::OwnCertificate(certificate).into());
    }
    let data_dir = plan::data_dir(&arguments.app, arguments.data_dir.as_deref(), config.data_dir.as_deref());
    data_folder::make(&data_dir)?;
    let authority = DevAuthority::load_or_create(&data_dir.join(FOLDER)).context("there is no authority")?;
    let path = std::path::absolute(authority.certificate_path())?;
    ready::print(&if arguments.path { path.display().to_string() } else { text(&path) });
    Ok(())
}

/// The text for people: the path, and a section for each platform. Commands to type are indented.
fn text(path: &Path) -> String {
    let path = quoted(&path.display().to_string());
    TEXT.replace("AUTHORITY", &path).trim_end().to_owned()
}

/// Quotes a word for a shell. Paths that need no quotes stay unchanged.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:\\".contains(&byte);
    if word.bytes().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// `AUTHORITY` is replaced by the path.
const TEXT: &str = "\
Every port of `chappe start` takes TLS too. Its certificate is signed by this development authority:

  AUTHORITY

It was made on this machine, once for this data folder. It can sign for localhost, loopback addresses and this machine's name only.
Trust it in one of these ways, then use https addresses. SSL_CERT_FILE and REQUESTS_CA_BUNDLE name one file in place of the usual one:
where a program calls hosts of the Internet too, name a file that holds both, or trust the authority for the whole machine.

.NET on Linux, in the environment of the program
  export SSL_CERT_FILE=AUTHORITY

.NET on Windows, in PowerShell, for the current user
  Import-Certificate -FilePath AUTHORITY -CertStoreLocation Cert:\\CurrentUser\\Root

.NET on macOS, for the current user
  security add-trusted-cert -r trustRoot -k ~/Library/Keychains/login.keychain-db AUTHORITY

Node.js, in the environment of the program
  export NODE_EXTRA_CA_CERTS=AUTHORITY

Python, in the environment of the program: the first for ssl, httpx and aiohttp, the second for requests and the Azure SDKs
  export SSL_CERT_FILE=AUTHORITY
  export REQUESTS_CA_BUNDLE=AUTHORITY

Java, with a trust store made of it
  keytool -importcert -noprompt -alias chappe -file AUTHORITY -keystore chappe.p12 -storetype PKCS12 -storepass changeit
  java -Djavax.net.ssl.trustStore=chappe.p12 -Djavax.net.ssl.trustStorePassword=changeit ...

Chrome and Edge on Linux (certutil is in the package libnss3-tools or nss-tools)
  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n 'Chappe development authority' -i AUTHORITY

Chrome, Edge and Safari on Windows and macOS trust what the commands for .NET add. Firefox: Settings, Privacy & Security, View
Certificates, Authorities, Import.

curl
  curl --cacert AUTHORITY https://localhost:8080/healthz

The whole machine, on Debian and Ubuntu
  sudo cp AUTHORITY /usr/local/share/ca-certificates/chappe.crt && sudo update-ca-certificates

The whole machine, on Fedora and Arch Linux
  sudo trust anchor AUTHORITY
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_command() {
        let page = include_str!("../../../docs/trust.md");
        let text = text(Path::new(".chappe/tls/authority.pem"));
        // The first indented line is the path itself.
        let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  ")).skip(1).collect();
        assert_eq!(commands.len(), 12, "{text}");
        for command in commands {
            assert!(page.lines().any(|line| line == command), "docs/trust.md lacks: {command}");
        }
    }

    #[test]
    fn paths_are_quoted_for_a_shell() {
        assert_eq!(quoted("/srv/app/.chappe/tls/authority.pem"), "/srv/app/.chappe/tls/authority.pem");
        assert_eq!(quoted("/home/o'neil/my app/a.pem"), r"'/home/o'\''neil/my app/a.pem'");
    }
}
