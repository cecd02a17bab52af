//! `longshore-controller`: sets a controller up, and runs it.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use longshore_common::{
    chain::Chain,
    digest::hex,
    ids::OperatorName,
    time::{Clock, SystemClock},
};
use longshore_controller::{
    access::{Grant, Grants},
    cli::{exit::Exit, failure::Failure, mistake},
    config::{Config, ENROL_PORT, MAIN_PORT},
    daemon,
    identity::{
        Authority, IdentityError,
        init::{self, Made, Wanted},
        roots,
    },
};

/// The controller of a fleet: decides who runs what, and why not yet.
#[derive(Parser)]
#[command(
    name = "longshore-controller",
    version,
    after_help = "Examples:\n  \
        # Once, on the machine that will be the controller:\n  \
        longshore-controller init --dir /var/lib/longshore-controller --name deploy.example\n  \
        longshore-controller serve --config /var/lib/longshore-controller/controller.toml\n\n  \
        # On the operator's machine, with the folder that init made:\n  \
        longshore context add production --from ./operator\n\n\
        Exit codes: 0 done; 1 failed; 2 usage; 6 it was done before; 75 the state has to be opened anew (systemd restarts \
        it)."
)]
struct Arguments {
    /// How `init` and `operator` print: for people, or for programs (docs/cli-json.md).
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Make the CA, the configuration and the first operator. Changes nothing where that is done already.
    Init {
        /// Folder for identity, state and blobs; made if it is not there.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Where agents and operators connect, with certificates.
        #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from(([0, 0, 0, 0], MAIN_PORT)))]
        listen: SocketAddr,
        /// Where hosts enrol, with a token.
        #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from(([0, 0, 0, 0], ENROL_PORT)))]
        enrol_listen: SocketAddr,
        /// DNS name or address by which others reach this machine; may be given several times, the first goes into commands.
        #[arg(long = "name", value_name = "HOST", required = true)]
        names: Vec<String>,
        /// Name of the first operator.
        #[arg(long, value_name = "NAME", default_value = "admin")]
        operator: OperatorName,
    },
    /// Run the controller until SIGTERM.
    Serve {
        /// What `init` wrote.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Exchange the root that certificates are signed with. Nobody enrols again.
    Ca {
        #[command(subcommand)]
        command: CaCommand,
    },
    /// Make the folder of another operator. It holds a private key: hand it over safely.
    Operator {
        /// What `init` wrote.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The operator's name, as it will appear in histories.
        #[arg(long, value_name = "NAME")]
        name: OperatorName,
        /// What the operator may do: viewer, deployer, approver, host-admin, policy-admin, auditor, ci; with a scope:
        /// deployer:shop@staging. May be given several times; none: everything. An operator who exists keeps their own.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<Grant>,
        /// The folder to make.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Subcommand)]
enum CaCommand {
    /// Make a new root, which signs from now on. The old one is believed until every host and operator has renewed,
    /// and then goes by itself; `longshore status` says who is missing
    #[command(
        after_help = "Example:\n  longshore-controller ca rotate --config /var/lib/longshore-controller/controller.toml"
    )]
    Rotate {
        /// What `init` wrote.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Believe the new root only, from now on: whoever has not renewed is shut out and has to enrol again
    #[command(
        after_help = "Example:\n  longshore-controller ca retire --config /var/lib/longshore-controller/controller.toml --shut-out"
    )]
    Retire {
        /// What `init` wrote.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Yes, whoever has not renewed is shut out.
        #[arg(long, required = true)]
        shut_out: bool,
    },
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let for_programs = mistake::asks_for_json(&args);
    let Arguments { output, command } = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(told) if for_programs && told.use_stderr() => {
            return complain(&mistake::failure(&told), Output::Json);
        }
        Err(told) => told.exit(),
    };
    match command {
        Command::Serve { config } => daemon::process::main(&config),
        Command::Init { dir, listen, enrol_listen, names, operator } => {
            let wanted = Wanted { dir, listen, enrol_listen, names, operator };
            match init::init(wanted, SystemClock.now_ms()) {
                Err(done @ IdentityError::Exists { .. }) => {
                    complain(&Failure::new(Exit::NothingToDo, Chain(&done).to_string()), output)
                }
                made => report(made.map(|made| say(&made, output)), output),
            }
        }
        Command::Operator { config, name, roles, out } => {
            report(make_operator(&config, &name, roles, &out, output), output)
        }
        Command::Ca { command } => report(ca(command), output),
    }
}

fn say(made: &Made, output: Output) {
    if output == Output::Json {
        let said = serde_json::json!({
            "schema": "longshore.controller.init/1",
            "ca_sha256": hex(&made.ca_hash),
            "config": made.config_path,
            "operator": made.operator_dir,
        });
        return println!("{said}");
    }
    println!("CA           {} (SHA-256 of its key)", hex(&made.ca_hash));
    println!("config       {}", made.config_path.display());
    println!("operator     {}", made.operator_dir.display());
    println!();
    println!("Start it:    longshore-controller serve --config {}", made.config_path.display());
    println!("Then:        longshore context add NAME --from {}", made.operator_dir.display());
    println!("             longshore init            # the keys by which hosts know what may run");
    println!("             longshore token create    # for every host");
}

/// See `identity::keep`, which looks every five seconds.
const TAKEN_UP: &str = "A controller that runs takes this up within seconds; systemctl reload: at once";

fn ca(command: CaCommand) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        CaCommand::Rotate { config } => {
            let dir = own(read(&config)?.identity_dir())?;
            let hash = roots::rotate(&dir, SystemClock.now_ms())?;
            println!("CA           {} (SHA-256 of its key) signs from now on", hex(&hash));
            println!("{TAKEN_UP}");
            println!("Hosts renew by themselves within minutes, operators with: longshore login");
            println!("Who has not: longshore status");
        }
        CaCommand::Retire { config, shut_out: _ } => {
            roots::retire(&own(read(&config)?.identity_dir())?)?;
            println!("The older root is believed no more.");
            println!("{TAKEN_UP}");
            println!("Hosts that are shut out enrol again: longshore token create");
            println!("Operators that are: longshore-controller operator");
        }
    }
    Ok(())
}

/// Files that another user made are of no use to the daemon.
fn own(dir: PathBuf) -> Result<PathBuf, Box<dyn std::error::Error>> {
    use std::os::unix::fs::MetadataExt as _;
    let owner = std::fs::metadata(&dir)?.uid();
    if owner == rustix::process::geteuid().as_raw() {
        return Ok(dir);
    }
    let dir = dir.display();
    Err(format!(
        "{dir} belongs to user {owner}; run this as that user: sudo -u '#{owner}' longshore-controller …"
    )
    .into())
}

fn read(config: &std::path::Path) -> Result<Config, Box<dyn std::error::Error>> {
    Ok(daemon::process::read(config)?)
}

fn make_operator(
    config: &std::path::Path,
    name: &OperatorName,
    roles: Vec<Grant>,
    out: &std::path::Path,
    output: Output,
) -> Result<(), Box<dyn std::error::Error>> {
    let config = read(config)?;
    let authority = Authority::load(&config.identity_dir())?;
    let address = init::main_address(&config, config.listen.port());
    let grants = if roles.is_empty() { Grants::all() } else { Grants(roles) };
    init::make_operator(&authority, &config, name, grants, &address, out, SystemClock.now_ms())?;
    if output == Output::Json {
        println!("{}", serde_json::json!({ "schema": "longshore.controller.operator/1", "operator": out }));
        return Ok(());
    }
    println!("operator     {}", out.display());
    println!("Then:        longshore context add NAME --from {}", out.display());
    Ok(())
}

fn report<E: Into<Box<dyn std::error::Error>>>(result: Result<(), E>, output: Output) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error = error.into();
            complain(&Failure::new(Exit::Failed, Chain(&*error).to_string()), output)
        }
    }
}

fn complain(failure: &Failure, output: Output) -> ExitCode {
    let Failure { exit, code, message, next } = failure;
    match output {
        Output::Table => eprintln!("longshore-controller: {message}"),
        Output::Json => {
            let said = serde_json::json!({
                "schema": "longshore.controller.error/1",
                "code": code.map(|code| code.to_string()),
                "message": message,
                "next": next,
                "exit": exit.number(),
            });
            eprintln!("{said}");
        }
    }
    ExitCode::from(exit.number())
}
