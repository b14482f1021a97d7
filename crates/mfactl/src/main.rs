//! mfactl, the command line of mfad. It uses only the HTTP API, and nothing of the daemon's inside.

mod account;
mod acting;
mod args;
mod audit;
mod audit_args;
mod audit_list;
mod backup;
mod batch;
mod call;
mod chain;
mod cli;
mod client;
mod code;
mod columns;
mod completion;
mod context;
mod curl;
mod device;
mod device_args;
mod doctor;
mod enroll;
mod events;
mod export;
mod export_args;
mod failure;
mod fido2;
mod format;
mod help;
mod import;
mod import_args;
mod interruption;
mod login;
mod manual;
mod master_key;
mod output;
mod pager;
mod pam;
mod pam_args;
mod problem;
mod prompt;
mod receipt;
mod secret_text;
mod secrets;
mod session;
mod session_args;
mod socket;
mod status;
mod target;
mod tips;
mod user_args;
mod users;

use std::alloc::System;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use zeroizing_alloc::ZeroAlloc;

use crate::cli::{Cli, Command};
use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::prompt::Prompter;

/// Wipes memory when it is freed, since libraries make copies of secrets (MEM-3).
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    completion::answer(Cli::command);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(asked) if asked.kind() == ErrorKind::DisplayHelp && pager::help(&asked) => return ExitCode::SUCCESS,
        Err(error) => tips::improve(error).exit(),
    };
    let out = Output::new(&cli.globals);
    match in_runtime(cli, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure, out),
    }
}

fn in_runtime(cli: Cli, out: Output) -> Result<(), Failure> {
    leave_no_dump().map_err(|error| Failure::Internal(format!("core dumps cannot be forbidden: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Internal(format!("no runtime: {error}")))?;
    let done = runtime.block_on(until_interrupted(cli, out));
    // An interrupted prompt gets time to restore the terminal. Other threads are not waited for.
    runtime.shutdown_timeout(Duration::from_millis(200));
    done
}

/// Switches core dumps off, since passwords and tokens pass through this process (MEM-4).
fn leave_no_dump() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

async fn until_interrupted(cli: Cli, out: Output) -> Result<(), Failure> {
    // Taken first: a prompt raises SIGINT itself and must live on to restore the terminal.
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        done = run(cli, out) => done,
    }
}

async fn run(cli: Cli, out: Output) -> Result<(), Failure> {
    let globals = cli.globals;
    let mut context = Context {
        client: Client::new(globals.socket(), globals.curl.then_some(out))
            .for_admins(matches!(cli.command, Command::Unlock(_) | Command::Import(_))),
        out,
        prompter: Prompter { no_input: globals.no_input, yes: globals.yes },
    };
    match &cli.command {
        Command::User(command) => users::run(&mut context, command).await,
        Command::Passwd(args) => users::passwd(&mut context, args).await,
        Command::Login(args) => login::run(&mut context, args).await,
        Command::Enroll(args) => enroll::run(&mut context, args).await,
        Command::Whoami(args) => session::whoami(&mut context, args).await,
        Command::StepUp(args) => session::step_up(&mut context, args).await,
        Command::Logout(args) => session::log_out(&mut context, args).await,
        Command::Verify(args) => users::verify(&mut context, args).await,
        Command::Codes(command) => secrets::codes(&mut context, command).await,
        Command::Secret(command) => secrets::run(&mut context, command).await,
        Command::Device(command) => device::run(&mut context, command).await,
        Command::Fido2(command) => fido2::run(&mut context, command).await,
        Command::Provision(command) => batch::run(&mut context, command).await,
        Command::Receipt(command) => receipt::run(&mut context, command).await,
        Command::Unlock(args) => users::unlock(&mut context, args).await,
        Command::Audit(command) => audit::run(&mut context, command).await,
        Command::Import(args) => import::run(&mut context, args).await,
        Command::MasterKey(command) => master_key::run(&mut context, command).await,
        Command::Export(args) => export::run(&mut context, args).await,
        Command::Backup(args) => backup::run(&mut context, args).await,
        Command::Pam(command) => pam::run(&mut context, command).await,
        Command::Doctor(args) => doctor::run(&mut context, args).await,
        Command::Status => status::run(&mut context).await,
        Command::Completions { shell } => manual::completions(*shell),
        Command::Manual { dir } => manual::manual(dir),
    }
}

/// Prints a failure. With `--json`, the document of a refusal is the daemon's own problem document.
fn report(failure: &Failure, out: Output) -> ExitCode {
    if let Failure::Refused(problem) = failure
        && out.is_json()
        && !problem.document.is_empty()
        && out.document(&problem.document).is_err()
    {
        out.aside("the answer could not be written");
    }
    match failure {
        Failure::NotConfirmed => out.aside(&failure.to_string()),
        Failure::Interrupted => interruption::take().iter().for_each(|text| out.aside(&format!("\n{text}"))),
        _ if failure.is_silent() => {}
        _ => out.error(&failure.to_string()),
    }
    if let Failure::Refused(problem) = failure
        && let Some(right) = problem.missing_right()
    {
        account::rule_lines(right).iter().for_each(|line| out.aside(&format!("    {line}")));
    }
    failure.exit().map_or(ExitCode::SUCCESS, |exit| ExitCode::from(exit.number()))
}
