//! Keys and certificates for the peers, made on the spot and thrown away with their directory.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use base64ct::{Base64, Encoding};

use crate::peers;

/// Whom the certificate is for.
pub const HOST: &str = "compare.test";

/// Of the directory's name; the process id follows.
const PREFIX: &str = "wa-sidecar-compare-";

#[derive(Debug)]
pub struct Material {
    directory: PathBuf,
    password: String,
    key: String,
    certificates: OnceLock<Result<(), String>>,
}

impl Material {
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Material> {
        let place = std::env::temp_dir();
        sweep(&place);
        let directory = place.join(format!("{PREFIX}{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let mut random = [0; 64];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let hex: String = random[32..].iter().map(|byte| format!("{byte:02x}")).collect();
        let material = Material {
            password: base64(&random[..32])?.replace(['+', '/', '='], "x"),
            key: base64(&random[32..])?,
            certificates: OnceLock::new(),
            directory,
        };
        // stunnel takes `identity:key`; to spiped any file is a key.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(material.psk())?
            .write_all(format!("compare:{hex}\n").as_bytes())?;
        Ok(material)
    }

    /// Where all files of a run are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn psk(&self) -> PathBuf {
        self.directory.join("psk")
    }

    /// 32 random bytes, as a password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// 32 random bytes.
    pub fn key_in_base64(&self) -> &str {
        &self.key
    }

    pub fn authority(&self) -> PathBuf {
        self.directory.join("authority.pem")
    }

    pub fn certificate(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// One file of both, as HAProxy wants it.
    pub fn certificate_and_key(&self) -> PathBuf {
        self.directory.join("both.pem")
    }

    /// Makes an authority and a certificate of P-256, once.
    ///
    /// # Errors
    /// What openssl said.
    pub fn certificates(&self) -> Result<(), String> {
        self.certificates.get_or_init(|| self.make_certificates()).clone()
    }

    fn make_certificates(&self) -> Result<(), String> {
        let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30";
        let name = format!("subjectAltName=DNS:{HOST}");
        self.openssl(&format!(
            "{new} -keyout authority.key -out authority.pem -subj /CN=authority"
        ))?;
        self.openssl(&format!(
            "{new} -keyout key.pem -out certificate.pem -subj /CN={HOST} -CA authority.pem -CAkey authority.key \
             -addext basicConstraints=critical,CA:FALSE -addext {name}"
        ))?;
        let read = |file: PathBuf| fs::read(&file).map_err(|error| format!("{}: {error}", file.display()));
        let both = [read(self.certificate())?, read(self.key())?].concat();
        fs::write(self.certificate_and_key(), both).map_err(|error| error.to_string())
    }

    fn openssl(&self, arguments: &str) -> Result<(), String> {
        let Some(program) = peers::find("openssl") else {
            return Err("openssl is missing; type: apt-get install openssl".to_owned());
        };
        let output = Command::new(program)
            .args(arguments.split_whitespace())
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("openssl: {error}"))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("openssl: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }
}

/// Removes what runs left that were killed.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let is_gone = |pid: &str| match pid.parse::<u32>() {
            Ok(pid) => pid == std::process::id() || !Path::new("/proc").join(pid.to_string()).exists(),
            Err(_) => false,
        };
        if owner.is_some_and(is_gone) {
            // Another user's stays.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn base64(bytes: &[u8]) -> io::Result<String> {
    let mut room = [0; 64];
    Base64::encode(bytes, &mut room)
        .map(str::to_owned)
        .map_err(io::Error::other)
}

impl Drop for Material {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
