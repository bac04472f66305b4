//! NATS credentials for a single test: signed tokens of an operator, an account and a user.

use crate::folder::Folder;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use std::time::{SystemTime, UNIX_EPOCH};

/// An operator, an account and a user, with the user's credentials file and the server's
/// configuration.
pub struct Credentials {
    folder: Folder,
    operator: String,
    account: (String, String),
    system: (String, String),
    seed: String,
}

impl Credentials {
    /// Credentials that never expire.
    ///
    /// # Panics
    /// When no file can be written.
    #[must_use]
    pub fn endless() -> Self {
        Self::until(None)
    }

    /// Credentials whose user expires after `seconds`.
    ///
    /// # Panics
    /// When no file can be written.
    #[must_use]
    pub fn lasting(seconds: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        Self::until(Some(now + seconds))
    }

    fn until(end: Option<u64>) -> Self {
        let (operator, account, user) =
            (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
        let system = KeyPair::new_account();
        let unlimited = serde_json::json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
        });
        let account_claims =
            serde_json::json!({ "type": "account", "version": 2, "limits": unlimited });
        let user_claims = serde_json::json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        let operator_claims = serde_json::json!({ "type": "operator", "version": 2 });
        let seed = user.seed().expect("a seed");
        let jwt = token_until(&account, &user, "user", &user_claims, end);
        let folder = Folder::new("buslane-nats");
        folder.write(
            "user.creds",
            &format!(
                "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
                 -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
            ),
        );
        Self {
            folder,
            operator: token(&operator, &operator, "operator", &operator_claims),
            system: (
                system.public_key(),
                token(
                    &operator,
                    &system,
                    "system",
                    &serde_json::json!({ "type": "account", "version": 2 }),
                ),
            ),
            account: (account.public_key(), token(&operator, &account, "account", &account_claims)),
            seed,
        }
    }

    /// The credentials file of the user.
    #[must_use]
    pub fn file(&self) -> String {
        self.folder.path("user.creds")
    }

    /// The seed of the user, which no output may contain.
    #[must_use]
    pub fn seed(&self) -> String {
        self.seed.clone()
    }

    /// The configuration of a server that trusts this operator alone.
    #[must_use]
    pub fn server_config(&self) -> String {
        let ((key, jwt), (system, system_jwt)) = (&self.account, &self.system);
        format!(
            "operator: {}\nresolver: MEMORY\nsystem_account: {system}\n\
             resolver_preload: {{ {key}: {jwt}, {system}: {system_jwt} }}\n",
            self.operator
        )
    }
}

/// A JWT, signed as NATS signs its tokens.
fn token(issuer: &KeyPair, subject: &KeyPair, name: &str, claims: &serde_json::Value) -> String {
    token_until(issuer, subject, name, claims, None)
}

fn token_until(
    issuer: &KeyPair,
    subject: &KeyPair,
    name: &str,
    claims: &serde_json::Value,
    end: Option<u64>,
) -> String {
    let encode = |value: &serde_json::Value| {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("JSON"))
    };
    let header = encode(&serde_json::json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let mut body = serde_json::json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "iss": issuer.public_key(), "name": name,
        "sub": subject.public_key(), "nats": claims,
    });
    if let Some(end) = end {
        body["exp"] = end.into();
    }
    let body = encode(&body);
    let signed = format!("{header}.{body}");
    let signature = issuer.sign(signed.as_bytes()).expect("a key that signs");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
