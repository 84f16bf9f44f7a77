//! OpenSSH at both ends of the pair: a protocol that seals, counts and orders by itself, so it notices any byte that is wrong.

use crate::account;
use crate::harness::{Pair, SOON, connect, echo, eventually};
use crate::tools::{Directory, Running, hash, noise, on_a_free_port, program, said, until_exit};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server with host and user keys of its own. It takes the user who runs the tests, by key alone.
struct Sshd {
    process: Running,
    address: SocketAddr,
    directory: Directory,
}

fn make_key(file: &Path) {
    let mut keygen = program("ssh-keygen", "openssh-client");
    keygen
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(file);
    let said = said(&mut keygen);
    assert_eq!(said.code, Some(0), "{said:?}");
}

fn public(file: &Path) -> String {
    std::fs::read_to_string(file.with_extension("pub")).expect("a public key")
}

impl Sshd {
    fn start() -> Self {
        let directory = Directory::new();
        let (host, user) = (directory.join("host"), directory.join("user"));
        make_key(&host);
        make_key(&user);
        let authorized = directory.join("authorized");
        std::fs::write(&authorized, public(&user)).expect("written");
        std::fs::write(directory.join("known"), format!("sshd {}", public(&host))).expect("written");
        if rustix::process::geteuid().is_root() {
            // Where its package's service would have it: root's sshd does not start without.
            std::fs::create_dir_all("/run/sshd").expect("created");
        }
        let (process, address) = on_a_free_port(LOCAL, |address| {
            let config = format!(
                "ListenAddress {address}
                HostKey {}
                AuthorizedKeysFile {}
                AuthenticationMethods publickey
                PermitRootLogin prohibit-password
                StrictModes no
                UsePAM no
                UseDNS no
                PidFile none
                LogLevel VERBOSE
                Subsystem sftp internal-sftp
                ",
                host.display(),
                authorized.display()
            );
            let file = directory.join("config");
            std::fs::write(&file, config).expect("written");
            let log = directory.join("log");
            let mut sshd = program("sshd", "openssh-server");
            sshd.arg("-D").arg("-e").arg("-f").arg(&file);
            sshd.stdin(Stdio::null()).stdout(Stdio::null());
            let mut process = Running::start(sshd.stderr(File::create(&log).expect("created")));
            let (ready, text) = eventually("sshd listens or ends", || {
                let text = std::fs::read_to_string(&log).expect("a log");
                let ready = text.contains("Server listening on");
                (ready || !process.is_running()).then_some((ready, text))
            });
            if ready { Ok(process) } else { Err(text) }
        });
        Self {
            process,
            address,
            directory,
        }
    }

    /// Options that all of OpenSSH's clients take; nothing of the user's own.
    fn client(&self, name: &str, at: SocketAddr) -> Command {
        let mut client = program(name, "openssh-client");
        client.args(["-F", "none", "-i"]).arg(self.directory.join("user"));
        let known = self.directory.join("known");
        for option in [
            &*format!("Port={}", at.port()),
            &format!("UserKnownHostsFile={}", known.display()),
            "GlobalKnownHostsFile=none",
            "HostKeyAlias=sshd",
            "StrictHostKeyChecking=yes",
            "UpdateHostKeys=no",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "BatchMode=yes",
            "LogLevel=ERROR",
        ] {
            client.args(["-o", option]);
        }
        client
    }

    fn ssh(&self, at: SocketAddr, args: &[&str]) -> Command {
        let mut ssh = self.client("ssh", at);
        ssh.args(args).arg(at.ip().to_string());
        ssh
    }

    fn connections(&self) -> u64 {
        let log = std::fs::read_to_string(self.directory.join("log")).expect("a log");
        log.matches("Connection from ").count() as u64
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.process.ask_to_end("TERM");
    }
}

fn behind_a_pair() -> (Sshd, Pair) {
    let sshd = Sshd::start();
    let pair = Pair::start(sshd.address);
    (sshd, pair)
}

/// Everything went through the pair, and ended in order.
fn in_order(sshd: &Sshd, pair: &Pair) {
    account::whole(pair, sshd.connections());
}

#[test]
fn a_command_says_what_it_says_and_how_it_ended() {
    let (sshd, pair) = behind_a_pair();
    for code in [0, 1, 37, 254] {
        let command = format!("echo output; echo diagnosis >&2; exit {code}");
        let said = said(sshd.ssh(pair.web.listen, &[]).arg(command));
        assert_eq!(
            (said.code, &*said.stdout, &*said.stderr),
            (Some(code), "output\n", "diagnosis\n")
        );
    }
    assert_eq!(sshd.connections(), 4);
    in_order(&sshd, &pair);
}

/// Bytes go in and come out, by `cat`.
fn comes_back(options: &[&str]) -> (Sshd, Pair) {
    const LEN: usize = 6 << 20;
    let (sshd, pair) = behind_a_pair();
    let (from, back) = (sshd.directory.join("from"), sshd.directory.join("back"));
    std::fs::write(&from, noise(16, LEN)).expect("written");
    let expected = hash(File::open(&from).expect("open"));
    for option in options {
        let mut cat = sshd.ssh(pair.web.listen, &["-o", option]);
        cat.arg("cat").stdin(File::open(&from).expect("open"));
        let status = cat.stdout(File::create(&back).expect("created")).status();
        assert!(status.expect("ssh").success(), "{option}");
        assert_eq!(hash(File::open(&back).expect("open")), expected, "{option}");
    }
    (sshd, pair)
}

#[test]
fn what_goes_in_comes_out() {
    let (sshd, pair) = comes_back(&["Compression=no", "Compression=yes"]);
    in_order(&sshd, &pair);
}

#[test]
fn what_goes_in_comes_out_while_keys_change() {
    // Both ends stop and wait for each other, again and again. A client that is done does not wait for an exchange under
    // way: it closes, and what still comes resets it. So it does without a pair.
    let (sshd, pair) = comes_back(&["RekeyLimit=1M"]);
    account::served(&pair, sshd.connections());
}

#[test]
fn files_are_copied_both_ways() {
    let (sshd, pair) = behind_a_pair();
    let at = pair.web.listen;
    let [from, there, back] = ["from", "there", "back"].map(|name| sshd.directory.join(name));
    // scp over SFTP, scp as it was, sftp.
    for (turn, len) in [(0, 0), (0, 4 << 20), (1, 4 << 20), (2, 4 << 20)] {
        std::fs::write(&from, noise(turn + 99, len)).expect("written");
        let _ = std::fs::remove_file(&there);
        let _ = std::fs::remove_file(&back);
        let host = at.ip();
        let said = if turn < 2 {
            let scp = |from: &str, to: &str| {
                let mut scp = sshd.client("scp", at);
                said(scp.args(["-O"].iter().take(turn as usize)).args([from, to]))
            };
            let up = scp(&from.display().to_string(), &format!("{host}:{}", there.display()));
            assert_eq!((up.code, &*up.stderr), (Some(0), ""), "{up:?}");
            scp(&format!("{host}:{}", there.display()), &back.display().to_string())
        } else {
            let batch = sshd.directory.join("batch");
            let (from, there, back) = (from.display(), there.display(), back.display());
            std::fs::write(&batch, format!("put {from} {there}\nget {there} {back}\n")).expect("written");
            let mut sftp = sshd.client("sftp", at);
            said(sftp.arg("-b").arg(&batch).arg(host.to_string()))
        };
        assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{said:?}");
        let expected = hash(File::open(&from).expect("open"));
        assert_eq!(hash(File::open(&there).expect("there")), expected, "{turn}: there");
        assert_eq!(hash(File::open(&back).expect("back")), expected, "{turn}: back");
    }
    in_order(&sshd, &pair);
}

#[test]
fn a_forwarded_port_leads_to_another_program() {
    const LEN: usize = 2 << 20;
    let (sshd, pair) = behind_a_pair();
    let target = echo();
    let (forward, door) = on_a_free_port(LOCAL, |door| {
        let mut ssh = sshd.ssh(
            pair.web.listen,
            &[
                "-N",
                "-o",
                "ExitOnForwardFailure=yes",
                "-L",
                &format!("{door}:{target}"),
            ],
        );
        ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut ssh = Running::start(&mut ssh);
        let open = eventually("the port is open, or ssh ends", || {
            let open = std::net::TcpStream::connect(door).is_ok();
            (open || !ssh.is_running()).then_some(open)
        });
        if open {
            Ok(ssh)
        } else {
            Err("the port is taken".to_owned())
        }
    });
    thread::scope(|scope| {
        for seed in 0..6 {
            scope.spawn(move || {
                let sent = noise(seed, LEN);
                let mut stream = connect(door);
                let mut writing = stream.try_clone().expect("a handle");
                thread::scope(|scope| {
                    scope.spawn(|| {
                        writing.write_all(&sent).expect("sent");
                        writing.shutdown(Shutdown::Write).expect("ended");
                    });
                    let mut back = Vec::new();
                    stream.read_to_end(&mut back).expect("read");
                    assert!(back == sent, "{} of {LEN} bytes came back", back.len());
                });
            });
        }
    });
    let mut forward = forward;
    forward.ask_to_end("TERM");
    in_order(&sshd, &pair);
}

#[test]
fn a_terminal_answers_is_interrupted_idles_and_goes_on() {
    let (sshd, pair) = behind_a_pair();
    let mut ssh = sshd.ssh(pair.web.listen, &["-tt"]);
    let screen = sshd.directory.join("screen");
    ssh.arg("env TERM=dumb PS1='ready> ' sh").stdin(Stdio::piped());
    let mut ssh = Running::start(
        ssh.stdout(File::create(&screen).expect("created"))
            .stderr(Stdio::piped()),
    );
    let mut keyboard = ssh.0.stdin.take().expect("piped");
    let mut types = |line: &str| {
        keyboard.write_all(line.as_bytes()).expect("typed");
        keyboard.flush().expect("typed");
    };
    let shows = |text: &str| {
        eventually(&format!("the screen shows {text:?}"), || {
            let shown = std::fs::read(&screen).expect("a screen");
            String::from_utf8_lossy(&shown).contains(text).then_some(())
        });
    };
    // The terminal shows what is typed as well: the answers must not stand in it.
    types("test -t 0 && echo a $((1 + 1))-way terminal\n");
    shows("a 2-way terminal\r\n");
    // Who says it is who is interrupted, and has the terminal by then: between two commands the shell itself would be.
    types("sh -c 'echo asleep $((2 + 1)); exec sleep 600'\n");
    shows("asleep 3\r\n");
    types("\x03");
    shows("^C");
    types("echo awake $((3 + 1))\n");
    shows("awake 4\r\n");

    // Nobody types: frames go on, and none has a byte of the app.
    let figures = |sample: &str| {
        pair.core
            .metric(&format!("wa_sidecar_{sample}_total{{direction=\"received\"}}"))
    };
    let (frames, bytes) = (figures("frames"), figures("plaintext_bytes"));
    pair.core
        .until_metric("wa_sidecar_frames_total{direction=\"received\"}", |now| {
            now >= frames + 4.0
        });
    assert_eq!(figures("plaintext_bytes"), bytes);
    types("echo here $((4 + 1))\n");
    shows("here 5\r\n");
    types("exit 6\n");
    let said = until_exit(ssh);
    assert_eq!((said.code, &*said.stderr), (Some(6), ""), "{said:?}");
    in_order(&sshd, &pair);
}

#[test]
fn a_pair_that_is_killed_ends_the_session() {
    let (sshd, mut pair) = behind_a_pair();
    for webapp in [true, false] {
        let mut ssh = sshd.ssh(pair.web.listen, &[]);
        ssh.arg("echo began; sleep 600").stdin(Stdio::piped());
        let mut ssh = Running::start(ssh.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut began = [0; 6];
        let stdout = ssh.0.stdout.as_mut().expect("piped");
        stdout.read_exact(&mut began).expect("read");
        assert_eq!(&began, b"began\n");
        let sidecar = if webapp { &mut pair.web } else { &mut pair.core };
        sidecar.signal("KILL");
        sidecar.wait(SOON);
        let said = until_exit(ssh);
        // 255: ssh's own failure, not the command's.
        assert_eq!((said.code, &*said.stdout), (Some(255), ""), "{said:?}");
        pair = Pair::start(sshd.address);
    }
    let said = said(sshd.ssh(pair.web.listen, &[]).arg("echo there again"));
    assert_eq!((said.code, &*said.stdout), (Some(0), "there again\n"), "{said:?}");
}
