//! A small client of the WebDriver protocol (W3C, with ChromeDriver's extensions), for Chromium.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// Keys, as WebDriver writes them.
pub const ENTER: &str = "\u{e007}";
/// The tabulator.
pub const TAB: &str = "\u{e004}";

/// What a page is asked and told in any browser.
pub trait Page {
    /// Loads a file.
    fn open(&self, file: &Path);
    /// Runs a script and returns what it returns.
    fn script(&self, script: &str) -> Value;
    /// Presses and releases keys, one after the other, wherever the focus is.
    fn keys(&self, keys: &str);
}

/// A WebDriver action that presses and releases keys.
pub fn presses(keys: &str) -> Value {
    let presses = keys.chars().flat_map(|k| {
        [json!({"type": "keyDown", "value": k.to_string()}), json!({"type": "keyUp", "value": k.to_string()})]
    });
    json!({"type": "key", "id": "keys", "actions": presses.collect::<Vec<_>>()})
}

/// A browser window with a profile of its own; it and its driver end when this is dropped.
pub struct Browser {
    driver: Child,
    /// Held open: the driver may write on.
    _output: BufReader<ChildStdout>,
    agent: ureq::Agent,
    /// Address of the session.
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a driver on a free port and a window of 1280 × 900 pixels.
    pub fn start() -> Browser {
        let profile = tempfile::tempdir().expect("a directory for the profile can be made");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let mut output = BufReader::new(driver.stdout.take().expect("the output is piped"));
        let port = output
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find_map(|l| l.split_once("successfully on port ").map(|(_, p)| p.trim_end_matches('.').to_owned()))
            .expect("chromedriver says its port");
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(Duration::from_secs(900))).build().into();
        let session = format!("http://127.0.0.1:{port}/session");
        let mut b = Browser { driver, _output: output, agent, session, _profile: profile };
        let directory = b._profile.path().display().to_string();
        let mut args = vec![
            "--headless".to_owned(),
            "--disable-gpu".into(),
            "--disable-quic".into(),
            "--no-first-run".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            "--disable-dev-shm-usage".into(),
            "--window-size=1280,900".into(),
            format!("--user-data-dir={directory}"),
        ];
        // Chromium's sandbox refuses to run as root.
        if std::fs::metadata(b._profile.path()).is_ok_and(|m| m.uid() == 0) {
            args.push("--no-sandbox".into());
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": args},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "unhandledPromptBehavior": "ignore",
        }}});
        let answer = b.call("POST", "", Some(wanted)).expect("a session can be made");
        b.session = format!("{}/{}", b.session, answer["sessionId"].as_str().expect("the session has an id"));
        // The browser's own first page makes requests.
        b.post("/url", json!({"url": "about:blank"}));
        b.log("performance");
        b
    }

    /// One command; the error is WebDriver's.
    fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Value> {
        let url = format!("{}{path}", self.session);
        let text = body.unwrap_or_else(|| json!({})).to_string();
        let sent = match method {
            "POST" => self.agent.post(&url).header("content-type", "application/json").send(text.as_str()),
            "DELETE" => self.agent.delete(&url).call(),
            _ => self.agent.get(&url).call(),
        };
        let mut response = sent.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        let good = response.status().is_success();
        let text = response.body_mut().with_config().limit(1 << 30).read_to_string().expect("the answer is text");
        let mut answer: Value = serde_json::from_str(&text).expect("the answer is JSON");
        let value = answer["value"].take();
        if good { Ok(value) } else { Err(value) }
    }

    fn post(&self, path: &str, body: Value) -> Value {
        self.call("POST", path, Some(body)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Runs a script that calls back with its result.
    pub fn script_async(&self, script: &str) -> Value {
        self.post("/timeouts", json!({"script": 240_000}));
        self.post("/execute/async", json!({"script": script, "args": []}))
    }

    /// A command of Chromium's debugging protocol.
    pub fn debug(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", json!({"cmd": command, "params": parameters}))
    }

    /// Entries of a log since it was last asked for: `browser` or `performance`.
    pub fn log(&self, kind: &str) -> Vec<Value> {
        self.post("/se/log", json!({"type": kind})).as_array().cloned().unwrap_or_default()
    }

    /// Light or dark.
    pub fn scheme(&self, scheme: &str) {
        let feature = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.debug("Emulation.setEmulatedMedia", json!({"features": feature}));
    }

    /// A window of so many CSS pixels' width.
    pub fn width(&self, width: u32) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.debug("Emulation.setDeviceMetricsOverride", size);
    }

    /// The window, or the whole page, as PNG.
    pub fn screenshot(&self, whole: bool) -> Vec<u8> {
        let shot = self.debug("Page.captureScreenshot", json!({"captureBeyondViewport": whole}));
        bytes(&shot["data"])
    }

    /// The page as PDF, on paper of so many inches, as its style sheet wants it.
    pub fn print(&self, width: f64, height: f64) -> Vec<u8> {
        let options = json!({"paperWidth": width, "paperHeight": height, "preferCSSPageSize": false,
            "printBackground": false, "generateTaggedPDF": true});
        bytes(&self.debug("Page.printToPDF", options)["data"])
    }

    /// Is a dialog of the page's open?
    pub fn dialog(&self) -> bool {
        self.call("GET", "/alert/text", None).is_ok()
    }
}

impl Page for Browser {
    fn open(&self, file: &Path) {
        self.post("/url", json!({"url": format!("file://{}", file.display())}));
    }

    fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []}))
    }

    fn keys(&self, keys: &str) {
        self.post("/actions", json!({"actions": [presses(keys)]}));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Base64, decoded.
pub fn bytes(text: &Value) -> Vec<u8> {
    use base64::prelude::{BASE64_STANDARD, Engine};
    BASE64_STANDARD.decode(text.as_str().expect("there is data")).expect("the data is Base64")
}
