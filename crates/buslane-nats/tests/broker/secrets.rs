//! Certificates that live as long as a test.

use buslane_testkit::folder::Folder;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa,
    KeyPair as Key,
};

/// An authority with a server and a client, and a foreign authority with its own.
pub(crate) struct Certificates(Folder);

impl Certificates {
    pub(crate) fn new() -> Self {
        let folder = Folder::new("buslane-nats");
        for (file, names) in
            [("ca.pem", ["server", "client"]), ("stranger-ca.pem", ["other", "stranger"])]
        {
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            let authority = CertifiedIssuer::self_signed(params, Key::generate().expect("a key"))
                .expect("an authority");
            folder.write(file, &authority.pem());
            for (name, is_server) in names.into_iter().zip([true, false]) {
                let hosts: &[&str] = if is_server { &["localhost", "127.0.0.1"] } else { &[] };
                let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
                let mut params = CertificateParams::new(hosts).expect("good names");
                let usage = if is_server {
                    ExtendedKeyUsagePurpose::ServerAuth
                } else {
                    ExtendedKeyUsagePurpose::ClientAuth
                };
                params.extended_key_usages = vec![usage];
                let key = Key::generate().expect("a key");
                let certificate = params.signed_by(&key, &authority).expect("a certificate");
                folder.write(&format!("{name}.pem"), &certificate.pem());
                folder.write(&format!("{name}.key"), &key.serialize_pem());
            }
        }
        Self(folder)
    }

    pub(crate) fn file(&self, name: &str) -> Option<String> {
        Some(self.0.path(name))
    }

    /// The configuration of a server, which may ask clients for certificates.
    pub(crate) fn server_config(&self, asks_clients: bool) -> String {
        let file = |name: &str| self.0.path(name);
        let (certificate, key, authority) =
            (file("server.pem"), file("server.key"), file("ca.pem"));
        format!(
            "tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {authority:?}, verify: {asks_clients} }}\n"
        )
    }
}
