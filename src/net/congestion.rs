//! Congestion control of connections that do not leave this host.
//!
//! BBR, where a host has it as default, paces: it sends what it has in small parts, each on a timer. On loopback that protects nothing
//! and doubles the CPU time of a transfer. Connections over a network keep what the host's administrator chose.

use socket2::SockRef;
use std::net::IpAddr;
use std::sync::OnceLock;

/// Congestion controls that pace by themselves begin with this.
const PACING: &[u8] = b"bbr";
/// In every kernel, and for every user.
const UNPACED: &[u8] = b"reno";

/// To be called before `socket` connects to `address` or listens there: what it accepts inherits it, and one that is connected goes on
/// pacing by the timer that it has.
pub fn unpace_on_loopback(socket: SockRef<'_>, address: IpAddr) {
    static HOST_PACES: OnceLock<bool> = OnceLock::new();
    if address.is_loopback() && *HOST_PACES.get_or_init(|| paces(&socket)) {
        // Without it bytes come later, and still come.
        let _ = socket.set_tcp_congestion(UNPACED);
    }
}

fn paces(socket: &SockRef<'_>) -> bool {
    socket.tcp_congestion().is_ok_and(|name| name.starts_with(PACING))
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    #[test]
    fn nothing_paces_on_loopback_and_other_connections_are_as_the_host_wants_them() {
        let new = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let untouched = new().tcp_congestion().expect("a name");
        let abroad = new();
        unpace_on_loopback(SockRef::from(&abroad), Ipv4Addr::new(192, 0, 2, 1).into());
        assert_eq!(abroad.tcp_congestion().expect("a name"), untouched);

        let local = new();
        let here = Ipv4Addr::LOCALHOST;
        unpace_on_loopback(SockRef::from(&local), here.into());
        assert!(!paces(&SockRef::from(&local)));
        local
            .bind(&std::net::SocketAddr::from((here, 0)).into())
            .expect("bound");
        local.listen(1).expect("listening");
        let listener = TcpListener::from(local);
        let _client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let (accepted, _) = listener.accept().expect("one is waiting");
        assert!(!paces(&SockRef::from(&accepted)));
    }
}
