//! `/rollout`: `GET` returns the state of the rollout, `PUT` changes it for those with the token.

mod action;

use super::json;
use crate::{EventBus, rollout::RolloutError};
use action::Action;
use axum::{
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use serde::Serialize;
use std::net::SocketAddr;
use subtle::ConstantTimeEq;
use tracing::{info, warn};

/// The largest body in bytes; the longest plan has a hundred stages.
const MAX_BODY: usize = 4_096;
/// The header with the operator's name, for logs and events.
const OPERATOR: &str = "x-operator";
/// The longest name, in characters.
const MAX_NAME: usize = 64;

pub(super) fn rollout() -> MethodRouter<EventBus> {
    get(async |State(bus): State<EventBus>| json(StatusCode::OK, &bus.rollout().status()))
        .put(change)
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// The reason for refusing a change.
struct Refusal {
    code: StatusCode,
    reason: String,
}

#[derive(Serialize)]
struct Refused<'a> {
    error: &'a str,
}

async fn change(State(bus): State<EventBus>, request: Request) -> Response {
    let address =
        request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| *address);
    let address = address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
    let name = operator(request.headers());
    let by = name
        .as_deref()
        .map_or_else(|_| "http".to_owned(), |name| format!("http {name}").trim_end().to_owned());
    let before = bus.rollout().status().percent;
    match attempt(&bus, &by, name.err(), request).await {
        Ok(action) => {
            let status = bus.rollout().status();
            info!(by, address, change = %action, before, after = status.percent, "rollout changed by hand");
            json(StatusCode::OK, &status)
        }
        Err(Refusal { code, reason }) => {
            warn!(by, address, code = code.as_u16(), reason, "rollout change refused");
            let mut response = json(code, &Refused { error: &reason });
            if code == StatusCode::UNAUTHORIZED {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response.into_response()
        }
    }
}

async fn attempt(
    bus: &EventBus,
    by: &str,
    bad_name: Option<Refusal>,
    request: Request,
) -> Result<Action, Refusal> {
    authorize(bus, request.headers())?;
    if let Some(refusal) = bad_name {
        return Err(refusal);
    }
    let body = Bytes::from_request(request, &()).await.map_err(|rejection| {
        let reason = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                format!("the body must be at most {MAX_BODY} bytes long")
            }
            _ => "the body ended too early".to_owned(),
        };
        Refusal { code: rejection.status(), reason }
    })?;
    let action =
        Action::parse(&body).map_err(|reason| Refusal { code: StatusCode::BAD_REQUEST, reason })?;
    act(bus, &action, by)?;
    Ok(action)
}

/// Accepts requests with the bearer token. Whether a token is configured is no secret.
fn authorize(bus: &EventBus, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = &bus.config().rollout.token else {
        let reason =
            "no token is configured: set rollout.token or BUSLANE_ROLLOUT_TOKEN".to_owned();
        return Err(Refusal { code: StatusCode::FORBIDDEN, reason });
    };
    let given = headers.get(header::AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    let given =
        given.split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    // In constant time, so that the duration tells nothing about the token but its length.
    if given.is_some_and(|(_, given)| bool::from(given.ct_eq(token.expose().as_bytes()))) {
        return Ok(());
    }
    Err(Refusal {
        code: StatusCode::UNAUTHORIZED,
        reason: "needs Authorization: Bearer TOKEN with the token".to_owned(),
    })
}

/// The operator's name; empty without the header.
fn operator(headers: &HeaderMap) -> Result<String, Refusal> {
    let name = headers.get(OPERATOR).map_or(&b""[..], HeaderValue::as_bytes);
    match std::str::from_utf8(name) {
        Ok(text)
            if name.len() <= MAX_NAME && name.iter().all(|byte| (b' '..=b'~').contains(byte)) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(Refusal {
            code: StatusCode::BAD_REQUEST,
            reason: format!(
                "X-Operator: must be at most {MAX_NAME} visible ASCII characters and spaces"
            ),
        }),
    }
}

fn act(bus: &EventBus, action: &Action, by: &str) -> Result<(), Refusal> {
    let rollout = bus.rollout();
    let result = match action {
        Action::Percent(percent) => rollout.set_percent(*percent, by),
        Action::Begin(plan) => rollout.begin(plan.clone(), by),
        Action::Advance => rollout.advance(by),
        Action::RollBack if bus.status().closed => Err(RolloutError::Closed),
        Action::RollBack => {
            rollout.roll_back(by);
            Ok(())
        }
    };
    result.map_err(|error| {
        let code = match error {
            RolloutError::NoPlan
            | RolloutError::LastStage
            | RolloutError::NoActorPool
            | RolloutError::OwnPool => StatusCode::CONFLICT,
            RolloutError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        Refusal { code, reason: error.to_string() }
    })
}
