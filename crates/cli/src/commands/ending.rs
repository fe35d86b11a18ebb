//! When commands end that run until they are told to.

use crate::failure::Result;
use subrosa::Error;

/// Ctrl-C, or what service managers send.
pub(super) async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

/// From now on ends the process, whatever it is at, once it is told to end. Without this the first process of a
/// container would not end: signals that it does not handle are kept from it.
///
/// **Errors:** [`Error::Io`] if there is no thread for it.
pub(super) fn end_when_told() -> Result<()> {
    let io = |e: std::io::Error| Error::Io { message: format!("cannot wait for signals: {e}"), hint: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
    let waiting = move || {
        runtime.block_on(told_to_end());
        std::process::exit(0);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(waiting).map_err(io)?;
    Ok(())
}
