//! The life of a sidecar, top-down: configuration, secrets, limits of the process, bind, confine, then threads.
//!
//! Promises: nothing is bound before everything was validated; no thread runs before this process is confined.
//! Must not know: how any of it is done.

#![forbid(unsafe_code)]

use std::{env, io::Write, process::ExitCode, sync::Arc};

use tracing::{error, info, warn};
use wa_sidecar::{
    admin::{self, About, Pages},
    cli::{self, Command, Exit, Failure},
    config::{self, Config, Environment, Flags, Secrets, Target, What},
    confine, coreapp,
    counters::{Limit, Registry},
    demo, health, logs,
    net::{
        limits,
        listen::{Binder, For},
        unix::SocketFiles,
    },
    panics,
    process::{self, Tables},
    sidecar::Sidecar,
    signals,
    webapp::{self, Door},
};

fn main() -> ExitCode {
    panics::abort_on_panic();
    match cli::parse(env::args_os()).and_then(execute) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(what, flags) => run(what, &flags),
        Command::Check { what, flags, print } => cli::check(what, &flags, print),
        Command::Keygen => cli::keygen(),
        Command::Health(flags) => ask_health(&flags),
        Command::Demo(options) => demo::run(&options),
        Command::DemoChild(arguments) => demo::become_sidecar(&arguments),
        Command::Print(text) => Ok(std::io::stdout().write_all(text.as_bytes())?),
    }
}

fn run(what: What, flags: &Flags) -> Result<(), Failure> {
    if cfg!(wa_bench_without_aead) {
        eprintln!("wa-sidecar: this is a bench's build: NOTHING IS SEALED");
    }
    let env = Environment::of_process();
    let config = Config::resolve(what, flags, &env)?;
    let secrets = Secrets::load(&env, &config.secret_files, config.allow_weak_secret)?;
    drop(env);

    confine::no_core_dumps();
    let open_files = confine::raise_open_files();
    let mut binder = Binder {
        socket_mode: config.socket_mode,
        files: SocketFiles::default(),
    };
    let tables = bind(&config, &mut binder)?;
    let admin = config
        .admin
        .as_ref()
        .map(|address| binder.bind(address, For::Admin))
        .transpose()?;
    let confinement = confine::confine(&binder.files.directories());

    let _logs = logs::init(config.log_format, &config.log).map_err(internal)?;
    info!(event = "starting", version = env!("CARGO_PKG_VERSION"), role = %config.role(), deployment = %config.deployment, "wa-sidecar");
    for warning in config.warnings.iter().chain(&secrets.warnings) {
        warn!(event = warning.event, reason = warning.text);
    }
    info!(event = "open_files", limit = open_files, "raised to the hard limit");
    let confine::Confinement {
        no_new_privs,
        landlock,
        reason,
    } = confinement;
    info!(
        event = "confined",
        no_new_privs, landlock, reason, "files are read-only from here"
    );
    if config.apps_are_unix() {
        warn!(
            event = "unix_socket_caveat",
            reason = "no_reset_on_unix_sockets",
            "an app on a Unix socket that has sent nothing yet, or more than 4 KiB at once, reads a broken connection as an end \
             in order: Unix sockets have no RST. Where that matters let it use TCP on 127.0.0.1"
        );
    }

    let registry = Registry::new(config.workers);
    let sidecar = Sidecar::new(&config, &secrets, Arc::clone(&registry));
    drop(secrets);
    let control = signals::runtime().map_err(internal)?;
    let ended = control.block_on(async {
        let stop = signals::watch().map_err(internal)?;
        tokio::spawn(limits::watch(Arc::clone(&registry)));
        if let Some(listener) = admin {
            let address = listener.address().map_err(internal)?;
            let pages = Arc::new(Pages::new(registry.clone(), about(&config, &sidecar)).map_err(internal)?);
            tokio::spawn(admin::serve(listener, pages));
            info!(event = "admin_listening", %address, "serving /metrics, /livez, /readyz, /status");
        }
        say_what_is_served(&tables).map_err(internal)?;
        process::run(tables, sidecar, stop).await.map_err(internal)
    });
    drop(control);
    // While there is still a log to say what could not be removed.
    drop(binder);
    match ended {
        Ok(()) => info!(event = "stopped", "ended as asked"),
        // There is a log now, so this goes there, as one line.
        Err(Failure { exit, message }) => {
            error!(event = "failed", exit = exit as u8, reason = message, "cannot go on");
            return Err(Failure::new(exit, ""));
        }
    }
    Ok(())
}

/// All of it, or none.
fn bind(config: &Config, binder: &mut Binder) -> Result<Tables, Failure> {
    let mut tables = Tables {
        max_waiting: config.max_waiting,
        ..Tables::default()
    };
    for webapp in &config.webapps {
        let listeners = binder.bind_all(&webapp.listen, For::Apps)?;
        let services = webapp.services.iter().cloned();
        let door = |(listener, service)| Door { listener, service };
        let settings = webapp::Settings {
            peer: webapp.peer.clone(),
            peer_name: webapp.peer_name,
        };
        tables
            .webapps
            .push((settings, listeners.into_iter().zip(services).map(door).collect()));
    }
    for coreapp in &config.coreapps {
        let settings = coreapp::Settings {
            targets: coreapp.targets.clone(),
            dial_timeout: config.dial_timeout,
            max_dials: config.max_dials,
        };
        tables
            .coreapps
            .push((settings, binder.bind_all(&coreapp.listen, For::Links)?));
    }
    Ok(tables)
}

fn say_what_is_served(tables: &Tables) -> std::io::Result<()> {
    for (settings, listeners) in &tables.coreapps {
        for Target { service, address } in settings.targets.all() {
            info!(event = "service", %service, upstream = %address, "serving");
        }
        for listener in listeners {
            let address = listener.address()?;
            info!(event = "listening", %address, "accepting links");
        }
    }
    for (settings, doors) in &tables.webapps {
        for Door { listener, service } in doors {
            let address = listener.address()?;
            info!(event = "listening", peer = %settings.peer, %service, %address, "accepting apps");
        }
    }
    Ok(())
}

fn about(config: &Config, sidecar: &Sidecar) -> About {
    let mut limits = vec![(Limit::Links, config.max_links), (Limit::Streams, config.max_streams)];
    if !config.webapps.is_empty() {
        limits.push((Limit::WaitingApps, config.max_waiting));
    }
    if !config.coreapps.is_empty() {
        limits.push((Limit::Dials, config.max_dials));
    }
    About {
        role: config.role(),
        deployment: config.deployment.to_string(),
        name: config.name.as_ref().map(ToString::to_string),
        aead_backend: if cfg!(feature = "aws-lc") {
            "aws-lc"
        } else {
            "rustcrypto"
        },
        limits: limits.into_iter().map(|(limit, value)| (limit, value as u64)).collect(),
        budget: Arc::clone(&sidecar.budget),
    }
}

fn ask_health(flags: &Flags) -> Result<(), Failure> {
    let Some(admin) = config::admin_address(flags, &Environment::of_process())? else {
        return Err(Failure::new(
            Exit::Config,
            "the admin endpoint is off: nobody can be asked\n  \
             Give the sidecar and this command an address as --admin (WA_ADMIN)",
        ));
    };
    let unavailable = |error| {
        Failure::new(
            Exit::Unavailable,
            format!(
                "no answer from http://{admin}/readyz: {error}\n  \
                 Is a sidecar running here, and is this its --admin (WA_ADMIN)? Else give this command the same."
            ),
        )
    };
    let (ready, body) = health::probe(&admin).map_err(unavailable)?;
    std::io::stdout().write_all(body.as_bytes())?;
    if ready {
        Ok(())
    } else {
        Err(Failure::new(Exit::Unavailable, ""))
    }
}

fn internal(error: impl ToString) -> Failure {
    Failure::new(Exit::Internal, error)
}
