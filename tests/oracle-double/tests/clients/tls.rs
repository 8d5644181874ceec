//! TLS: of the server, and of both sides.

use std::fs;
use std::path::Path;
use std::process::Command;

use connect_oracle_double::{Double, Options, Personality, Tls};
use connect_tests::certificates::Authority;

use crate::foreign::{Client, FOREIGN, Outcome, Request, run};
use crate::{BOTH, model};

/// A wallet for each client: PEM, and for Java PKCS#12. It trusts one authority and shows a certificate of another.
fn wallet(folder: &Path, name: &str, trusted: &Authority, own: &Authority) {
    own.sign(name, "client", "extendedKeyUsage = clientAuth");
    let wallet = folder.join(format!("{name}-wallet"));
    fs::create_dir(&wallet).unwrap();
    let (pem, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    // The Rust driver trusts what is in a wallet only where no key is in it.
    let trusting = wallet.join("rust");
    fs::create_dir(&trusting).unwrap();
    fs::copy(trusted.pem(), trusting.join("ewallet.pem")).unwrap();
    // The key first: some readers take the first certificate behind it for its own.
    let all = [&key, &pem, &trusted.pem()].map(|file| fs::read_to_string(file).unwrap()).concat();
    fs::write(wallet.join("ewallet.pem"), all).unwrap();
    run_program(
        Command::new("openssl")
            .args(["pkcs12", "-export", "-passout", "pass:changeit", "-in"])
            .arg(&pem)
            .arg("-inkey")
            .arg(&key)
            .arg("-out")
            .arg(wallet.join("client.p12")),
    );
    run_program(
        Command::new("keytool")
            .args([
                "-importcert",
                "-noprompt",
                "-alias",
                "ca",
                "-storetype",
                "PKCS12",
                "-storepass",
                "changeit",
                "-file",
            ])
            .arg(trusted.pem())
            .arg("-keystore")
            .arg(wallet.join("trust.p12")),
    );
}

fn run_program(command: &mut Command) {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
}

struct Secured {
    folder: tempfile::TempDir,
}

impl Secured {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let (ours, theirs) = (Authority::new(at, "ours"), Authority::new(at, "theirs"));
        ours.sign("server", "localhost", "subjectAltName = DNS:localhost");
        wallet(at, "good", &ours, &ours);
        wallet(at, "stranger", &ours, &theirs);
        wallet(at, "distrustful", &theirs, &ours);
        Self { folder }
    }

    fn start(&self, personality: Personality, both_sides: bool) -> Double {
        let file = |name: &str| self.folder.path().join(name);
        let client_authority = both_sides.then(|| file("ours.pem"));
        let tls = Tls { certificate: file("server.pem"), key: file("server.key"), client_authority };
        Double::start(model(personality), Options::new(personality).tls(tls)).unwrap()
    }

    fn ask(&self, client: Client, double: &Double, wallet: &str) -> Outcome {
        let mut wallet = self.folder.path().join(format!("{wallet}-wallet"));
        if client == Client::Rust {
            wallet.push("rust");
        }
        let wallet = Some(wallet);
        let sql = "SELECT SYS_CONTEXT('USERENV', 'NETWORK_PROTOCOL') FROM dual";
        run(client, &Request { wallet, ..Request::new(double.port()).statement(sql) }).remove(0)
    }
}

#[test]
fn clients_connect_by_tls_and_check_the_server() {
    let secured = Secured::new();
    for personality in BOTH {
        let double = secured.start(personality, false);
        for client in FOREIGN.into_iter().chain([Client::Rust]) {
            let outcome = secured.ask(client, &double, "good");
            assert_eq!(outcome.rows(), [[Some("tcps".to_owned())]], "{client:?}, {personality:?}");
            let outcome = secured.ask(client, &double, "distrustful");
            assert!(matches!(outcome, Outcome::Error(..)), "{client:?}, {personality:?}: {outcome:?}");
        }
    }
}

#[test]
fn a_server_that_asks_for_certificates_lets_in_whom_it_knows() {
    // Without the Rust driver, which cannot show a certificate to a server of a private authority.
    let secured = Secured::new();
    let double = secured.start(Personality::V23ai, true);
    for client in FOREIGN {
        let outcome = secured.ask(client, &double, "good");
        assert_eq!(outcome.rows(), [[Some("tcps".to_owned())]], "{client:?}");
        let outcome = secured.ask(client, &double, "stranger");
        assert!(matches!(outcome, Outcome::Error(..)), "{client:?}: {outcome:?}");
    }
}
