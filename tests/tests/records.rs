//! Where events and latencies go: files, the host's own log, a command; and that none of them ever holds an agent up.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use heartbeat_tests::lab::{Config, Lab, Node, Options};
use heartbeat_tests::scenario::{SOON, owners, settled, until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;

/// A pair that is well, whose agents have `extra` in their configuration; {} stands for a folder that is there.
fn running(extra: &str) -> (Lab, PathBuf) {
    let lab = Lab::new(Options::default()).unwrap();
    let folder = lab.folder().join("records");
    fs::create_dir(&folder).unwrap();
    start(&lab, &folder, extra);
    (lab, folder)
}

/// Controller a has `extra`, b has not: both would write to the same files.
fn start(lab: &Lab, folder: &Path, extra: &str) {
    let config = Config::usual();
    lab.configure(&config).unwrap();
    let extra = extra.replace("{}", &folder.display().to_string());
    let text = fs::read_to_string(lab.config_file(Node::A)).unwrap();
    lab.configure_text(Node::A, &format!("{text}\n{extra}")).unwrap();
    lab.start_both().unwrap();
    settled(lab, &config).unwrap();
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or(Value::Null)).collect()
}

fn ids(records: &[Value]) -> Vec<u64> {
    records.iter().filter_map(|record| record["id"].as_u64()).collect()
}

/// What `heartbeat events` shows.
fn shown(lab: &Lab) -> Vec<Value> {
    let arguments = ["events".as_ref(), "--json".as_ref(), "--since".as_ref(), "1h".as_ref(), "--runtime-dir".as_ref()];
    let arguments = arguments.into_iter().chain([lab.runtime_dir(Node::A).as_os_str()]);
    let (status, text, error) = heartbeat_tests::lab::heartbeat(arguments, SOON).unwrap();
    assert!(status.success(), "{error}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sink(lab: &Lab, what: &str) -> Value {
    let status = lab.status(Node::A).unwrap().json;
    let sinks = status["sinks"].as_array().unwrap().clone();
    sinks.into_iter().find(|sink| sink["what"] == what).unwrap_or(Value::Null)
}

#[test]
fn events_outlive_the_agent_in_their_file_and_are_shown_by_the_next_one_whose_ids_go_on() {
    let (lab, folder) = running("[events]\nfile = \"{}/events.jsonl\"\n");
    let file = folder.join("events.jsonl");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    lab.stop(Node::A).unwrap();
    let first = lines(&file);
    assert_eq!((&first[0]["event"], &first.last().unwrap()["event"]), (&"channel_attached".into(), &"stopped".into()));
    lab.start(Node::A).unwrap();
    lab.wait_event(Node::A, |line| line.is("peer_good"), SOON).unwrap();
    lab.kill(Node::A).unwrap();
    // As if it had died while it wrote.
    fs::write(&file, fs::read_to_string(&file).unwrap() + "{\"event\":\"chan").unwrap();
    lab.start(Node::A).unwrap();
    lab.wait_event(Node::A, |line| line.is("peer_good"), SOON).unwrap();
    lab.wait_event(Node::A, |line| line.raw["message"].to_string().contains("1 lines are not events"), SOON).unwrap();
    let mark = lab.mark(Node::A);
    lab.reload(Node::A).unwrap();
    lab.wait_event_since(Node::A, mark, |line| line.is("ready"), SOON).unwrap();
    lab.cut("a-net1").unwrap();
    lab.wait_event(Node::A, |line| line.is_of("channel_bad", "net1"), SOON).unwrap();
    let has = |records: &[Value]| records.iter().any(|record| record["event"] == "channel_bad");
    let all = until("the file has it", || Ok(Some(lines(&file)).filter(|lines| has(lines)))).unwrap();
    assert_eq!(all.iter().filter(|line| line.is_null()).count(), 1, "the torn one, and no other");
    let (in_file, shown) = (ids(&all), ids(&shown(&lab)));
    assert!(in_file.windows(2).all(|pair| pair[0] < pair[1]), "{in_file:?}");
    assert!(shown.starts_with(&in_file) || in_file.starts_with(&shown), "{in_file:?}\n{shown:?}");
    let lost = lab.events_since(Node::A, lab.run_begin(Node::A));
    let told = lost.iter().filter_map(|line| line.raw["id"].as_u64()).filter(|id| !in_file.contains(id)).count();
    assert!(told <= 3, "{told} events are on standard output and not in the file");
}

/// A small file system, there for as long as this is.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path) -> Self {
        fs::create_dir(path).unwrap();
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).unwrap();
        Self(path.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_is_said_once_holds_nobody_up_and_costs_nothing_once_there_is_room_again() {
    let lab = Lab::new(Options::default()).unwrap();
    let small = Small::mount(&lab.folder().join("small"));
    let extra = "[events]\nfile = \"{}/events.jsonl\"\n[histograms]\nlog = \"{}/latency.hlog\"\nevery = \"1s\"\n";
    start(&lab, &small.0, extra);
    let file = small.0.join("events.jsonl");
    let ballast = small.0.join("ballast");
    let _ = fs::write(&ballast, vec![0; 1 << 20]);
    until("a write failed", || {
        let mark = lab.mark(Node::A);
        lab.cut("a-net1")?;
        lab.wait_event_since(Node::A, mark, |line| line.is_of("channel_bad", "net1"), SOON)?;
        lab.mend("a-net1")?;
        lab.wait_event_since(Node::A, mark, |line| line.is_of("channel_good", "net1"), SOON)?;
        Ok((sink(&lab, "event_file")["works"] == false).then_some(()))
    })
    .unwrap();
    until("the other log failed", || Ok((sink(&lab, "histogram_log")["works"] == false).then_some(()))).unwrap();
    lab.power_off(Node::B).unwrap();
    lab.wait_event(Node::A, |line| line.is_of("group_acquired", "storage-b"), SOON).unwrap();
    let errors = |what: &str| {
        let all = lab.events_since(Node::A, lab.run_begin(Node::A));
        let fits = |line: &&heartbeat_tests::lab::LogLine| {
            line.raw["level"] == "error" && line.raw["message"].as_str().unwrap_or_default().starts_with(what)
        };
        all.iter().filter(fits).map(|line| line.raw["message"].to_string()).collect::<Vec<_>>()
    };
    for what in ["event_file", "histogram_log"] {
        let said = errors(what);
        assert!(said.len() == 1 && said[0].contains("No space left on device"), "{said:?}");
    }
    fs::remove_file(&ballast).unwrap();
    for what in ["event_file", "histogram_log"] {
        let works = |line: &heartbeat_tests::lab::LogLine| {
            line.raw["message"].as_str().is_some_and(|text| text.starts_with(what) && text.contains("works again"))
        };
        lab.wait_event(Node::A, works, SOON).unwrap();
    }
    lab.stop(Node::A).unwrap();
    let all = lines(&file);
    assert!(all.iter().all(|line| line["id"].is_u64()), "a torn line in {all:?}");
    let told: Vec<_> =
        lab.events_since(Node::A, lab.run_begin(Node::A)).iter().filter_map(|l| l.raw["id"].as_u64()).collect();
    assert_eq!(ids(&all), told, "every event is in the file, also those of the full disk");
    sums(&small.0.join("latency.hlog"));
}

/// How many values each histogram has in all intervals of a log.
fn sums(path: &Path) -> BTreeMap<String, u64> {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let text = fs::read(path).unwrap();
    let mut sums = BTreeMap::new();
    for entry in IntervalLogIterator::new(&text) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        let bytes = decoded(interval.encoded_histogram());
        let counts: hdrhistogram::Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        *sums.entry(interval.tag().unwrap().as_str().to_owned()).or_default() += counts.len();
    }
    sums
}

/// Base64 (RFC 4648).
fn decoded(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> = text.chars().filter_map(|c| DIGITS.find(c)).map(|digit| digit as u32).collect();
    let bytes = |group: &[u32]| {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        bits.to_be_bytes()[1..group.len()].to_vec()
    };
    digits.chunks(4).flat_map(bytes).collect()
}

#[test]
fn the_intervals_of_the_latency_log_add_up_to_the_totals() {
    let (lab, folder) = running("[histograms]\nlog = \"{}/latency.hlog\"\nevery = \"1s\"\n");
    let log = folder.join("latency.hlog");
    let read = || sums(&log);
    until("two intervals", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        Ok((text.matches("Tag=rtt/net1,").count() >= 2).then_some(()))
    })
    .unwrap();
    // What the status has just before the end is the least, just after it there is nobody to ask.
    let least = lab.status(Node::A).unwrap().json;
    lab.stop(Node::A).unwrap();
    let sums = read();
    for (name, key) in [("rtt/net1", "rtt"), ("inter_arrival/net1", "inter_arrival")] {
        let least = least["channels"][0][key]["n"].as_u64().unwrap();
        let sum = sums[name];
        assert!(least > 10 && (least..least + 20).contains(&sum), "{name}: {sum} in the log, {least} in the status");
    }
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("#[Histogram log format version 1.3]\n"), "{}", &text[..200]);
}

#[test]
fn a_command_is_told_what_happened_and_damped_and_hears_of_the_end() {
    let lab = Lab::new(Options::default()).unwrap();
    let folder = lab.folder().join("records");
    fs::create_dir(&folder).unwrap();
    let script = folder.join("page");
    let told = folder.join("told");
    let line =
        "$1 $HEARTBEAT_EVENT $HEARTBEAT_SEVERITY $HEARTBEAT_CONTROLLER $HEARTBEAT_CHANNEL +$HEARTBEAT_SUPPRESSED";
    let text = format!("#!/bin/sh\necho \"{line}\" >> {0}\necho \"$HEARTBEAT_RECORD\" >> {0}.json\n", told.display());
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let extra =
        "[events]\non_event = [\"{}/page\", \"oncall\"]\non_event_severity = \"notice\"\non_event_damping = \"1h\"\n";
    start(&lab, &folder, extra);
    let read = || fs::read_to_string(&told).unwrap_or_default();
    for _ in 0..3 {
        let mark = lab.mark(Node::A);
        lab.cut("xlink").unwrap();
        lab.wait_event_since(Node::A, mark, |line| line.is_of("channel_bad", "xlink"), SOON).unwrap();
        lab.mend("xlink").unwrap();
        lab.wait_event_since(Node::A, mark, |line| line.is_of("channel_good", "xlink"), SOON).unwrap();
    }
    let bad = "oncall channel_bad warning a xlink +0\n";
    until("the command was told", || Ok(read().contains(bad).then_some(()))).unwrap();
    // A new life knows what was told, and what was left out.
    let mark = lab.mark(Node::A);
    lab.reload(Node::A).unwrap();
    lab.wait_event_since(Node::A, mark, |line| line.is("ready"), SOON).unwrap();
    lab.stop(Node::A).unwrap();
    let all = read();
    assert_eq!(all.matches("channel_bad").count(), 2, "once, and once for those left out: {all}");
    assert!(all.ends_with("oncall stopped notice a  +0\n"), "{all}");
    let summary = all.lines().rev().nth(1).unwrap();
    assert!(summary.starts_with("oncall channel_bad warning a xlink +"), "{all}");
    let records = lines(&told.with_extension("json"));
    assert!(records.iter().all(|record| record["id"].is_u64() && record["text"].is_string()), "{records:?}");
}

#[test]
fn a_standard_output_that_nobody_reads_holds_nobody_up() {
    let (lab, folder) = running("[events]\nfile = \"{}/events.jsonl\"\n");
    let file = folder.join("events.jsonl");
    lab.stop(Node::A).unwrap();
    // The same agent once more, by hand: its standard output is a pipe that is full, and it has nobody else.
    let (_unread, input) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&input, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4_096)).unwrap();
    std::io::Write::write_all(&mut &input, &[b'x'; 4_096]).unwrap();
    let mut command = std::process::Command::new(heartbeat_tests::lab::binary().unwrap());
    command.arg("run").arg("--config").arg(lab.config_file(Node::A));
    command.args(["--node", "a", "--runtime-dir"]).arg(lab.runtime_dir(Node::A));
    command.stdout(input).stderr(std::process::Stdio::null());
    let mut agent = lab.controller(Node::A).unwrap().spawn(command).unwrap();
    let has = |event: &str, subject: &str| {
        let fits = |line: &Value| line["event"] == event && (line["group"] == subject || line["channel"] == subject);
        until(&format!("{event} {subject}"), || Ok(lines(&file).iter().rev().take(60).any(fits).then_some(())))
    };
    until("it hears its peer", || Ok((lab.status(Node::A)?.json["peer"]["state"] == "good").then_some(()))).unwrap();
    lab.power_off(Node::B).unwrap();
    has("group_acquired", "storage-b").unwrap();
    until("it is said to hang", || Ok((sink(&lab, "standard_output")["works"] == false).then_some(()))).unwrap();
    assert_eq!(sink(&lab, "event_file")["works"], true);
    let begin = std::time::Instant::now();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(agent.id() as i32), nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(agent.wait().unwrap().success());
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert_eq!(lines(&file).last().unwrap()["event"], "stopped");
}

#[test]
fn a_file_that_is_moved_away_is_begun_anew() {
    let (lab, folder) = running("[events]\nfile = \"{}/events.jsonl\"\n");
    let (file, moved) = (folder.join("events.jsonl"), folder.join("events.jsonl-20260101"));
    fs::rename(&file, &moved).unwrap();
    lab.cut("a-net1").unwrap();
    let bad = |path: &Path| lines(path).iter().any(|line| line["event"] == "channel_bad");
    until("the new file has it", || Ok(bad(&file).then_some(()))).unwrap();
    assert!(!bad(&moved) && !lines(&moved).is_empty());
}

/// An agent on controller a with systemd's own journald, in a mount namespace of their own; what the journal has in the end.
struct Journaled {
    process: std::process::Child,
    folder: PathBuf,
}

/// $1 the agent, $2 its configuration, $3 its runtime directory, $4 a folder, $5 whether the journal is its standard output.
const JOURNALED: &str = r#"set -e
trap 'kill $agent $journald 2>/dev/null || true' EXIT
mkdir -p /run/systemd /run/log "$4/dev"
mount -t tmpfs none /run/systemd; mount -t tmpfs none /run/log
mount --bind /dev "$4/dev"; mount -t tmpfs none /dev
for device in null zero urandom random; do touch /dev/$device; mount --bind "$4/dev/$device" /dev/$device; done
mkdir -p /run/systemd/journal; ln -s /run/systemd/journal/dev-log /dev/log
/lib/systemd/systemd-journald & journald=$!
echo $journald > "$4/journald.pid"
until [ -S /run/systemd/journal/socket ] && [ -S /run/systemd/journal/stdout ]; do sleep 0.05; done
run() { exec "$1" run --config "$2" --node a --runtime-dir "$3"; }
if [ "$5" = true ]; then
    systemd-cat sh -c 'JOURNAL_STREAM=$(stat -L -c %d:%i /proc/$$/fd/1) exec "$0" run --config "$1" --node a --runtime-dir "$2"' "$1" "$2" "$3" & agent=$!
else
    run "$1" "$2" "$3" > "$4/stdout" & agent=$!
fi
read -r _ || true
kill $agent; wait $agent
journalctl --sync || sleep 1
journalctl --directory=/run/log/journal --merge -o json --no-pager > "$4/journal" || journalctl --directory=/run/log/journal/* -o json --no-pager > "$4/journal"
kill $journald; wait $journald || true
trap - EXIT
umount "$4/dev" || true
"#;

impl Journaled {
    fn start(lab: &Lab, system_log: &str, stdout: bool) -> Self {
        let folder = lab.folder().join("records");
        fs::create_dir(&folder).unwrap();
        let config = Config::usual();
        lab.configure(&config).unwrap();
        let text = fs::read_to_string(lab.config_file(Node::A)).unwrap();
        let extra = format!("[events]\nsystem_log = \"{system_log}\"\nfile = \"{}/events\"\n", folder.display());
        lab.configure_text(Node::A, &format!("{text}\n{extra}")).unwrap();
        let mut command = std::process::Command::new("unshare");
        command.args(["-m", "sh", "-c", JOURNALED, "sh"]).arg(heartbeat_tests::lab::binary().unwrap());
        command.arg(lab.config_file(Node::A)).arg(lab.runtime_dir(Node::A)).arg(&folder).arg(stdout.to_string());
        command.stdin(std::process::Stdio::piped());
        let process = lab.controller(Node::A).unwrap().spawn(command).unwrap();
        lab.start(Node::B).unwrap();
        until("it serves", || Ok((owners(&lab.status(Node::A)?.json) == ["a", "b"]).then_some(()))).unwrap();
        Self { process, folder }
    }

    fn has(&self, event: &str, subject: &str) {
        let fits = |line: &Value| line["event"] == event && (line["group"] == subject || line["channel"] == subject);
        until(event, || Ok(lines(&self.folder.join("events")).iter().any(fits).then_some(()))).unwrap();
    }

    fn journald(&self) -> nix::unistd::Pid {
        let pid = fs::read_to_string(self.folder.join("journald.pid")).unwrap();
        nix::unistd::Pid::from_raw(pid.trim().parse().unwrap())
    }

    /// Stops the agent; the journal's entries that it wrote, and its lines on standard output.
    fn end(mut self) -> (Vec<Value>, Vec<Value>) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
        let all = lines(&self.folder.join("journal"));
        let own = all.into_iter().filter(|entry| entry["SYSLOG_IDENTIFIER"] == "heartbeat").collect();
        (own, lines(&self.folder.join("stdout")))
    }
}

impl Drop for Journaled {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(self.journald(), nix::sys::signal::Signal::SIGCONT);
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

#[test]
fn the_journal_has_every_event_with_its_fields_and_instead_of_standard_output_where_that_leads_there() {
    for (system_log, stdout) in [("journal", false), ("auto", true)] {
        let lab = Lab::new(Options::default()).unwrap();
        let agent = Journaled::start(&lab, system_log, stdout);
        lab.cut("a-net1").unwrap();
        agent.has("channel_bad", "net1");
        let file = agent.folder.join("events");
        let (entries, written) = agent.end();
        let told: Vec<u64> = entries.iter().filter_map(|entry| entry["HEARTBEAT_ID"].as_str()?.parse().ok()).collect();
        assert_eq!(told, ids(&lines(&file)), "each event once, {system_log}");
        let bad = entries.iter().find(|entry| entry["HEARTBEAT_EVENT"] == "channel_bad").unwrap();
        assert_eq!(
            (&bad["PRIORITY"], &bad["HEARTBEAT_CHANNEL"], &bad["_TRANSPORT"]),
            (&"4".into(), &"net1".into(), &"journal".into())
        );
        assert!(bad["MESSAGE"].as_str().unwrap().starts_with("net1 is BAD: silent for "), "{bad}");
        assert!(bad["HEARTBEAT_SILENT_NS"].as_str().unwrap().parse::<u64>().unwrap() > 200_000_000, "{bad}");
        assert_eq!(bad["MESSAGE_ID"].as_str().unwrap().len(), 32, "{bad}");
        // Where standard output is not the journal, it has them, too.
        assert_eq!(written.iter().any(|line| line["event"] == "channel_bad"), !stdout, "{system_log}");
    }
}

#[test]
fn a_syslog_daemon_gets_every_event_by_dev_log() {
    let lab = Lab::new(Options::default()).unwrap();
    let agent = Journaled::start(&lab, "syslog", false);
    lab.cut("a-net1").unwrap();
    agent.has("channel_bad", "net1");
    let (entries, _) = agent.end();
    let bad =
        |entry: &&Value| entry["MESSAGE"].as_str().is_some_and(|text| text.starts_with("channel_bad: net1 is BAD"));
    let bad = entries.iter().find(bad).unwrap_or_else(|| panic!("{entries:?}"));
    assert_eq!(
        (&bad["PRIORITY"], &bad["SYSLOG_FACILITY"], &bad["_TRANSPORT"]),
        (&"4".into(), &"3".into(), &"syslog".into())
    );
    assert!(bad["MESSAGE"].as_str().unwrap().contains("{\"silent_ns\":"), "{bad}");
    assert!(entries.iter().any(|entry| entry["MESSAGE"].to_string().contains("stopped: the agent ended")));
}

#[test]
fn a_journal_that_hangs_holds_nobody_up_and_gets_everything_when_it_goes_on() {
    let lab = Lab::new(Options::default()).unwrap();
    let agent = Journaled::start(&lab, "journal", false);
    nix::sys::signal::kill(agent.journald(), nix::sys::signal::Signal::SIGSTOP).unwrap();
    let hangs = until("it hangs", || {
        let number =
            |event: &str| lines(&agent.folder.join("events")).iter().filter(|line| line["event"] == event).count();
        for word in ["on", "off"] {
            let before = number("maintenance");
            lab.order(Node::A, &["maintenance", word])?;
            until("maintenance", || Ok((number("maintenance") > before).then_some(())))?;
        }
        Ok((sink(&lab, "system_log")["works"] == false).then_some(()))
    });
    lab.power_off(Node::B).unwrap();
    agent.has("group_acquired", "storage-b");
    nix::sys::signal::kill(agent.journald(), nix::sys::signal::Signal::SIGCONT).unwrap();
    hangs.unwrap();
    until("it works", || Ok((sink(&lab, "system_log")["works"] == true).then_some(()))).unwrap();
    let file = agent.folder.join("events");
    let (entries, _) = agent.end();
    let told: Vec<u64> = entries.iter().filter_map(|entry| entry["HEARTBEAT_ID"].as_str()?.parse().ok()).collect();
    assert_eq!(told, ids(&lines(&file)));
}
