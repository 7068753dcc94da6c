use super::{CheckPlan, Ended, KEPT, Task, health::Health, perform, run, watch};
use std::{path::PathBuf, time::Duration};
use tokio::sync::mpsc;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

/// A folder of this test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("heartbeat-command-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn how_it_ended_and_what_it_wrote_is_told() {
    for (script, ended, output) in [
        ("echo well; echo indeed >&2", Ended::Exit(0), "well\nindeed"),
        ("echo no; exit 3", Ended::Exit(3), "no"),
        ("kill -SEGV $$", Ended::Signal(11), ""),
        ("echo $HEARTBEAT_GROUP $HOME $PWD", Ended::Exit(0), "g0 /"),
    ] {
        let outcome = run(&shell(script), &[("HEARTBEAT_GROUP", "g0".into())], LONG).await;
        assert_eq!((outcome.ended, outcome.output.as_str()), (ended, output), "{script}");
    }
    assert_eq!(Ended::Signal(11).to_string(), "was ended by SIGSEGV");
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let folder = Folder::new("missing");
    let plain = folder.file("plain");
    std::fs::write(&plain, "#!/bin/sh\n").expect("a file");
    for (path, why) in [(folder.file("absent"), "ENOENT"), (plain, "EACCES"), ("/".into(), "EACCES")] {
        let outcome = run(&[path], &[], LONG).await;
        assert!(matches!(&outcome.ended, Ended::NotStarted(text) if text.contains(why)), "{:?}", outcome.ended);
    }
}

#[tokio::test]
async fn one_that_hangs_is_ended_with_everything_that_it_started() {
    let folder = Folder::new("hangs");
    let pid = folder.file("pid");
    let script =
        format!("trap '' TERM; sh -c 'echo $$ > {pid}; exec sleep 1000' & echo begun; while :; do sleep 1000; done");
    // As long as it may need to begin on a busy machine.
    let outcome = run(&shell(&script), &[], Duration::from_secs(2)).await;
    assert!(matches!(outcome.ended, Ended::TimedOut(_)) && outcome.output == "begun", "{outcome:?}");
    assert!(!lives(number(&folder, "pid")), "it has ended when nothing of it lives");
}

/// Whether a process does more than wait for its parent to see its end.
fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

/// Who wrote its number there.
fn number(folder: &Folder, name: &str) -> i32 {
    std::fs::read_to_string(folder.file(name)).expect("it began").trim().parse().expect("a number")
}

/// Whether whoever wrote its number there is gone.
async fn is_gone(folder: &Folder, name: &str) {
    let pid = number(folder, name);
    tokio::time::timeout(LONG, async {
        while lives(pid) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{name} goes on"));
}

#[tokio::test]
async fn what_has_a_session_of_its_own_is_ended_too() {
    let folder = Folder::new("session");
    // As an agent talks to a device over a terminal: by a child that leads another session, with one more below it.
    let far = format!(
        "trap '' TERM HUP; sleep 1000 & echo $! > {}; echo $$ > {}; wait",
        folder.file("below"),
        folder.file("far")
    );
    let script = format!("setsid /bin/sh -c \"{}\" & wait", far.replace('$', "\\$"));
    let outcome = run(&shell(&script), &[], Duration::from_millis(300)).await;
    assert!(matches!(outcome.ended, Ended::TimedOut(_)), "{outcome:?}");
    for name in ["far", "below"] {
        assert!(!lives(number(&folder, name)), "{name} goes on when it has ended");
    }
    // The same where nobody waits for it any more.
    std::fs::remove_file(folder.file("far")).expect("it is there");
    let far_file = PathBuf::from(folder.file("far"));
    let command = shell(&script);
    let running = tokio::spawn(async move { run(&command, &[], LONG).await });
    while !std::fs::read_to_string(&far_file).is_ok_and(|text| text.ends_with('\n')) {
        tokio::task::yield_now().await;
    }
    running.abort();
    let _ = running.await;
    for name in ["far", "below"] {
        is_gone(&folder, name).await;
    }
}

#[tokio::test]
async fn what_it_is_told_comes_by_its_standard_input_whole_and_ends() {
    let words = shell("sha256sum; cat");
    let told = |input: &'static [u8]| async { perform(Task { input, ..Task::new(&words, &[]) }, LONG).await.output };
    assert_eq!(told(b"").await, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  -");
    assert_eq!(told(b"abc").await, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -");
    // More than a pipe holds.
    static MANY: [u8; 1_000_000] = [b'a'; 1_000_000];
    assert_eq!(told(&MANY).await, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0  -");
    // One that does not listen, and ends.
    let deaf = perform(Task { input: &MANY, ..Task::new(&shell("exit 4"), &[]) }, LONG).await;
    assert_eq!(deaf.ended, Ended::Exit(4));
    let quiet = shell("echo no >&2; echo 12345");
    let quiet = perform(Task { with_errors: false, kept: 4, ..Task::new(&quiet, &[]) }, LONG).await;
    assert_eq!(quiet.output, "345");
}

#[tokio::test]
async fn one_that_writes_without_end_fills_nothing_and_keeps_its_last_words() {
    let script = "head -c 20000000 /dev/zero | tr '\\0' x; echo; echo last";
    let outcome = run(&shell(script), &[], LONG).await;
    assert_eq!((outcome.ended, outcome.output.len() <= KEPT), (Ended::Exit(0), true));
    assert!(outcome.output.ends_with("x\nlast"));
    let endless = run(&["/bin/cat".into(), "/dev/zero".into()], &[], SHORT).await;
    assert!(matches!(endless.ended, Ended::TimedOut(_)));
}

#[tokio::test]
async fn one_that_leaves_something_running_ends_when_it_ends() {
    let outcome = run(&shell("sleep 1000 & echo $!"), &[], LONG).await;
    assert_eq!(outcome.ended, Ended::Exit(0));
    let left = nix::unistd::Pid::from_raw(outcome.output.parse().expect("a number"));
    nix::sys::signal::kill(left, nix::sys::signal::Signal::SIGKILL).expect("what it left runs on");
}

#[tokio::test]
async fn it_inherits_nothing() {
    let folder = Folder::new("inherits");
    let _open = std::fs::File::create(folder.file("ours")).expect("a file");
    let script =
        "grep '^SigBlk' /proc/self/status | cut -f2; env | sort | cut -d= -f1 | tr '\\n' ' '; ls -l /proc/self/fd";
    let outcome = run(&shell(script), &[], LONG).await;
    assert!(outcome.output.starts_with("0000000000000000\nLANG PATH PWD "), "{outcome:?}");
    assert!(outcome.output.contains("/dev/null") && !outcome.output.contains("ours"), "{outcome:?}");
}

#[tokio::test]
async fn one_that_nobody_waits_for_is_ended() {
    let folder = Folder::new("dropped");
    let fifo = folder.file("fifo");
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    let command = shell(&format!("echo begun > {fifo}; exec sleep 1000 > {fifo}"));
    let mut lines = tokio::io::BufReader::new(
        tokio::net::unix::pipe::OpenOptions::new().read_write(true).open_receiver(&fifo).expect("its end"),
    );
    let running = tokio::spawn(async move { run(&command, &[], LONG).await });
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line).await.expect("it begins");
    running.abort();
    assert!(running.await.expect_err("it was dropped").is_cancelled());
    let holders = || {
        std::fs::read_dir("/proc").expect("proc").flatten().filter(|entry| {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&fifo)
        })
    };
    tokio::time::timeout(LONG, async {
        while holders().count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it is gone");
}

#[test]
fn a_check_that_flaps_stays_as_it_was() {
    let mut health = Health::new(2, 3);
    assert!(health.take(true), "the first result decides alone");
    for succeeded in [false, false, true, false, false, true] {
        assert!(!health.take(succeeded));
    }
    assert_eq!([false, false, false].map(|s| health.take(s)), [false, false, true]);
    assert_eq!([true, false, true, true].map(|s| health.take(s)), [false, false, false, true]);
}

#[tokio::test]
async fn a_check_reports_each_change_and_nothing_else() {
    let folder = Folder::new("check");
    let good = folder.file("good");
    let plan = CheckPlan {
        command: shell(&format!("test -e {good} && echo pool is well")),
        interval: Duration::from_millis(5),
        timeout: LONG,
        rise: 2,
        fall: 3,
    };
    let (sender, mut changes) = mpsc::unbounded_channel();
    let check = tokio::spawn(watch(plan, Vec::new(), move |good, outcome| {
        let _ = sender.send((good, outcome.output.clone()));
    }));
    assert_eq!(changes.recv().await, Some((false, String::new())));
    std::fs::write(&good, "").expect("a file");
    assert_eq!(changes.recv().await, Some((true, "pool is well".into())));
    std::fs::remove_file(&good).expect("it is there");
    assert_eq!(changes.recv().await, Some((false, String::new())));
    check.abort();
}
