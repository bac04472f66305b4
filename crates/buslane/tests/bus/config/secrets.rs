//! What the URL hides.

use super::table;
use buslane::config::Config;

#[test]
fn s1_secrets_are_never_printed() {
    for (url, shown) in [
        ("nats://user:secret@host:4222", "nats://***@host:4222"),
        ("nats://secret@host", "nats://***@host"),
        ("nats://u:se/cr?et@host:1,other:2", "nats://***@host:1,other:2"),
        ("nats://u:secret@a,nats://u:secret@b", "nats://***@b"),
        ("nats://host?token=secret", "nats://host?***"),
        ("nats://u:secret@host?token=secret", "nats://***@host?***"),
    ] {
        let config = Config::new(url).unwrap();
        assert_eq!((config.url.to_string().as_str(), config.url.expose()), (shown, url));
        let printed = format!("{config:?} {config:#?} {} {:?}", config.url, config.url)
            + &serde_json::to_string(&config).unwrap()
            + &toml::to_string(&config).unwrap();
        assert!(!printed.contains("secret"), "{printed}");
    }
    for text in [
        "url: http://u:secret@host",
        "url: [nats://u:secret@host]",
        "url: 'nats://u:secret@host",
        "url: nats://u:secret@host\nmemory: 5",
        "url: nats://u:secret@host: 5",
        "memory: nats://u:secret@host",
        "terminal: nats://u:secret@host",
        "publish_timeout: nats://u:secret@host",
    ] {
        let error = Config::parse_yaml(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{text:?}: {error}");
        if let Err(error) = Config::parse_toml(&(text.replacen(": ", " = \"", 1) + "\"")) {
            assert!(!format!("{error} {error:?}").contains("secret"), "{text:?}: {error}");
        }
    }
    let error = Config::default()
        .with_variables(&table(&["BUSLANE_URL=amqp://u:secret@host"]))
        .unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    assert!(!format!("{:?}", Config::new("amqp://u:secret@host").unwrap_err()).contains("secret"));
}
