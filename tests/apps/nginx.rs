//! nginx, unprivileged, on a port and a directory of its own.

use crate::tools::{Directory, Running, hash, noise, program, signal};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

pub struct Nginx {
    process: Running,
    pub address: SocketAddr,
    directory: Directory,
}

/// A file that it serves.
#[derive(Debug, Clone)]
pub struct Served {
    pub name: String,
    pub len: u64,
    pub sha256: String,
}

impl Nginx {
    pub fn start(ip: IpAddr) -> Self {
        Self::start_with(ip, "", "")
    }

    /// With more parameters of `listen`, such as `http2`, and more of a server's configuration.
    pub fn start_with(ip: IpAddr, listen: &str, server: &str) -> Self {
        let directory = Directory::new();
        for name in ["files", "up", "tmp"] {
            std::fs::create_dir(directory.join(name)).expect("a directory");
        }
        // The port may be taken between its release and nginx's bind: then another one.
        for _ in 0..10 {
            let free = TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr());
            let address = free.expect("a free port");
            let config = config(&directory, address, listen, server);
            let file = directory.join("nginx.conf");
            std::fs::write(&file, config).expect("written");
            let mut nginx = program("nginx", "nginx-light");
            nginx
                .arg("-e")
                .arg(directory.join("error.log"))
                .arg("-p")
                .arg(&*directory)
                .arg("-c")
                .arg(&file);
            let child = nginx
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            let mut process = Running(child.expect("nginx"));
            let until = Instant::now() + Duration::from_secs(20);
            while process.0.try_wait().expect("wait").is_none() && Instant::now() < until {
                // Its pid file is written once it holds the port.
                if directory.join("pid").exists() && TcpStream::connect(address).is_ok() {
                    return Self {
                        process,
                        address,
                        directory,
                    };
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        let log = std::fs::read_to_string(directory.join("error.log"));
        panic!("nginx does not start: {log:?}");
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a PUT to `/up/NAME` ends.
    pub fn uploaded(&self, name: &str) -> PathBuf {
        self.directory.join("up").join(name)
    }

    /// `len` bytes under `/NAME`: noise, with holes in what is large.
    pub fn serve(&self, name: &str, len: u64) -> Served {
        const CHUNK: u64 = 1 << 20;
        let path = self.directory.join("files").join(name);
        let mut file = File::create(&path).expect("created");
        file.set_len(len).expect("room on the disk");
        let chunk = noise(len, usize::try_from(CHUNK.min(len)).expect("small"));
        for start in (0..len).step_by(CHUNK as usize * if len > 32 * CHUNK { 3 } else { 1 }) {
            file.seek(SeekFrom::Start(start)).expect("seek");
            let n = chunk.len().min(usize::try_from(len - start).unwrap_or(usize::MAX));
            // Not the same everywhere, so that a block in the wrong place shows.
            let turn = usize::try_from(start / CHUNK).expect("small") % chunk.len();
            file.write_all(&chunk[turn..n.max(turn)]).expect("written");
            file.write_all(&chunk[..turn.min(n)]).expect("written");
        }
        file.set_len(len).expect("cut");
        let (sha256, total) = hash(File::open(&path).expect("open"));
        assert_eq!(total, len);
        Served {
            name: name.to_owned(),
            len,
            sha256,
        }
    }

    /// `HUP` reloads, `TERM` stops at once, `QUIT` when what is open has ended.
    pub fn signal(&self, name: &str) {
        signal(self.process.0.id(), name);
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A master that is killed leaves its workers behind.
        let _ = std::process::Command::new("kill")
            .arg(self.process.0.id().to_string())
            .status();
        let until = Instant::now() + Duration::from_secs(10);
        while matches!(self.process.0.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn config(directory: &Path, address: SocketAddr, listen: &str, server: &str) -> String {
    let directory = directory.display();
    // Only root may say who the workers are.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        "{user}
        daemon off;
        worker_processes 1;
        pid {directory}/pid;
        error_log {directory}/error.log info;
        events {{ worker_connections 1024; }}
        http {{
            access_log off;
            sendfile on;
            keepalive_requests 100000000;
            client_max_body_size 0;
            client_body_temp_path {directory}/tmp/body;
            proxy_temp_path {directory}/tmp/proxy;
            fastcgi_temp_path {directory}/tmp/fastcgi;
            uwsgi_temp_path {directory}/tmp/uwsgi;
            scgi_temp_path {directory}/tmp/scgi;
            server {{
                listen {address} backlog=4096 {listen};
                location / {{ root {directory}/files; }}
                location /up/ {{ root {directory}; dav_methods PUT; }}
                {server}
            }}
        }}
        "
    )
}
