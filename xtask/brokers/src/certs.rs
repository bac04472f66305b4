//! Certificates for the broker of a test run: an authority, a server, a client, and a client of an
//! unknown authority. Each run makes new ones, so that none expires or is kept by mistake.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rcgen::{KeyUsagePurpose, date_time_ymd};

use xtask_base::process::{Result, write_file};

type Authority = CertifiedIssuer<'static, KeyPair>;

/// Writes the files that the page `docs/dev/brokers.md` lists.
pub(super) fn write(folder: &Path) -> Result<()> {
    let authority = authority("buslane test authority")?;
    write_file(&folder.join("ca.pem"), &authority.pem())?;
    let (certificate, key) = issue(&authority, "localhost", ExtendedKeyUsagePurpose::ServerAuth)?;
    // Kafka reads key and certificate from one file.
    write_file(&folder.join("server.pem"), &(key + &certificate))?;
    let stranger = self::authority("buslane unknown authority")?;
    for (name, authority) in [("client", &authority), ("stranger", &stranger)] {
        let (certificate, key) = issue(authority, name, ExtendedKeyUsagePurpose::ClientAuth)?;
        write_file(&folder.join(format!("{name}.pem")), &certificate)?;
        write_file(&folder.join(format!("{name}.key")), &key)?;
    }
    Ok(())
}

fn authority(name: &str) -> Result<Authority> {
    let mut params = params(name, &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// Certificate and key, both as PEM.
fn issue(
    authority: &Authority,
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
) -> Result<(String, String)> {
    let names: &[&str] = match purpose {
        ExtendedKeyUsagePurpose::ServerAuth => &["localhost", "127.0.0.1"],
        _ => &[],
    };
    let mut params = params(name, names)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, authority)?.pem(), key.serialize_pem()))
}

fn params(name: &str, names: &[&str]) -> Result<CertificateParams> {
    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, name);
    // Fixed dates, so that a clock that is wrong does no harm.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    Ok(params)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_listed_file_is_written() {
        let folder =
            std::env::temp_dir().join(format!("buslane-xtask-certs-{}", std::process::id()));
        super::write(&folder).expect("written");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);
        let server = read("server.pem");
        let others =
            ["ca.pem", "client.pem", "client.key", "stranger.pem", "stranger.key"].map(read);
        std::fs::remove_dir_all(&folder).expect("removed");
        // The form that Java reads without a helper.
        assert!(
            server.starts_with("-----BEGIN PRIVATE KEY-----")
                && server.contains("-----BEGIN CERTIFICATE-----")
        );
        assert!(others.iter().all(|text| text.starts_with("-----BEGIN ")));
    }
}
