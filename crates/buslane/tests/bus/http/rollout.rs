//! `/rollout`, asked for in plain text over a socket. SPEC: S3, S6

use super::kit::{Answer, ask, free, say, served};
use buslane::{
    Config, EventBus,
    http::{Server, router, serve},
};
use buslane_bus_suite::LogCapture;
use std::{net::SocketAddr, time::Duration};
use tracing::{Level, subscriber::DefaultGuard};

const TOKEN: &str = "an-operators-token";

/// A bus, its server, and what it logs. All of it runs on the thread of the test.
struct Ground {
    bus: EventBus,
    server: Server,
    journal: LogCapture,
    _log: DefaultGuard,
}

impl Ground {
    async fn new(token: Option<&str>) -> Self {
        let journal = LogCapture::default();
        let log = tracing::subscriber::set_default(journal.clone());
        let mut config = Config::default();
        config.rollout.token = token.map(Into::into);
        let bus = EventBus::connect(config).await.unwrap();
        let server = served(&bus).await;
        Self { bus, server, journal, _log: log }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Puts a body, with the token.
    async fn put(&self, body: &str) -> Answer {
        put(self.address(), &format!("Authorization: Bearer {TOKEN}\r\n"), body).await
    }

    fn percent(&self) -> u8 {
        self.bus.rollout().status().percent
    }

    /// The one line that the last call has logged: its level, its text and these fields.
    fn line<const N: usize>(&self, fields: [&str; N]) -> (Level, String, [String; N]) {
        let lines = self.journal.lines();
        let line = lines.iter().rev().find(|line| line.text.starts_with("rollout change")).unwrap();
        (line.level, line.text.clone(), fields.map(|name| line.field(name).to_owned()))
    }

    fn audits(&self) -> usize {
        self.journal.saying("rollout changed by hand").len()
            + self.journal.saying("rollout change refused").len()
    }

    async fn end(self) {
        self.bus.shutdown(Duration::ZERO).await.unwrap();
        self.server.close().await;
    }
}

async fn put(address: SocketAddr, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!(
        "PUT /rollout HTTP/1.1\r\nHost: bus\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    say(address, &(head + body)).await
}

#[tokio::test]
async fn s3_who_has_the_token_changes_the_rollout_and_is_named() {
    let ground = Ground::new(Some(TOKEN)).await;
    let status = ask(ground.address(), "GET", "/rollout").await;
    assert_eq!((status.code, status.header("content-type")), (200, Some("application/json")));
    assert_eq!(
        (&status.json()["percent"], &status.json()["set_by"]),
        (&0.into(), &"default".into())
    );

    let named = format!("Authorization: bearer {TOKEN}\r\nX-Operator: alice\r\n");
    let answer = put(ground.address(), &named, r#"{"percent": 50}"#).await;
    assert_eq!(
        (answer.code, answer.header("content-type")),
        (200, Some("application/json")),
        "{}",
        answer.body
    );
    assert_eq!(answer.json()["percent"], 50);
    assert_eq!(answer.json()["set_by"], "http alice");
    assert_eq!(ask(ground.address(), "GET", "/rollout").await.json()["percent"], 50);
    let (level, text, fields) = ground.line(["by", "change", "before", "after"]);
    assert_eq!((level, &*text), (Level::INFO, "rollout changed by hand"));
    assert_eq!(fields, ["http alice", "percent 50", "0", "50"]);
    let [address] = ground.line(["address"]).2;
    assert!(address.starts_with("127.0.0.1:"), "{address}");

    for (body, percent, change, before) in [
        (r#"{"plan": "10 for 1h, 50 for 1h, 100"}"#, 10, "plan 10 for 1h, 50 for 1h, 100", "50"),
        (r#"{"advance": true}"#, 50, "advance", "10"),
        (r#"{"advance": true}"#, 100, "advance", "50"),
        (r#"{"roll_back": true}"#, 0, "roll back", "100"),
        (r#"{"plan": "5, 100", "advance": "automatic"}"#, 5, "plan 5, 100, automatic", "0"),
        (r#"{"percent": 0}"#, 0, "percent 0", "5"),
    ] {
        let answer = ground.put(body).await;
        assert_eq!(
            (answer.code, &answer.json()["percent"]),
            (200, &percent.into()),
            "{body}: {}",
            answer.body
        );
        assert_eq!(
            ground.line(["by", "change", "before", "after"]).2,
            ["http", change, before, &percent.to_string()]
        );
    }
    let status = ground.bus.rollout().status();
    assert_eq!((status.percent, status.roll_backs, status.plan.is_none()), (0, 1, true));
    assert_eq!(ground.audits(), 7, "one line for each");
    ground.end().await;
}

#[tokio::test]
async fn s3_a_plan_is_shown_while_it_runs() {
    let ground = Ground::new(Some(TOKEN)).await;
    let plan =
        ground.put(r#"{"plan": "10 for 1h,100", "advance": "automatic"}"#).await.json()["plan"]
            .clone();
    assert_eq!(
        (&plan["stages"], &plan["advance"]),
        (&"10 for 1h, 100".into(), &"automatic".into())
    );
    assert_eq!(plan["stage"], 0);
    ground.put(r#"{"advance": true}"#).await;
    assert_eq!(ask(ground.address(), "GET", "/rollout").await.json()["plan"]["stage"], 1);
    let last = ground.put(r#"{"advance": true}"#).await;
    assert_eq!((last.code, &last.json()["error"]), (409, &"the plan is at its last stage".into()));
    ground.put(r#"{"roll_back": true}"#).await;
    let none = ground.put(r#"{"advance": true}"#).await;
    assert_eq!((none.code, &none.json()["error"]), (409, &"no plan runs".into()));
    let (level, text, fields) = ground.line(["code", "reason", "by"]);
    assert_eq!((level, &*text), (Level::WARN, "rollout change refused"));
    assert_eq!(fields, ["409", "no plan runs", "http"]);
    ground.end().await;
}

#[tokio::test]
async fn s3_without_the_token_nothing_changes() {
    let ground = Ground::new(Some(TOKEN)).await;
    let same_length = "an-operators-tokem";
    assert_eq!(same_length.len(), TOKEN.len());
    for said in [
        String::new(),
        "Authorization: Bearer\r\n".to_owned(),
        "Authorization: Bearer \r\n".to_owned(),
        format!("Authorization: Bearer {same_length}\r\n"),
        format!("Authorization: Bearer {}\r\n", &TOKEN[1..]),
        format!("Authorization: Bearer {}\r\n", &TOKEN[..TOKEN.len() - 1]),
        format!("Authorization: Bearer {TOKEN}x\r\n"),
        format!("Authorization: Bearer {}\r\n", TOKEN.to_uppercase()),
        format!("Authorization: Basic {TOKEN}\r\n"),
        format!("Authorization: {TOKEN}\r\n"),
        format!("X-Authorization: Bearer {TOKEN}\r\n"),
        format!("X-Operator: mallory\r\nCookie: token={TOKEN}\r\n"),
    ] {
        let answer = put(ground.address(), &said, r#"{"percent": 50}"#).await;
        assert_eq!(
            (answer.code, answer.header("www-authenticate")),
            (401, Some("Bearer")),
            "{said:?}"
        );
        assert_eq!(answer.json()["error"], "needs Authorization: Bearer TOKEN with the token");
        let (level, text, [code]) = ground.line(["code"]);
        assert_eq!((level, &*text, &*code), (Level::WARN, "rollout change refused", "401"));
    }
    assert_eq!(ground.line(["by"]).2, ["http mallory"]);
    assert_eq!((ground.percent(), ground.audits()), (0, 12));
    let said: String = ground.journal.lines().iter().map(ToString::to_string).collect();
    assert!(!said.contains(TOKEN) && !said.contains(same_length), "no token is logged");
    // Who has it may look, as anybody may.
    assert_eq!(ask(ground.address(), "GET", "/rollout").await.code, 200);
    ground.end().await;
}

#[tokio::test]
async fn s3_without_a_configured_token_every_change_is_refused() {
    let ground = Ground::new(None).await;
    for said in ["", "Authorization: Bearer \r\n", "Authorization: Bearer an-operators-token\r\n"] {
        let answer = put(ground.address(), said, r#"{"percent": 50}"#).await;
        assert_eq!(answer.code, 403);
        let reason = "no token is configured: set rollout.token or BUSLANE_ROLLOUT_TOKEN";
        assert_eq!(answer.json()["error"], reason);
        assert_eq!(ground.line(["code", "reason"]).2, ["403", reason]);
    }
    assert_eq!((ground.percent(), ask(ground.address(), "GET", "/rollout").await.code), (0, 200));
    ground.end().await;
}

#[tokio::test]
async fn s3_a_body_that_breaks_a_rule_is_told_which() {
    let ground = Ground::new(Some(TOKEN)).await;
    let long = format!("{{\"plan\": \"{}\"}}", " ".repeat(5_000));
    for (body, code, said) in [
        ("", 400, "exactly one of percent, plan"),
        ("percent=50", 400, "exactly one of percent, plan"),
        ("{}", 400, "exactly one of percent, plan"),
        (r#"{"percent": 10, "roll_back": true}"#, 400, "exactly one of percent, plan"),
        (r#"{"percent": 101}"#, 400, "percent: must be a whole number from 0 to 100, found 101"),
        (
            r#"{"share": 10}"#,
            400,
            "unknown field `share`, expected one of `percent`, `plan`, `advance`, `roll_back`",
        ),
        (
            r#"{"plan": "50, 10"}"#,
            400,
            "plan: the percentages of a plan must rise, found 10 after 50",
        ),
        (&long, 413, "the body must be at most 4096 bytes long"),
    ] {
        let answer = ground.put(body).await;
        assert_eq!(answer.code, code, "{body}: {}", answer.body);
        let json = answer.json();
        assert!(json["error"].as_str().unwrap().contains(said), "{body}: {json}");
        let (level, text, fields) = ground.line(["code", "reason"]);
        assert_eq!((level, &*text), (Level::WARN, "rollout change refused"));
        assert_eq!(fields, [&code.to_string(), json["error"].as_str().unwrap()]);
    }
    for name in ["a".repeat(65), "zo\u{eb}".to_owned(), "a\tb".to_owned()] {
        let headers = format!("Authorization: Bearer {TOKEN}\r\nX-Operator: {name}\r\n");
        let answer = put(ground.address(), &headers, r#"{"percent": 50}"#).await;
        let expected = "X-Operator: must be at most 64 visible ASCII characters and spaces";
        assert_eq!((answer.code, &answer.json()["error"]), (400, &expected.into()), "{name:?}");
    }
    assert_eq!((ground.percent(), ground.audits()), (0, 11));
    // In pieces, and too much of them.
    let head = format!(
        "PUT /rollout HTTP/1.1\r\nHost: bus\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n"
    );
    let pieces = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n1400\r\n{}\r\n0\r\n\r\n",
        " ".repeat(0x1400)
    );
    assert_eq!(say(ground.address(), &pieces).await.code, 413);
    let body = r#"{"percent": 7}"#;
    let pieces =
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    assert_eq!((say(ground.address(), &pieces).await.code, ground.percent()), (200, 7));
    ground.end().await;
}

#[tokio::test]
async fn s3_other_methods_are_not_allowed_and_not_looked_at() {
    let ground = Ground::new(Some(TOKEN)).await;
    for method in ["POST", "DELETE", "PATCH", "OPTIONS"] {
        let answer = ask(ground.address(), method, "/rollout").await;
        assert_eq!((answer.code, answer.header("allow")), (405, Some("GET,HEAD,PUT")), "{method}");
    }
    let head = ask(ground.address(), "HEAD", "/rollout").await;
    assert_eq!((head.code, &*head.body), (200, ""));
    assert_eq!(ground.audits(), 0);
    ground.end().await;
}

#[tokio::test]
async fn s3_a_closed_bus_changes_nothing() {
    let ground = Ground::new(Some(TOKEN)).await;
    assert_eq!(ground.put(r#"{"percent": 50}"#).await.code, 200);
    ground.bus.shutdown(Duration::from_secs(10)).await.unwrap();
    for body in [
        r#"{"percent": 10}"#,
        r#"{"plan": "60"}"#,
        r#"{"advance": true}"#,
        r#"{"roll_back": true}"#,
    ] {
        let answer = ground.put(body).await;
        assert_eq!((answer.code, ground.percent()), (503, 50), "{body}: {}", answer.body);
        assert_eq!(ground.line(["code"]).2, ["503"]);
    }
    assert_eq!(ask(ground.address(), "GET", "/rollout").await.code, 200);
    ground.end().await;
}

/// A router of an application's own server need not know where a request comes from.
#[tokio::test]
async fn s3_the_router_works_in_a_server_that_does_not_tell_addresses() {
    let ground = Ground::new(Some(TOKEN)).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let own = axum::Router::new().nest("/bus", router(&ground.bus));
    let task = tokio::spawn(async move { axum::serve(listener, own).await });
    let request = format!(
        "PUT /bus/rollout HTTP/1.1\r\nHost: bus\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 13\r\n\r\n{{\"percent\":3}}"
    );
    assert_eq!((say(address, &request).await.code, ground.percent()), (200, 3));
    assert_eq!(ground.line(["address"]).2, ["unknown"]);
    task.abort();
    let second = serve(router(&ground.bus), free()).await.unwrap();
    assert_eq!(ask(second.address(), "GET", "/rollout").await.json()["percent"], 3);
    second.close().await;
    ground.end().await;
}
