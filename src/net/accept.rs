//! Accepting connections: pauses where the host has no more files, so that a full table does not become a busy loop.

use crate::counters::{Counters, Limit};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

const PAUSE: Duration = Duration::from_millis(100);

/// The next connection. Errors of single connections are passed over.
pub async fn next(listener: &TcpListener, counters: &Counters) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                // EMFILE and its kind come back at once as long as they last.
                counters.limit_hit(Limit::OpenFiles);
                tracing::warn!(
                    event = "limit_hit",
                    limit = Limit::OpenFiles.label(),
                    reason = %error,
                    "cannot accept; trying again every 0.1 s. Raise the limit of open files:  ulimit -n 65536"
                );
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
