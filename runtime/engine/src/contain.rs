//! Contains panics: whatever a connector does, the process goes on, and the error says whose call it was.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use connector_api::{Error, Result};
use futures::FutureExt as _;

/// Awaits a connector's call; a panic in it becomes a `Fatal` error that names the connector and the call.
///
/// What the call was working on must not be used after a panic, except to drop it.
pub(crate) async fn contain<T>(
    connector: &str,
    call: &'static str,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    AssertUnwindSafe(future).catch_unwind().await.unwrap_or_else(|panic| Err(from_panic(connector, call, &*panic)))
}

/// The same for a call that does not wait.
pub(crate) fn contain_call<T>(connector: &str, call: &'static str, function: impl FnOnce() -> T) -> Result<T> {
    std::panic::catch_unwind(AssertUnwindSafe(function)).map_err(|panic| from_panic(connector, call, &*panic))
}

/// The error for a panic.
pub(crate) fn from_panic(connector: &str, call: &'static str, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    Error::fatal("a connector panicked: this is a bug in it")
        .with("connector", connector)
        .with("call", call)
        .with("panic", text)
}
