//! Throw-away certificates, made by the `openssl` command line as an operator makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An authority in a folder: `{name}.pem` and `{name}.key`.
pub struct Authority {
    folder: PathBuf,
    name: String,
}

impl Authority {
    /// Makes one that signs itself.
    ///
    /// # Panics
    /// When there is no `openssl` on the machine.
    pub fn new(folder: &Path, name: &str) -> Self {
        let authority = Self { folder: folder.to_owned(), name: name.to_owned() };
        let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
        authority.openssl(&["req", "-x509", "-subj", &format!("/CN={name}"), "-days", "2", "-out", &pem], Some(&key));
        authority
    }

    /// Its certificate.
    pub fn pem(&self) -> PathBuf {
        self.folder.join(format!("{}.pem", self.name))
    }

    /// Makes a certificate `{name}.pem` with key `{name}.key` in the same folder. `extensions` are OpenSSL's,
    /// comma-free lines (`subjectAltName = DNS:db.example.org`).
    ///
    /// # Panics
    /// When `openssl` refuses.
    pub fn sign(&self, name: &str, common_name: &str, extensions: &str) {
        let file = |kind: &str| format!("{name}.{kind}");
        self.openssl(
            &["req", "-new", "-subj", &format!("/CN={common_name}"), "-out", &file("csr")],
            Some(&file("key")),
        );
        // Without any extension it would be of version 1.
        fs::write(self.folder.join(file("ext")), format!("basicConstraints = CA:FALSE\n{extensions}\n")).unwrap();
        let (own, key) = (format!("{}.pem", self.name), format!("{}.key", self.name));
        let (csr, ext, pem) = (file("csr"), file("ext"), file("pem"));
        let sign = ["x509", "-req", "-in", &csr, "-CA", &own, "-CAkey", &key, "-CAcreateserial", "-days", "2"];
        self.openssl(&[&sign[..], &["-extfile", &ext, "-out", &pem]].concat(), None);
    }

    fn openssl(&self, args: &[&str], new_key: Option<&str>) {
        let mut command = Command::new("openssl");
        command.args(args).current_dir(&self.folder).stdin(Stdio::null());
        if let Some(key) = new_key {
            command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key]);
        }
        let out = command.output().unwrap();
        assert!(out.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
}
