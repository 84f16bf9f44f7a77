//! The load generator as a child process: found or built, as the far end, and for a window.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{pair::Pair, processes};

#[derive(Clone, Debug)]
pub struct Generator {
    program: PathBuf,
}

/// `given`, or what cargo has built or builds now.
///
/// # Errors
/// What to type.
pub fn find(given: Option<&Path>) -> Result<Generator, String> {
    if let Some(given) = given {
        return match given.is_file() {
            true => Ok(Generator {
                program: given.to_owned(),
            }),
            false => Err(format!("--generator {} is no file", given.display())),
        };
    }
    let output = cargo()
        .args([
            "bench",
            "--quiet",
            "--no-run",
            "--bench",
            "load",
            "--message-format=json",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}; --generator PATH is the load generator without it"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut built = text.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let bench = message["target"]["kind"].as_array()?.iter().any(|kind| kind == "bench");
        let executable = message["executable"].as_str()?;
        (bench && message["target"]["name"] == "load").then(|| PathBuf::from(executable))
    });
    let program = built
        .next_back()
        .ok_or("cargo did not build the load generator; type: cargo bench --bench load --no-run")?;
    Ok(Generator { program })
}

/// cargo, as if typed at the root of this project. What it tells the programs that it runs is not passed on: build scripts watch
/// some of it, and everything would be built anew.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// The far end of every work: ends when it is dropped.
#[derive(Debug)]
pub struct FarEnd {
    child: Child,
    pub address: SocketAddr,
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Generator {
    /// # Errors
    /// It cannot be started.
    pub fn serve(&self) -> Result<FarEnd, String> {
        let wrong = |what: &dyn std::fmt::Display| format!("{} serve: {what}", self.program.display());
        let mut command = Command::new(&self.program);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        let mut child = processes::bound(&command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| wrong(&error))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(|error| wrong(&error))?;
        }
        match line.trim().parse() {
            Ok(address) => Ok(FarEnd { child, address }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(wrong(&format!("no address in {line:?}")))
            }
        }
    }

    /// A window: what the generator says of it as JSON (benches/README.md).
    ///
    /// # Errors
    /// What it said instead.
    pub fn load(&self, arguments: &[&str], pair: &Pair, window: Duration, warmup: Duration) -> Result<Value, String> {
        self.begin(arguments, pair, window, warmup)?.end()
    }

    /// The same, but it is waited for later.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn begin(&self, arguments: &[&str], pair: &Pair, window: Duration, warmup: Duration) -> Result<Window, String> {
        let milliseconds = |time: Duration| format!("{}ms", time.as_millis());
        let mut command = Command::new(&self.program);
        command.args(arguments).args(["--target", &pair.entry.to_string()]);
        command.args(["--duration", &milliseconds(window), "--warmup", &milliseconds(warmup)]);
        command.args(["--quiet", "--json", "-"]);
        // Those that are forked while it runs are none of any peer's here.
        for (relay, name) in pair.relays.iter().zip(["server", "client"]) {
            let ids: Vec<_> = relay.ids().iter().map(u32::to_string).collect();
            command.arg("--cpu-of").arg(format!("{name}={}", ids.join(",")));
        }
        let child = processes::bound(&command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        Ok(Window { child })
    }
}

/// A window that runs.
#[derive(Debug)]
pub struct Window {
    child: Child,
}

impl Window {
    /// # Errors
    /// As [`Generator::load`].
    pub fn end(self) -> Result<Value, String> {
        let output = self.child.wait_with_output().map_err(|error| error.to_string())?;
        serde_json::from_slice(&output.stdout).map_err(|_| String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
