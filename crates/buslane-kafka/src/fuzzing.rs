//! What the fuzz targets call. Exists in their builds alone.
#![allow(missing_docs, reason = "each function is a call of the one whose name it has")]

use crate::native;
use buslane_core::Headers;
use std::ffi::CString;

/// The headers of a record as librdkafka names them; a name ends at its first zero byte.
pub fn headers<'a>(list: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Headers {
    let mut headers = Headers::builder();
    for (name, value) in list {
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = CString::new(name).expect("no zero byte is left");
        native::push(&mut headers, &name, value);
    }
    headers.build()
}
