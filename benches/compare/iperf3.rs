//! iperf3 over the path of `far-bulk`: what one TCP connection without any relay gets there.

use std::{
    io,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    pair,
    path::{self, Way},
    peers,
    processes::{self, Running},
};

#[derive(Debug)]
pub struct Iperf3 {
    _server: Running,
    path: path::Path,
    program: std::path::PathBuf,
}

impl Iperf3 {
    /// # Errors
    /// What to type, or what it said.
    pub fn start(directory: &Path, way: Way) -> Result<Iperf3, String> {
        let program = peers::find("iperf3").ok_or("iperf3 is missing; type: apt-get install iperf3")?;
        let text = |error: io::Error| format!("iperf3: {error}");
        let address = pair::free_port().map_err(text)?;
        let mut command = Command::new(&program);
        command.args(["--server", "--bind", &address.ip().to_string()]);
        command.args(["--port", &address.port().to_string()]);
        let server = Running::start(&command, directory.join("iperf3.log")).map_err(text)?;
        Ok(Iperf3 {
            path: path::Path::start(address, way).map_err(text)?,
            _server: server,
            program,
        })
    }

    /// Bytes a second that the client received.
    ///
    /// # Errors
    /// What it said instead.
    pub fn run(&self, window: Duration, warmup: Duration) -> Result<f64, String> {
        // It counts in whole seconds.
        let seconds = |time: Duration| (time.as_secs_f64().ceil() as u64).to_string();
        let address = self.path.address();
        let mut command = Command::new(&self.program);
        command.args([
            "--client",
            &address.ip().to_string(),
            "--port",
            &address.port().to_string(),
        ]);
        command.args([
            "--reverse",
            "--json",
            "--time",
            &seconds(window),
            "--omit",
            &seconds(warmup),
        ]);
        let output = processes::bound(&command)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("iperf3: {error}"))?;
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let bits = said["end"]["sum_received"]["bits_per_second"].as_f64();
        bits.filter(|&bits| bits > 0.0)
            .map(|bits| bits / 8.0)
            .ok_or_else(|| format!("iperf3: {}", said["error"].as_str().unwrap_or("no result")))
    }
}
