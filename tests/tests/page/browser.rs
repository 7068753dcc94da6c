//! A real browser beside a controller's agent, with the page open, and everything that it complains of.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use headless_chrome::protocol::cdp::types::Event;
use headless_chrome::protocol::cdp::{Emulation, Network, Page as Cdp};
use headless_chrome::{Browser, Tab};
use heartbeat_tests::lab::{Lab, Node};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

/// Where the agent serves the page.
pub const PAGE: &str = "http://127.0.0.1:9694/";
/// How long something that should happen at once may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// What Debian calls it, and what others do.
const PROGRAMS: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// What the page did that nobody asked of it.
#[derive(Debug, Default)]
pub struct Seen {
    /// The addresses that it asked for.
    pub requests: Vec<String>,
    /// What the console was told: exceptions, warnings, violations of the policy, answers that are errors.
    pub complaints: Vec<String>,
}

/// The page in a browser on controller a. Both end with it.
pub struct Page {
    tab: Arc<Tab>,
    seen: Arc<Mutex<Seen>>,
    pictures: PathBuf,
    _browser: Browser,
    // Dropped last.
    _process: Process,
}

/// The browser and all its processes: they are one group.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.0.id().cast_signed());
        let _already_ended = killpg(group, Signal::SIGKILL);
        let _reaped = self.0.wait();
    }
}

impl Page {
    /// Opens it and waits until it lives.
    pub fn open(lab: &Lab) -> Self {
        let program = PROGRAMS.iter().find(|program| fs::exists(program).unwrap_or(false)).unwrap_or_else(|| {
            panic!("no browser: none of {}; apt-get install chromium", PROGRAMS.join(", "));
        });
        let namespace = lab.controller(Node::A).unwrap();
        let home = lab.folder().join("browser");
        fs::create_dir_all(&home).unwrap();
        let mut command = Command::new(program);
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--remote-debugging-port=0",
            ])
            .args(["--no-first-run", "--no-default-browser-check", "--disable-extensions", "--disable-quic"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-breakpad",
            ])
            .args(["--disable-default-apps", "--disable-domain-reliability", "--no-pings", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", home.display()))
            .arg("about:blank")
            .env("HOME", &home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = Process(namespace.spawn(command).unwrap());
        let said = BufReader::new(process.0.stderr.take().unwrap());
        let (tell, told) = channel();
        // To the end, so that it never waits for a reader.
        thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("DevTools listening on ") {
                    let _nobody_waits_any_more = tell.send(address.to_owned());
                }
            }
        });
        let address = told.recv_timeout(PATIENCE).expect("the browser does not say where it listens");
        let connect = move || Browser::connect_with_timeout(address, Duration::from_secs(120));
        let browser = namespace.run(connect).unwrap().unwrap();
        let tab = browser.new_tab().unwrap();
        tab.set_default_timeout(PATIENCE);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noting = Arc::clone(&seen);
        tab.add_event_listener(Arc::new(move |event: &Event| note(&mut noting.lock().unwrap(), event))).unwrap();
        tab.enable_runtime().unwrap();
        tab.enable_log().unwrap();
        tab.call_method(Network::Enable {
            max_total_buffer_size: None,
            max_resource_buffer_size: None,
            max_post_data_size: None,
            report_direct_socket_traffic: None,
            enable_durable_messages: None,
        })
        .unwrap();
        let pictures = std::env::var_os("HEARTBEAT_SCREENSHOTS").map_or_else(|| home.clone(), PathBuf::from);
        fs::create_dir_all(&pictures).unwrap();
        let page = Self { tab, seen, pictures, _browser: browser, _process: process };
        page.looks(1280, 900, "light");
        page.tab.navigate_to(PAGE).unwrap().wait_until_navigated().unwrap();
        page.wait("document.getElementById('live').dataset.state === 'live'");
        page
    }

    /// The value of a JavaScript expression.
    pub fn value(&self, expression: &str) -> Value {
        let text = format!("Promise.resolve(({expression})).then((value) => JSON.stringify(value ?? null))");
        let found = self.tab.evaluate(&text, true).unwrap_or_else(|error| panic!("{expression}: {error}"));
        let json = found.value.as_ref().and_then(Value::as_str).unwrap_or_else(|| panic!("{expression}: {found:?}"));
        serde_json::from_str(json).unwrap()
    }

    /// Whether a JavaScript condition holds.
    pub fn is(&self, condition: &str) -> bool {
        self.value(&format!("Boolean({condition})")) == true
    }

    /// Waits until a condition holds: it is looked at whenever the document changes.
    pub fn wait(&self, condition: &str) {
        let patience = PATIENCE.as_millis();
        let held = self.value(&format!(
            "new Promise((done) => {{
               const end = (held) => {{ observer.disconnect(); clearTimeout(timer); done(held); }};
               const look = () => {{ if ({condition}) end(true); }};
               const observer = new MutationObserver(look);
               observer.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
               const timer = setTimeout(() => end(false), {patience});
               look();
             }})"
        ));
        if held != true {
            self.picture("failed");
            panic!("not within {PATIENCE:?}: {condition}\nthe page says: {}", self.text("main"));
        }
    }

    /// What the element of that id says.
    pub fn text(&self, id: &str) -> String {
        self.value(&format!("document.getElementById('{id}').textContent")).as_str().unwrap_or_default().to_owned()
    }

    /// Presses keys, one after the other, as somebody without a mouse does.
    pub fn press(&self, keys: &[&str]) {
        for key in keys {
            self.tab.press_key(key).unwrap();
        }
    }

    /// Types text into whatever has the focus.
    pub fn type_text(&self, text: &str) {
        self.tab.type_str(text).unwrap();
    }

    /// Presses Tab until a condition holds of the element that has the focus, `at`; at most so many times.
    pub fn tab_to(&self, condition: &str) {
        const MOST: usize = 120;
        for _ in 0..MOST {
            self.press(&["Tab"]);
            if self.is(&format!("((at) => {condition})(document.activeElement)")) {
                // Who does not see where he is cannot go on.
                assert!(self.is("document.activeElement.matches(':focus-visible')"), "{condition}: no visible focus");
                return;
            }
        }
        panic!("Tab does not lead to {condition}");
    }

    /// Sets the size of the window, and whether it is day or night.
    pub fn looks(&self, width: u32, height: u32, scheme: &str) {
        self.tab
            .call_method(Emulation::SetDeviceMetricsOverride {
                width,
                height,
                device_scale_factor: 1.0,
                mobile: width < 500,
                scale: None,
                screen_width: None,
                screen_height: None,
                position_x: None,
                position_y: None,
                dont_set_visible_size: None,
                screen_orientation: None,
                viewport: None,
                display_feature: None,
                device_posture: None,
            })
            .unwrap();
        let feature = |name: &str, value: &str| Emulation::MediaFeature { name: name.into(), value: value.into() };
        self.tab
            .call_method(Emulation::SetEmulatedMedia {
                media: None,
                features: Some(vec![
                    feature("prefers-color-scheme", scheme),
                    feature("prefers-reduced-motion", "reduce"),
                ]),
            })
            .unwrap();
    }

    /// A picture of the whole page.
    pub fn picture(&self, name: &str) {
        let png = self
            .tab
            .call_method(Cdp::CaptureScreenshot {
                format: Some(Cdp::CaptureScreenshotFormatOption::Png),
                quality: None,
                clip: None,
                from_surface: Some(true),
                capture_beyond_viewport: Some(true),
                optimize_for_speed: None,
            })
            .unwrap();
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, png.data).unwrap();
        fs::write(self.pictures.join(format!("{name}.png")), bytes).unwrap();
    }

    /// Nothing was asked of another host, and nothing went wrong.
    pub fn assert_innocent(&self) {
        self.assert_nothing_foreign();
        let seen = self.seen.lock().unwrap();
        assert!(seen.complaints.is_empty(), "{:?}", seen.complaints);
    }

    /// Nothing was asked of another host, and no complaint but that the agent could not be reached.
    pub fn assert_nothing_foreign(&self) {
        let seen = self.seen.lock().unwrap();
        let ours = |request: &&String| request.starts_with(PAGE) || request.starts_with("data:") || is_plot(request);
        assert_eq!(seen.requests.iter().find(|request| !ours(request)), None);
        assert!(seen.requests.iter().any(|request| request.starts_with(PAGE)));
        let other = seen.complaints.iter().find(|complaint| !complaint.starts_with("Network: Failed to load resource"));
        assert_eq!(other, None);
    }
}

/// A plot that this page has fetched and shows.
fn is_plot(request: &str) -> bool {
    request.strip_prefix("blob:").is_some_and(|of| of.starts_with(PAGE))
}

fn note(seen: &mut Seen, event: &Event) {
    match event {
        Event::NetworkRequestWillBeSent(sent) => seen.requests.push(sent.params.request.url.clone()),
        Event::RuntimeExceptionThrown(thrown) => {
            seen.complaints.push(format!("exception: {:?}", thrown.params.exception_details));
        }
        Event::RuntimeConsoleAPICalled(called) => seen.complaints.push(format!("console: {:?}", called.params.args)),
        Event::LogEntryAdded(added) => {
            let entry = &added.params.entry;
            seen.complaints.push(format!("{:?}: {}", entry.source, entry.text));
        }
        _ => {}
    }
}
