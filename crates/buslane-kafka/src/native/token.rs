//! Hands a client the token of its next login. rdkafka has only a callback, which the admin client
//! never calls.

use rdkafka::{
    bindings as sys,
    client::{Client, ClientContext},
    types::RDKafkaRespErr,
};
use std::{
    ffi::{CStr, CString},
    ptr,
};

const REASON_BYTES: usize = 512;

/// Gives `client` a token that holds until `expires_ms`, in milliseconds since 1970.
pub(crate) fn set_token<C: ClientContext>(
    client: &Client<C>,
    token: &str,
    principal: &str,
    expires_ms: i64,
) -> Result<(), String> {
    let text =
        |text: &str| CString::new(text).map_err(|_| "the token holds a zero byte".to_owned());
    let (token, principal) = (text(token)?, text(principal)?);
    let mut reason = [0; REASON_BYTES];
    // SAFETY: client and texts are alive during the call, which copies them; the reason is at most
    // as long as told and ends with a zero byte.
    unsafe {
        let code = sys::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            token.as_ptr(),
            expires_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            reason.as_mut_ptr(),
            reason.len(),
        );
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        Err(CStr::from_ptr(reason.as_ptr()).to_string_lossy().into_owned())
    }
}
