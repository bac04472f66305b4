//! Health and metrics, asked for in plain text over a socket.

use super::kit::{ask, free, served, until_ready, watchful};
use buslane::{
    Config, Event, EventBus, Retry,
    http::{HttpError, Listen, router, serve},
};
use std::{net::SocketAddr, time::Duration};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_bus_that_is_well_answers_with_200_and_one_that_ends_is_not_ready() {
    let bus = EventBus::connect(watchful()).await.unwrap();
    let server = served(&bus).await;
    let address = server.address();
    until_ready(address).await;
    for path in ["/livez", "/readyz", "/startupz"] {
        let answer = ask(address, "GET", path).await;
        assert_eq!(
            (answer.code, answer.header("content-type")),
            (200, Some("application/json")),
            "{path}"
        );
        let json = answer.json();
        assert_eq!(
            (&json["overall"], &json["live"], &json["ready"]),
            (&"healthy".into(), &true.into(), &true.into())
        );
        let components = json["components"].as_array().unwrap();
        assert_eq!(components.len(), 6);
        for component in components {
            let name = component["name"].as_str().unwrap();
            assert_eq!(&json["by_component"][name], component, "{path}");
        }
        assert!(
            json["last_check"].is_string() && json["metrics"]["capacity"].is_number(),
            "{json}"
        );
    }
    let metrics = ask(address, "GET", "/metrics").await;
    assert_eq!((metrics.code, &*metrics.body), (200, "a_metric 1\n"));
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let status = ask(address, "GET", "/status").await.json();
    assert_eq!((&status["backend"], &status["pool"]), (&"memory".into(), &"keyed".into()));
    assert_eq!(
        (&status["health"]["overall"], &status["recovery"]["phase"]),
        (&"healthy".into(), &"off".into())
    );

    bus.shutdown(Duration::from_secs(10)).await.unwrap();
    let codes = ["/livez", "/readyz", "/startupz", "/status"].map(|path| ask(address, "GET", path));
    let codes: Vec<u16> =
        futures_util::future::join_all(codes).await.iter().map(|answer| answer.code).collect();
    assert_eq!(codes, [200, 503, 200, 200]);
    server.close().await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_fault_stands_in_the_answer_by_its_name() {
    let bus = EventBus::connect(watchful()).await.unwrap();
    let server = served(&bus).await;
    let handler = async |_: Event| Err::<(), _>("not today");
    let orders = bus.subscription("orders").retry(Retry::attempts(1)).block_failed();
    orders.envelopes(handler).await.unwrap();
    bus.publish_envelope("orders", buslane::Envelope::new("a", "Placed", &1).unwrap())
        .await
        .unwrap();
    until_ready(server.address()).await;
    let named = async {
        loop {
            let answer = ask(server.address(), "GET", "/readyz").await;
            let json = answer.json();
            if json["overall"] == "degraded" {
                return (answer.code, json);
            }
        }
    };
    let (code, json) = tokio::time::timeout(buslane_testkit::deadline::LIMIT, named).await.unwrap();
    assert_eq!(code, 200, "other keys are served");
    let handlers = &json["components"][3];
    assert_eq!(
        (&handlers["name"], &handlers["condition"]),
        (&"handlers".into(), &"degraded".into())
    );
    assert_eq!(handlers["faults"][0]["name"], "blocked_key");
    let fault = &handlers["faults"][0];
    assert!(
        fault["subject"].as_str().unwrap().ends_with(" key a") && fault["detail"] == "not today",
        "{json}"
    );
    let status = ask(server.address(), "GET", "/status").await.json();
    let blocked = &status["blocked"][0];
    assert_eq!((&status["blocked_keys"], &blocked["key"]), (&1.into(), &"a".into()), "{status}");
    assert_eq!(
        (&blocked["topic"], &blocked["error"]),
        (&"orders".into(), &"not today".into()),
        "{status}"
    );
    bus.shutdown(Duration::ZERO).await.unwrap();
    server.close().await;
}

#[tokio::test]
async fn o3_unknown_paths_and_methods_are_answered_as_http_wants_it() {
    let bus = EventBus::connect(watchful()).await.unwrap();
    let server = served(&bus).await;
    let address = server.address();
    until_ready(address).await;
    for path in ["/", "/nothing", "/livez/", "/livez/x", "/METRICS", "/../livez"] {
        assert_eq!(ask(address, "GET", path).await.code, 404, "{path}");
    }
    for path in ["/livez", "/readyz", "/startupz", "/metrics", "/status"] {
        let (get, head) = (ask(address, "GET", path).await, ask(address, "HEAD", path).await);
        assert_eq!((get.code, head.code, &*head.body), (200, 200, ""), "{path}");
        assert_eq!(get.header("content-type"), head.header("content-type"));
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let answer = ask(address, method, path).await;
            assert_eq!(
                (answer.code, answer.header("allow")),
                (405, Some("GET,HEAD")),
                "{method} {path}"
            );
        }
    }
    server.close().await;
    // Without a page there is none.
    let server = serve(router(&bus), free()).await.unwrap();
    assert_eq!(ask(server.address(), "GET", "/metrics").await.code, 404);
    drop(server);
    bus.shutdown(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn o3_a_public_address_needs_leave() {
    let bus = EventBus::connect(Config::default()).await.unwrap();
    for text in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:80"] {
        let address: SocketAddr = text.parse().unwrap();
        let error = serve(router(&bus), Listen::on(address)).await.unwrap_err();
        let expected = format!(
            "listen: must be a loopback address unless allow_public is set, found {address}"
        );
        assert_eq!(error.to_string(), expected);
    }
    for listen in [
        free(),
        Listen::on("127.0.0.2:0".parse().unwrap()),
        Listen::public("0.0.0.0:0".parse().unwrap()),
    ] {
        let server = serve(router(&bus), listen).await.unwrap();
        assert_ne!(server.address().port(), 0);
        let again = serve(router(&bus), Listen::public(server.address())).await.unwrap_err();
        assert!(
            matches!(again, HttpError::Address { address, .. } if address == server.address()),
            "{again}"
        );
        server.close().await;
    }
    bus.shutdown(Duration::ZERO).await.unwrap();
}
