//! What `/rollout` answers: how a rollout stands, and to who has the token, changes of it.

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

/// Bytes of a body: the longest plan has a hundred stages.
const MOST: usize = 4_096;
/// Says who asks, for logs and events.
const OPERATOR: &str = "x-operator";
/// Characters of that name.
const LONGEST_NAME: usize = 64;

pub(super) fn rollout() -> MethodRouter<EventBus> {
    get(async |State(bus): State<EventBus>| json(StatusCode::OK, &bus.rollout().status()))
        .put(change)
        .layer(DefaultBodyLimit::max(MOST))
}

/// Why a change is refused.
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
    allow(bus, request.headers())?;
    if let Some(refusal) = bad_name {
        return Err(refusal);
    }
    let body = Bytes::from_request(request, &()).await.map_err(|rejection| {
        let reason = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => format!("the body must be at most {MOST} bytes long"),
            _ => "the body ended too early".to_owned(),
        };
        Refusal { code: rejection.status(), reason }
    })?;
    let action =
        Action::parse(&body).map_err(|reason| Refusal { code: StatusCode::BAD_REQUEST, reason })?;
    act(bus, &action, by)?;
    Ok(action)
}

/// Lets pass who has the token. Whether there is one at all is no secret.
fn allow(bus: &EventBus, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = &bus.config().rollout.token else {
        let reason =
            "no token is configured: set rollout.token or BUSLANE_ROLLOUT_TOKEN".to_owned();
        return Err(Refusal { code: StatusCode::FORBIDDEN, reason });
    };
    let said = headers.get(header::AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    let said =
        said.split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    // Takes the same time wherever the first difference is; that the length shows does not help to
    // guess.
    if said.is_some_and(|(_, said)| bool::from(said.ct_eq(token.expose().as_bytes()))) {
        return Ok(());
    }
    Err(Refusal {
        code: StatusCode::UNAUTHORIZED,
        reason: "needs Authorization: Bearer TOKEN with the token".to_owned(),
    })
}

/// Who asks; empty when nobody is named.
fn operator(headers: &HeaderMap) -> Result<String, Refusal> {
    let name = headers.get(OPERATOR).map_or(&b""[..], HeaderValue::as_bytes);
    match std::str::from_utf8(name) {
        Ok(text)
            if name.len() <= LONGEST_NAME
                && name.iter().all(|byte| (b' '..=b'~').contains(byte)) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(Refusal {
            code: StatusCode::BAD_REQUEST,
            reason: format!(
                "X-Operator: must be at most {LONGEST_NAME} visible ASCII characters and spaces"
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
            RolloutError::NoPlan | RolloutError::LastStage => StatusCode::CONFLICT,
            RolloutError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        Refusal { code, reason: error.to_string() }
    })
}
