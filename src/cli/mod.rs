//! The command line: from what was typed to a request, and from results to text, files and an
//! exit status.
//!
//! Results go to standard output, all else to standard error.

mod args;
mod certify;
mod check;
mod diff;
mod files;
mod inspect;
mod operators;
mod policy;
mod progress;
mod render;
mod request;
mod results;
mod samples;
mod summary;
mod verify;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Mutex;

use clap::Parser;

use self::args::{Cli, Command, PolicyCommand, RunArgs};
use crate::certificate::EXIT_TOOL_BUG;
use crate::error::{Code, Diagnostic};
use crate::limits;
use crate::session::Failure;

/// How a command ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// Certified, or done.
    Good,
    /// Not certified, or undecided.
    NotCertified,
}

/// Exit status of errors that are the request's.
const EXIT_ERROR: u8 = 2;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os()))
}

/// Runs a command line and tells the exit status; the first argument is the program's name.
fn run(args: impl Iterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        // Help and version are results, and end well; all else is a usage error. A closed stream
        // changes neither.
        Err(e) => {
            let _ = e.print();
            return u8::try_from(e.exit_code()).unwrap_or(EXIT_ERROR);
        }
    };
    remember_panics();
    status(panic::catch_unwind(AssertUnwindSafe(|| command(cli))))
}

/// Tells how a command ended, and the exit status for it.
fn status(end: std::thread::Result<Result<Exit, Failure>>) -> u8 {
    match end {
        Ok(Ok(Exit::Good)) => 0,
        Ok(Ok(Exit::NotCertified)) => 1,
        Ok(Err(Failure::Diagnostics(problems))) => {
            say(&problems.to_string());
            EXIT_ERROR
        }
        Ok(Err(Failure::Bug(bug))) => {
            say(&format!("{bug}\n"));
            EXIT_TOOL_BUG
        }
        Err(_) => {
            let what = PANIC.lock().ok().and_then(|mut p| p.take()).unwrap_or_default();
            say(&format!(
                "this is a bug of certify: {what}\n  help: nothing was certified; please report it with the model and the inputs\n"
            ));
            EXIT_TOOL_BUG
        }
    }
}

fn command(cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        None if cli.certify.each => samples::run(&cli.certify),
        None => certify::run(&cli.certify),
        Some(Command::Inspect(a)) => inspect::run(&a),
        Some(Command::Check(a)) => check::run(&a),
        Some(Command::Policy(PolicyCommand::Init { file })) => policy::init(&file),
        Some(Command::Verify(a)) => verify::run(a),
        Some(Command::Diff(a)) => diff::run(&a),
        Some(Command::Merge(a)) => samples::merge(&a),
        Some(Command::Ops) => operators::list(),
        Some(Command::Explain { op }) => operators::explain(&op),
        Some(Command::Render { certificate, report }) => render::run(&certificate, &report),
    }
}

/// The last panic of any thread: its message, place and, if wanted, its backtrace.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Keeps what a panic says until it is known whether anybody catches it.
fn remember_panics() {
    panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let message = payload
            .downcast_ref::<&str>()
            .map(|s| (*s).to_string())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".into());
        let mut text = message;
        if let Some(l) = info.location() {
            text.push_str(&format!("\n  --> {}:{}:{}", l.file(), l.line(), l.column()));
        }
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("\n{trace}"));
        }
        if let Ok(mut last) = PANIC.lock() {
            *last = Some(text);
        }
    }));
}

/// Sets the limit on memory, and sets up the thread pool.
fn prepare(run: &RunArgs) -> Result<(), Diagnostic> {
    if let Some(bytes) = run.max_memory {
        limits::set(bytes);
    }
    let Some(n) = run.threads else { return Ok(()) };
    rayon::ThreadPoolBuilder::new().num_threads(n.into()).build_global().map_err(|e| {
        Diagnostic::new(Code::Environment, format!("{n} threads can't be started: {e}"))
            .help("ask for fewer with --threads")
    })
}

/// Prints a result. A reader that has gone away isn't an error.
fn print(text: &str) -> Result<(), Diagnostic> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Diagnostic::new(Code::Io, format!("standard output can't be written: {e}")))
        }
        _ => Ok(()),
    }
}

/// Prints to standard error; nobody is told where that fails.
fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::ToolBug;

    #[test]
    fn every_end_has_its_status() {
        assert_eq!(status(Ok(Ok(Exit::Good))), 0);
        assert_eq!(status(Ok(Ok(Exit::NotCertified))), 1);
        assert_eq!(status(Ok(Err(Diagnostic::new(Code::Usage, "a test").into()))), 2);
        assert_eq!(status(Ok(Err(Failure::Bug(ToolBug { violations: vec!["a test".into()] })))), 70);
        assert_eq!(status(panic::catch_unwind(|| panic!("a test"))), 70);
    }
}
