//! Tokens for SASL OAUTHBEARER, and their sources. `token_refresher` decides when to fetch one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use buslane_core::{BoxFuture, Secret};
#[cfg(feature = "client")]
use rdkafka::client::{Client, ClientContext};
use serde::Deserialize;
use std::{
    error::Error,
    fmt,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::task::spawn_blocking;

type FetchResult = Result<Token, Box<dyn Error + Send + Sync>>;

/// A token with its expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The text that the client sends to the brokers.
    pub value: Secret,
    /// The user that the token authenticates. The brokers read the user from the token itself; this
    /// field is for the client's log.
    pub principal: String,
    /// The expiry of the token.
    pub expires_at: SystemTime,
}

/// The claims of a JSON Web Token that a client needs.
#[derive(Deserialize)]
struct Claims {
    exp: f64,
    #[serde(default)]
    sub: String,
}

impl Token {
    /// Parses a JSON Web Token: `exp` is its expiry, and `sub` its principal. The brokers check the
    /// signature; this function does not.
    ///
    /// # Errors
    /// When the text does not have three parts, or its claims are not JSON with a time `exp`. The
    /// error does not contain the token.
    pub fn from_jwt(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let parts: Vec<_> = text.split('.').collect();
        let [_, claims, _] = parts[..] else {
            return Err(format!(
                "a JSON Web Token has 3 parts separated by dots, this text has {}",
                parts.len()
            ));
        };
        // Errors name only a position, because the parser's message could contain a part of the
        // token.
        let claims = URL_SAFE_NO_PAD
            .decode(claims.trim_end_matches('='))
            .map_err(|_| "its claims are not base64url")?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|error| {
            format!("its claims are not JSON with a number `exp` (column {})", error.column())
        })?;
        let expires_at =
            Duration::try_from_secs_f64(claims.exp).ok().and_then(|at| UNIX_EPOCH.checked_add(at));
        Ok(Self {
            value: text.into(),
            principal: claims.sub,
            expires_at: expires_at.ok_or("its `exp` is not a time since 1970")?,
        })
    }

    /// The remaining validity of the token.
    #[cfg(feature = "client")]
    pub(crate) fn left(&self) -> Duration {
        self.expires_at.duration_since(SystemTime::now()).unwrap_or_default()
    }

    /// Makes `client` log in with this token from now on.
    #[cfg(feature = "client")]
    pub(crate) fn give_to<C: ClientContext>(&self, client: &Client<C>) -> Result<(), String> {
        let expires = self.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let expires = i64::try_from(expires).unwrap_or(i64::MAX);
        crate::native::set_token(client, self.value.expose(), &self.principal, expires)
    }
}

/// A source of tokens: a function, or a file that another program renews.
///
/// A token is fetched when the bus connects, and again when four fifths of the present token's time
/// have passed. Two sources are equal when one is a clone of the other.
///
/// ```
/// use buslane_kafka::{Login, Token, Tokens};
/// use std::time::{Duration, SystemTime};
///
/// // A real program asks its issuer here.
/// let tokens = Tokens::new(|| async {
///     let expires_at = SystemTime::now() + Duration::from_secs(600);
///     Ok::<_, std::io::Error>(Token { value: "…".into(), principal: "billing".to_owned(), expires_at })
/// });
/// let login = Login::with_tokens(tokens);
/// ```
#[derive(Clone)]
pub struct Tokens(Arc<dyn Fn() -> BoxFuture<'static, FetchResult> + Send + Sync>);

impl Tokens {
    /// Calls `fetch` for each token, on the tokio runtime of the connection. The old token stays in
    /// use while `fetch` runs. A failed call is repeated after 5 s, or after half of the token's
    /// remaining time where that is less. Closing the broker cancels a call that is running.
    ///
    /// # Panics
    /// A panic of `fetch` ends the refreshing: the connection is lost when the last token expires.
    pub fn new<F, E>(fetch: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Token, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self(Arc::new(move || {
            let answer = fetch();
            Box::pin(async move { answer.await.map_err(Into::into) })
        }))
    }

    /// Reads each token, a JSON Web Token, from a file. The token expires at its claim `exp`.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        let path = Arc::new(path.into());
        Self::new(move || {
            let path = Arc::clone(&path);
            async move { read(&path).await }
        })
    }

    #[cfg(feature = "client")]
    pub(crate) async fn fetch(&self) -> Result<Token, String> {
        let token = (self.0)().await.map_err(|error| error.to_string())?;
        if token.left().is_zero() {
            return Err("the fetched token has expired".to_owned());
        }
        Ok(token)
    }
}

async fn read(path: &Path) -> Result<Token, String> {
    let wrong = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
    let file = path.to_owned();
    let text = spawn_blocking(move || std::fs::read_to_string(file))
        .await
        .map_err(|error| wrong(&error))?;
    Token::from_jwt(&text.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))
}

impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tokens {}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

#[cfg(test)]
mod tests {
    use super::{Engine, Token, URL_SAFE_NO_PAD};
    use std::time::{Duration, UNIX_EPOCH};

    fn jwt(claims: &str) -> String {
        format!(
            "{}.{}.sig",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(claims)
        )
    }

    #[test]
    fn k5_expiry_and_principal_of_a_token_are_read() {
        let text = jwt(r#"{"exp": 1900000000.5, "sub": "alice", "aud": ["kafka"]}"#);
        let token = Token::from_jwt(&format!("  {text}\n")).expect("a good token");
        assert_eq!(token.principal, "alice");
        assert_eq!(token.expires_at, UNIX_EPOCH + Duration::from_millis(1_900_000_000_500));
        assert_eq!(token.value.expose(), text, "surrounding blanks are not sent");
        assert_eq!(Token::from_jwt(&jwt(r#"{"exp": 1}"#)).expect("no principal").principal, "");
    }

    #[test]
    fn k5_the_error_about_a_bad_token_does_not_contain_it() {
        for (text, expected) in [
            ("", "has 1"),
            ("hidden", "has 1"),
            ("a.hidden!.c", "not base64url"),
            (&jwt("hidden"), "`exp`"),
            (&jwt(r#"{"sub": "hidden"}"#), "`exp`"),
            (&jwt(r#"{"exp": "hidden"}"#), "`exp`"),
            (&jwt(r#"{"exp": -5}"#), "since 1970"),
            (&jwt(r#"{"exp": 1e300}"#), "since 1970"),
        ] {
            let error = Token::from_jwt(text).expect_err("not a token");
            assert!(error.contains(expected) && !error.contains("hidden"), "{text}: {error}");
        }
    }
}
