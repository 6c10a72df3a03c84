//! `chappe trust`: the path of the development authority's certificate, and how to trust it.

use std::path::Path;
use std::process::{Command, Output};

use testkit::ChildProcess;

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");

fn trust(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("trust").args(arguments).current_dir(folder).env_remove("CHAPPE_CONFIG");
    command.output().expect("the binary can be run")
}

fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = trust(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("it prints text")
}

#[tokio::test]
async fn trust_creates_the_authority_that_start_uses() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = printed(folder.path(), &["--path"]);
    let path = Path::new(path.trim_end());
    assert!(path.is_absolute() && path.ends_with(".chappe/tls/authority.pem"), "{}", path.display());
    let certificate = std::fs::read_to_string(path).expect("the authority is there");
    assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"), "{certificate}");
    assert!(!certificate.contains("PRIVATE KEY"));
    let data = folder.path().join(".chappe");
    assert_eq!(std::fs::read_to_string(data.join(".gitignore")).expect("it is there"), "*\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&data).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "as a start makes it");
    }

    let process =
        ChildProcess::start(BINARY, folder.path(), &["start", "--no-functions"]).await.expect("it starts");
    assert_eq!(process.facts()["certificateAuthority"].as_str(), path.to_str());
    assert_eq!(std::fs::read_to_string(path).expect("it is there"), certificate);
    assert_eq!(printed(folder.path(), &["--path"]).trim_end(), path.to_str().expect("a path of text"));
}

#[test]
fn trust_prints_a_command_for_each_platform_with_the_path() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let text = printed(folder.path(), &["--data-dir", "my data"]);
    let path = folder.path().join("my data/tls/authority.pem");
    assert!(path.is_file());
    let quoted = format!("'{}'", path.display());
    for command in [
        "export SSL_CERT_FILE=",
        "export NODE_EXTRA_CA_CERTS=",
        "export REQUESTS_CA_BUNDLE=",
        "keytool -importcert -noprompt -alias chappe -file ",
        "curl --cacert ",
        "Import-Certificate -FilePath ",
    ] {
        assert!(text.contains(&format!("  {command}{quoted}")), "{command}\n{text}");
    }
    assert!(!text.contains("AUTHORITY"), "{text}");
}

#[test]
fn trust_finds_the_data_folder_of_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let app = folder.path().join("app");
    std::fs::create_dir(&app).expect("a folder can be made");
    std::fs::write(app.join("chappe.toml"), "data_dir = \"kept\"\n").expect("a file can be written");
    let path = printed(folder.path(), &["app", "--path"]);
    assert_eq!(Path::new(path.trim_end()), app.join("kept/tls/authority.pem"));
}

#[test]
fn trust_rejects_an_own_certificate_a_missing_folder_and_an_unusable_data_folder() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let config = "[tls]\ncertificate_file = \"own.pem\"\nkey_file = \"own.key\"\n";
    std::fs::write(folder.path().join("chappe.toml"), config).expect("a file can be written");
    let own = trust(folder.path(), &[]);
    let text = String::from_utf8_lossy(&own.stderr).into_owned();
    assert_eq!(own.status.code(), Some(64), "{text}");
    assert!(text.contains("own.pem (tls.certificate_file)"), "{text}");
    assert!(!folder.path().join(".chappe").exists(), "nothing is made");

    let misspelt = trust(folder.path(), &["my-ap"]);
    let text = String::from_utf8_lossy(&misspelt.stderr).into_owned();
    assert_eq!(misspelt.status.code(), Some(64), "{text}");
    assert!(text.contains("the folder my-ap does not exist"), "{text}");
    assert!(!folder.path().join("my-ap").exists(), "nothing is made");

    std::fs::write(folder.path().join("chappe.toml"), "data_dir = 7\n").expect("a file can be written");
    assert_eq!(trust(folder.path(), &[]).status.code(), Some(64));

    std::fs::write(folder.path().join("chappe.toml"), "data_dir = \"chappe.toml/below\"\n")
        .expect("a file can be written");
    let nowhere = trust(folder.path(), &[]);
    let text = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert_eq!(nowhere.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot create the data folder"), "{text}");
}
