//! A spinner on standard error for passes over a second.

use std::io::{self, IsTerminal};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::args::RunArgs;
use super::say;
use crate::session::Progress;

/// A pass shorter than this isn't shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows the pass that runs; hidden when standard error isn't a terminal or nothing is wanted.
pub struct Spinner {
    shown: Option<(Sender<String>, JoinHandle<()>)>,
    /// The pass that runs and when it began, where times are wanted.
    times: Option<Mutex<(String, Instant)>>,
}

impl Spinner {
    /// A spinner, or nothing.
    pub fn new(args: &RunArgs) -> Spinner {
        let times = args.times.then(|| Mutex::new((String::new(), Instant::now())));
        if args.quiet || times.is_some() || !io::stderr().is_terminal() {
            return Spinner { shown: None, times };
        }
        let (sender, receiver) = mpsc::channel::<String>();
        let watch = move || {
            let mut bar: Option<ProgressBar> = None;
            let mut name = String::new();
            loop {
                match receiver.recv_timeout(PATIENCE) {
                    Ok(next) => {
                        clear(&mut bar);
                        name = next;
                    }
                    Err(RecvTimeoutError::Timeout) if bar.is_none() && !name.is_empty() => bar = Some(show(&name)),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break clear(&mut bar),
                }
            }
        };
        // Without a thread there is no spinner, and all else goes on.
        let shown = thread::Builder::new().name("progress".into()).spawn(watch).ok().map(|t| (sender, t));
        Spinner { shown, times }
    }
}

/// The most memory this process has had so far, where the system tells (Linux: `VmHWM`, in KiB).
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

/// One line for the pass that has ended, and the next one begins.
fn tell(times: &Mutex<(String, Instant)>, next: &str) {
    let Ok(mut now) = times.lock() else { return };
    if !now.0.is_empty() {
        let memory = peak().map_or(String::new(), |k| format!("  {:8.1} MiB", k as f64 / 1024.0));
        say(&format!("{:<22}{:9.3} s{memory}\n", now.0, now.1.elapsed().as_secs_f64()));
    }
    *now = (next.to_string(), Instant::now());
}

fn show(name: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_elapsed(PATIENCE).with_message(name.to_string());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn clear(bar: &mut Option<ProgressBar>) {
    if let Some(b) = bar.take() {
        b.finish_and_clear();
    }
}

impl Progress for Spinner {
    fn pass(&self, name: &str) {
        if let Some(times) = &self.times {
            tell(times, name);
        }
        if let Some((sender, _)) = &self.shown {
            let _ = sender.send(name.to_string());
        }
    }

    fn warn(&self, what: &str) {
        super::say(&format!("warning: {}\n", crate::error::printable(what)));
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(times) = &self.times {
            tell(times, "");
        }
        if let Some((sender, thread)) = self.shown.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}
