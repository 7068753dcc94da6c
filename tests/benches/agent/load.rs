//! What those who ask cost the pulse thread: its lateness with nobody asking, and with 500 listeners of the stream, half of which
//! never read, and 1,000 requests for the status a second.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use heartbeat::cli::client;
use heartbeat_tests::lab::{Config, Family, Lab, Node, Options};
use heartbeat_tests::scenario::{changes, until};
use serde_json::Value;

use super::cost::memory;
use super::{SOON, Trials, pair, table};

const HTTP: &str = "127.0.0.1:9694";
const LISTENERS: usize = 500;
/// What the ring has when they come; even, so that no maintenance is left.
const EVENTS: usize = 2_000;
/// Threads, each with one connection, and requests of each a second.
const ASKERS: u32 = 4;
const EACH: u32 = 250;

pub(crate) fn run(trials: Trials) -> Result<()> {
    let mut config = Config::pair(2, Family::V4).profile("fast");
    config.extra = format!("[api]\nhttp = \"{HTTP}\"\n");
    let lab = pair(Options::default(), &config)?;
    let lasts = Duration::from_secs(if trials.quick { 5 } else { 60 });

    // Something to tell: each order is an event, here and there.
    let folder = lab.runtime_dir(Node::A);
    for i in 0..EVENTS {
        client::post(folder, &format!("/v1/maintenance/{}", if i % 2 == 0 { "on" } else { "off" }))?;
    }
    // The last of them is told, too.
    let orders =
        || lab.events_since(Node::A, lab.run_begin(Node::A)).iter().filter(|line| line.is("maintenance")).count();
    until("all orders told", || Ok((orders() == EVENTS).then_some(())))?;
    let pid = lab.pid(Node::A).context("a does not run")?;
    let before = memory(pid)?;
    let mark = lab.mark(Node::A);
    let quiet = lateness(&lab, || {
        thread::sleep(lasts);
        Ok(())
    })?;
    let mut answered = 0;
    let mut bad = 0;
    let asked = lateness(&lab, || {
        let (ignoring, reading) = listeners(&lab)?;
        let threads: Vec<_> = reading.into_iter().map(|stream| thread::spawn(move || read_all(stream))).collect();
        let askers: Vec<_> = (0..ASKERS)
            .map(|_| Ok::<_, anyhow::Error>((connect(&lab)?, Instant::now() + lasts)))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .map(|(stream, end)| thread::spawn(move || ask(stream, end)))
            .collect();
        for asker in askers {
            match asker.join() {
                Ok(Ok(n)) => answered += n,
                _ => bad += 1,
            }
        }
        drop(ignoring);
        drop(threads);
        Ok(())
    })?;
    let line = |name: &str, document: &Value| -> Vec<String> {
        let at = |percentile: f64| {
            let found = document["percentiles"].as_array().into_iter().flatten();
            let ns = found.filter(|p| p["percentile"] == percentile).find_map(|p| p["ns"].as_f64()).unwrap_or(0.0);
            format!("{:.3}", ns / 1e6)
        };
        vec![name.to_owned(), document["n"].to_string(), at(50.0), at(99.0), at(99.9), at(100.0), String::new()]
    };
    table::print_lines(
        &format!("Lateness of the pulse thread in {lasts:?} (profile fast)"),
        &["ms", "n", "median", "p99", "p99.9", "max", ""],
        vec![line("nobody asks", &quiet), line("500 listeners, 1000 requests/s", &asked)],
    );
    let (after, peak, _) = memory(pid)?;
    println!("resident memory: {:.1} MiB before, {after:.1} MiB after, {peak:.1} MiB at most", before.0);
    println!(
        "answered: {answered} requests, {:.0} a second; askers that were turned away: {bad}; other events meanwhile: {:?}",
        answered as f64 / lasts.as_secs_f64(),
        changes(&lab, Node::A, mark).iter().map(|line| line.event.clone()).collect::<Vec<_>>()
    );
    Ok(())
}

/// The lateness of a's pulse thread while that goes on.
fn lateness(lab: &Lab, meanwhile: impl FnOnce() -> Result<()>) -> Result<Value> {
    let folder = lab.runtime_dir(Node::A);
    client::post(folder, "/v1/histograms/reset")?;
    meanwhile()?;
    let all: Value = serde_json::from_str(&client::get(folder, "/v1/histograms?since=reset")?)?;
    let found = all["histograms"].as_array().into_iter().flatten().find(|h| h["name"] == "lateness");
    found.cloned().context("no histogram of the lateness")
}

fn connect(lab: &Lab) -> Result<TcpStream> {
    let stream = lab.controller(Node::A)?.run(|| TcpStream::connect(HTTP))??;
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

/// Listeners of which half never read, and half do.
fn listeners(lab: &Lab) -> Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let mut streams = Vec::new();
    for _ in 0..LISTENERS {
        let mut stream = connect(lab)?;
        stream.write_all(b"GET /v1/stream?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        streams.push(stream);
    }
    let reading = streams.split_off(LISTENERS / 2);
    Ok((streams, reading))
}

/// Ends when the agent does, or when it is silent.
fn read_all(mut stream: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while matches!(stream.read(&mut buffer), Ok(1..)) {}
}

/// Asks for the status at an even pace; how often it was answered.
fn ask(stream: TcpStream, end: Instant) -> Result<u64> {
    let pause = Duration::from_secs(1) / EACH;
    let mut next = Instant::now();
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut answered = 0;
    while next < end {
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            ensure!(reader.read_line(&mut line)? > 0, "the agent broke off");
            if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                length = value.trim_end().parse()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        answered += 1;
        next += pause;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(answered)
}
