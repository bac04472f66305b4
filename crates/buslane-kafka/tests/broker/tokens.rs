//! Logins by token against a real broker. Its listener accepts unsigned tokens, which are of no use
//! elsewhere.

use super::kit;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use buslane_core::{TopicSettings, TopicStrategy};
use buslane_kafka::{KafkaBroker, KafkaConfig, Login, Security, Tls, Token, Tokens};
use buslane_testkit::{
    broker_suite::{bodies, publish, record, settle},
    deadline::within,
    server::{address, unique},
};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// An unsigned token that expires after `lasts`.
fn jwt(lasts: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let claims = serde_json::json!({
        "sub": "alice",
        "iat": now.as_secs(),
        "exp": (now + lasts).as_secs_f64(),
    });
    format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    )
}

fn config(tokens: Tokens) -> KafkaConfig {
    let ca_file = Some(format!("{}/ca.pem", address("BUSLANE_TEST_KAFKA_CERTS")));
    KafkaConfig {
        brokers: address("BUSLANE_TEST_KAFKA_SASL_SSL"),
        security: Security {
            tls: Some(Tls { ca_file, ..Tls::default() }),
            login: Some(Login::with_tokens(tokens)),
        },
        connect_timeout: Duration::from_secs(5),
        ..kit::config(&unique("g"))
    }
}

/// A source of tokens that expire after `lasts`, and how many it has issued.
fn counted(lasts: Duration) -> (Tokens, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let tokens = Tokens::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        async move { Token::from_jwt(&jwt(lasts)) }
    });
    (tokens, count)
}

async fn refusal(tokens: Tokens) -> String {
    let answer = within(
        kit::PATIENCE,
        "an answer within the connect timeout",
        KafkaBroker::connect(config(tokens)),
    );
    answer.await.expect_err("a refusal").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_messages_go_round_with_a_token() {
    let (tokens, asked) = counted(Duration::from_secs(3600));
    let topic = kit::topic("token", 1, &[]).await;
    let mut member = kit::member(config(tokens), &topic).await;
    publish(&member.broker, &topic, vec![record("k", "hello")]).await;
    let got = member.take(1).await;
    assert_eq!(bodies(&got), ["hello"]);
    settle(got);
    member.close().await;
    assert_eq!(asked.load(Ordering::SeqCst), 1, "all clients of a bus share a token");
}

/// The broker closes a connection when its token expires, so continued delivery proves that new
/// tokens are used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_token_is_renewed_before_it_ends() {
    let (tokens, asked) = counted(Duration::from_secs(3));
    let topic = kit::topic("renewed", 1, &[]).await;
    let mut member = kit::member(config(tokens), &topic).await;
    let (started, mut sent) = (SystemTime::now(), 0);
    while asked.load(Ordering::SeqCst) < 4 {
        publish(&member.broker, &topic, vec![record("k", sent.to_string())]).await;
        let got = member.take(1).await;
        assert_eq!(bodies(&got), [sent.to_string()]);
        settle(got);
        sent += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let waited = started.elapsed().expect("a clock");
        assert!(waited < kit::PATIENCE, "{} tokens in {waited:?}", asked.load(Ordering::SeqCst));
    }
    assert!(
        started.elapsed().expect("a clock") > Duration::from_secs(3),
        "longer than the first token"
    );
    // The admin client logs in for the first time here, long after the first token has expired.
    let settings =
        TopicSettings { retention: Some(Duration::from_secs(60)), ..TopicSettings::default() };
    member
        .broker
        .configure_topic(&topic, &settings, TopicStrategy::CreateOrUpdate)
        .await
        .expect("a changed topic");
    member.close().await;
}

/// A failed refresh is tried again, and connections stay open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_failed_renewal_is_tried_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let tokens = Tokens::new(move || {
        let nth = counter.fetch_add(1, Ordering::SeqCst);
        async move {
            if nth == 1 {
                Err("the token server is away".to_owned())
            } else {
                Token::from_jwt(&jwt(Duration::from_secs(3)))
            }
        }
    });
    let topic = kit::topic("tried", 1, &[]).await;
    let mut member = kit::member(config(tokens), &topic).await;
    kit::until("two renewals after the failed one", || asked.load(Ordering::SeqCst) >= 4);
    publish(&member.broker, &topic, vec![record("k", "on")]).await;
    let got = member.take(1).await;
    assert_eq!(bodies(&got), ["on"]);
    settle(got);
    member.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_token_comes_from_a_file_and_is_read_again() {
    let file = std::env::temp_dir().join(unique("token"));
    std::fs::write(&file, jwt(Duration::from_secs(3)) + "\n").expect("a file");
    let topic = kit::topic("file", 1, &[]).await;
    let mut member = kit::member(config(Tokens::from_file(&file)), &topic).await;
    let end = SystemTime::now() + Duration::from_secs(4);
    std::fs::write(&file, jwt(Duration::from_secs(3600))).expect("a file");
    while SystemTime::now() < end {
        publish(&member.broker, &topic, vec![record("k", "on")]).await;
        settle(member.take(1).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    member.close().await;
    std::fs::remove_file(&file).expect("a file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_token_that_the_broker_does_not_take_is_named() {
    // The client trusts the expiry that it is given; the broker reads the token itself, which has
    // expired.
    let over = Token {
        expires_at: SystemTime::now() + Duration::from_secs(60),
        ..Token::from_jwt(&jwt(Duration::ZERO)).expect("a token")
    };
    let text = refusal(Tokens::new(move || {
        let over = over.clone();
        async move { Ok::<_, Infallible>(over) }
    }))
    .await;
    assert!(text.contains("invalid_token"), "{text}");
    assert!(text.contains(&address("BUSLANE_TEST_KAFKA_SASL_SSL")), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_why_there_is_no_token_is_named() {
    let text = refusal(Tokens::new(|| async { Err::<Token, _>("the token server is away") })).await;
    assert!(text.ends_with("no token for the login: the token server is away"), "{text}");
    let text = refusal(Tokens::from_file("no-such-file.jwt")).await;
    assert!(text.contains("no-such-file.jwt: No such file"), "{text}");
    let (over, _) = counted(Duration::ZERO);
    let text = refusal(over).await;
    assert!(text.contains("has expired"), "{text}");
    let text = refusal(Tokens::new(std::future::pending::<Result<Token, Infallible>>)).await;
    assert!(text.contains("no answer within 5s"), "{text}");
}
