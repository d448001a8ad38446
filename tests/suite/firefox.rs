//! A small client of Marionette, the protocol by which Firefox is driven: messages are `length:JSON`, a command is
//! `[0, id, name, parameters]`, its answer `[1, id, error, result]`. No driver is needed.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::webdriver::{Page, bytes, presses};

/// Marionette's port is chosen by the system, and nothing is asked of the network.
const PREFERENCES: &str = "user_pref(\"marionette.port\", 0);
user_pref(\"app.update.enabled\", false);
user_pref(\"browser.shell.checkDefaultBrowser\", false);
user_pref(\"datareporting.policy.dataSubmissionEnabled\", false);
user_pref(\"network.captive-portal-service.enabled\", false);
user_pref(\"network.connectivity-service.enabled\", false);
user_pref(\"services.settings.server\", \"data:,\");
";
/// A browser that hasn't said its port by then doesn't work.
const START: Duration = Duration::from_secs(300);

/// A window of Firefox with a profile of its own; it ends when this is dropped.
pub struct Firefox {
    browser: Child,
    stream: std::cell::RefCell<(TcpStream, u64)>,
    _profile: tempfile::TempDir,
}

impl Firefox {
    /// The program, if it is there.
    pub fn program() -> Option<&'static str> {
        let path = std::env::var_os("PATH")?;
        let there = |p: &&str| std::env::split_paths(&path).any(|d| d.join(p).is_file());
        ["firefox-esr", "firefox"].into_iter().find(there)
    }

    /// Starts a window of 1280 × 900 pixels.
    pub fn start(program: &str) -> Firefox {
        let profile = tempfile::tempdir().expect("a directory for the profile can be made");
        fs::write(profile.path().join("user.js"), PREFERENCES).expect("preferences can be written");
        let mut browser = Command::new(program)
            .args(["--headless", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile"])
            .arg(profile.path())
            .env("HOME", profile.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Firefox starts");
        let from = Instant::now();
        let port: u16 = loop {
            let said = fs::read_to_string(profile.path().join("MarionetteActivePort")).ok();
            if let Some(port) = said.and_then(|s| s.trim().parse().ok()) {
                break port;
            }
            let ended = browser.try_wait().expect("the process can be asked");
            assert!(ended.is_none() && from.elapsed() < START, "{program} doesn't say a port: {ended:?}");
            std::thread::sleep(Duration::from_millis(100));
        };
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("Marionette answers");
        stream.set_read_timeout(Some(Duration::from_secs(300))).expect("a time limit can be set");
        let f = Firefox { browser, stream: (stream, 0).into(), _profile: profile };
        f.receive();
        f.call("WebDriver:NewSession", json!({"capabilities": {"alwaysMatch": {}}}));
        f.call("WebDriver:SetWindowRect", json!({"width": 1280, "height": 900}));
        f
    }

    /// The next message.
    fn receive(&self) -> Value {
        let stream = &mut self.stream.borrow_mut().0;
        let (mut length, mut byte) = (0usize, [0u8]);
        loop {
            stream.read_exact(&mut byte).expect("Marionette writes");
            match byte[0] {
                b':' => break,
                digit => length = 10 * length + usize::from(digit - b'0'),
            }
        }
        let mut text = vec![0; length];
        stream.read_exact(&mut text).expect("Marionette writes");
        serde_json::from_slice(&text).expect("a message is JSON")
    }

    fn call(&self, name: &str, parameters: Value) -> Value {
        {
            let (stream, id) = &mut *self.stream.borrow_mut();
            *id += 1;
            let text = json!([0, id, name, parameters]).to_string();
            write!(stream, "{}:{text}", text.len()).expect("Marionette reads");
        }
        let mut answer = self.receive();
        assert!(answer[2].is_null(), "{name}: {}", answer[2]);
        answer[3].take()
    }

    /// Errors and warnings on the console that are about a file.
    pub fn console(&self) -> Value {
        self.call("Marionette:SetContext", json!({"value": "chrome"}));
        let script = "return Services.console.getMessageArray()
            .filter(m => m instanceof Ci.nsIScriptError && m.sourceName.startsWith('file:')).map(m => m.errorMessage)";
        let said = self.script(script);
        self.call("Marionette:SetContext", json!({"value": "content"}));
        said
    }

    /// The whole page as PNG.
    pub fn screenshot(&self) -> Vec<u8> {
        bytes(&self.call("WebDriver:TakeScreenshot", json!({"full": true}))["value"])
    }

    /// The page as PDF, on A4.
    pub fn print(&self) -> Vec<u8> {
        bytes(&self.call("WebDriver:Print", json!({"page": {"width": 21.0, "height": 29.7}}))["value"])
    }
}

impl Page for Firefox {
    fn open(&self, file: &Path) {
        self.call("WebDriver:Navigate", json!({"url": format!("file://{}", file.display())}));
    }

    fn script(&self, script: &str) -> Value {
        self.call("WebDriver:ExecuteScript", json!({"script": script, "args": []}))["value"].take()
    }

    fn keys(&self, keys: &str) {
        self.call("WebDriver:PerformActions", json!({"actions": [presses(keys)]}));
    }
}

impl Drop for Firefox {
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}
