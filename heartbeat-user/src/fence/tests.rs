use super::*;
use crate::config::AgentOptions;
use std::{
    cell::RefCell,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const LONG: Nanos = Nanos::from_millis(20_000);

/// A folder with an agent in it, which takes what it does from files there.
struct Bench {
    folder: tempfile::TempDir,
}

/// Speaks as ClusterLabs' do: what is asked of it is in `asked`, what it does in files of the action's name.
const SCRIPT: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
tr '\0' ' ' < /proc/$$/cmdline >> cmdline; tr '\0' '\n' < /proc/$$/environ >> environ
while read -r line; do
    case "$line" in action=*) action=${line#action=};; esac
    echo "$line" >> asked
done
test -e "$action" || exit 1
. "./$action"
"#;

const METADATA: &str = r#"echo a library warns >&2; cat <<END
<?xml version="1.0" ?>
<resource-agent name="fence_bench" shortdesc="for tests">
<parameters>
  <parameter name="action" required="1"><content type="string" default="reboot" /></parameter>
  <parameter name="ip" required="1" obsoletes="ipaddr"><content type="string" /></parameter>
  <parameter name="ipaddr" required="1" deprecated="1"><content type="string" /></parameter>
  <parameter name="power_wait" required="0"><content type="second" default="0" /></parameter>
  <parameter name="lanplus" required="0"><content type="boolean" /></parameter>
  <parameter name="method"><content type="select"><option value="onoff" /><option value="cycle" /></content></parameter>
  <parameter name="password"><content type="string" /></parameter>
</parameters>
<actions><action name="on" automatic="0"/><action name="off" /><action name="status" /><action name="monitor" /></actions>
</resource-agent>
END"#;

impl Bench {
    /// With these actions, each a shell text.
    fn new(actions: &[(&str, &str)]) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        bench.set("metadata", METADATA);
        actions.iter().for_each(|(action, text)| bench.set(action, text));
        fs::write(bench.path(), SCRIPT).unwrap();
        fs::set_permissions(bench.path(), fs::Permissions::from_mode(0o700)).unwrap();
        bench
    }

    fn set(&self, action: &str, text: &str) {
        fs::write(self.folder.path().join(action), text).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("fence_bench")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn actions(&self) -> Vec<String> {
        self.read("asked").lines().filter_map(|line| line.strip_prefix("action=")).map(str::to_owned).collect()
    }

    fn device(&self, timeout: u64) -> Device {
        device(&self.path(), timeout)
    }

    fn level(&self, timeout: u64) -> Level {
        of([self.device(timeout)])
    }
}

/// A level of these devices.
fn of<const N: usize>(devices: [Device; N]) -> Level {
    Level { key: "fence".into(), devices: devices.into() }
}

fn device(path: &Path, timeout: u64) -> Device {
    let options =
        [[("ip", "192.0.2.101"), ("password", "hunter2x")], [("ip", "192.0.2.102"), ("password", "hunter2x")]];
    Device {
        key: "fence".into(),
        by: Means::Agent {
            name: path.display().to_string(),
            options: options.map(|options| options.into_iter().collect::<AgentOptions>()),
        },
        timeout: Nanos::from_millis(timeout),
        retries: 0,
        pause: Nanos::from_millis(10),
    }
}

/// What became of each level, of a fence that a shoots with.
async fn struck(levels: Vec<Level>) -> (bool, Vec<Ran>) {
    let fence = Fence { levels, status_every: None, delay: [Nanos(0), LONG] };
    let told = RefCell::new(Vec::new());
    let done = strike(&fence, Node::A, &[("HEARTBEAT_NODE", "a".into())], |ran| told.borrow_mut().push(ran)).await;
    (done, told.into_inner())
}

#[tokio::test]
async fn off_is_what_ends_with_0_and_then_says_that_it_is_off() {
    let bench = Bench::new(&[
        ("off", "echo off > power; exit 0"),
        ("status", "grep -q off power 2>/dev/null && exit 2; exit 0"),
    ]);
    let (done, ran) = struck(vec![bench.level(20_000)]).await;
    assert_eq!((done, ran[0].how.as_str()), (true, "ended with 0, and says that it is off"), "{ran:?}");
    assert_eq!(bench.actions(), ["off", "status"]);
    // It is b that is switched off; nothing but by standard input.
    assert_eq!(
        bench.read("asked"),
        "action=off\nip=192.0.2.102\npassword=hunter2x\naction=status\nip=192.0.2.102\npassword=hunter2x\n"
    );
    assert!(!bench.read("cmdline").contains("hunter2x") && !bench.read("environ").contains("hunter2x"));
    assert!(bench.read("environ").contains("HEARTBEAT_NODE=a"));
}

#[tokio::test]
async fn one_that_takes_a_while_to_be_off_is_asked_again() {
    let bench =
        Bench::new(&[("off", "exit 0"), ("status", "echo x >> looks; test $(wc -l < looks) -ge 3 && exit 2; exit 0")]);
    let (done, ran) = struck(vec![bench.level(20_000)]).await;
    assert!(done && ran[0].took >= Duration::from_millis(900), "{ran:?}");
    assert_eq!(bench.actions(), ["off", "status", "metadata", "status", "status"]);
}

#[tokio::test]
async fn one_that_lies_or_says_nothing_of_it_has_not_switched_anything_off() {
    for (status, how) in [
        ("exit 0", "ended with 0, and says all the same that it is on"),
        ("exit 1", "ended with 0; when asked whether it is off, it ended with 1"),
        ("exec sleep 1000", "when asked whether it is off, it did not end within 2"),
    ] {
        let bench = Bench::new(&[("off", "exit 0"), ("status", status)]);
        let (done, ran) = struck(vec![bench.level(3_000)]).await;
        assert!(!done && ran[0].how.contains(how), "{status}: {ran:?}");
        assert!(ran[0].took < Duration::from_secs(8), "{ran:?}");
    }
}

#[tokio::test]
async fn one_that_cannot_be_asked_is_believed_only_where_it_says_so_itself() {
    let bench = Bench::new(&[("off", "exit 0")]);
    bench.set("metadata", &METADATA.replace("<action name=\"status\" />", ""));
    let (done, ran) = struck(vec![bench.level(20_000)]).await;
    assert_eq!((done, ran[0].how.as_str()), (true, "ended with 0; whether it is off it cannot be asked"));
    bench.set("metadata", "echo nothing of use");
    let (done, ran) = struck(vec![bench.level(700)]).await;
    assert!(!done, "{ran:?}");
}

#[tokio::test]
async fn one_that_hangs_is_ended_whole_and_the_next_level_has_its_turn() {
    let hangs = Bench::new(&[("off", "setsid sh -c 'echo $$ > child; exec sleep 1000' & exec sleep 1000")]);
    let missing = of([device(&hangs.folder.path().join("absent"), 20_000)]);
    let fails = Bench::new(&[("off", "echo cannot log in as hunter2x >&2; exit 1")]);
    let works = Bench::new(&[("off", "exit 0"), ("status", "exit 2")]);
    let unused = Bench::new(&[]);
    let levels = vec![hangs.level(400), missing, fails.level(20_000), works.level(20_000), unused.level(20_000)];
    let (done, ran) = struck(levels).await;
    let how: Vec<_> = ran.iter().map(|ran| (ran.level, ran.succeeded, ran.how.as_str(), ran.output.as_str())).collect();
    assert!(done, "{how:?}");
    assert_eq!(how[0], (0, false, "did not end within 400ms", ""));
    assert!(how[1].2.starts_with("could not be started: ") && how[1].2.contains("ENOENT"), "{how:?}");
    assert_eq!(how[2], (2, false, "ended with 1", "cannot log in as ****"));
    assert_eq!((how[3].0, how[3].1, how.len()), (3, true, 4));
    assert_eq!(unused.actions(), [] as [String; 0]);
    let child = nix::unistd::Pid::from_raw(hangs.read("child").trim().parse().unwrap());
    tokio::time::timeout(Duration::from_secs(10), async {
        while nix::sys::signal::kill(child, None).is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("its child is gone");
}

#[tokio::test]
async fn one_that_writes_without_end_is_ended_and_the_next_level_has_its_turn() {
    let bench = Bench::new(&[("off", "exec yes")]);
    bench.set("metadata", "echo '<resource-agent>'; exec yes '<parameter/>'");
    let works = of([Device { by: Means::Command(vec!["/bin/true".into()]), ..device(Path::new(""), 20_000) }]);
    let yes = of([Device { by: Means::Command(vec!["/usr/bin/yes".into()]), ..device(Path::new(""), 20_000) }]);
    let (done, ran) = struck(vec![bench.level(20_000), yes, works]).await;
    let how: Vec<_> = ran.iter().map(|ran| (ran.level, ran.how.as_str(), ran.output.len())).collect();
    let kept = crate::command::KEPT - 1;
    let much = "wrote more than 16 MiB";
    assert_eq!((done, how), (true, vec![(0, much, kept), (1, much, kept), (2, "ended with 0", 0)]));
    assert!(ran.iter().all(|ran| ran.took < Duration::from_secs(15)), "{ran:?}");
    let began = Instant::now();
    let said = metadata(&bench.path().display().to_string(), &[]).await.unwrap_err();
    assert_eq!(said, "asked what it can do, it wrote more than 512 KiB");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Just too much, and then an end.
    bench.set("metadata", "head -c 530000 /dev/zero | tr '\\0' x");
    let said = metadata(&bench.path().display().to_string(), &[]).await.unwrap_err();
    assert_eq!(said, "asked what it can do, it wrote more than 512 KiB");
}

#[tokio::test]
async fn each_level_is_tried_again_as_often_as_it_says() {
    let bench = Bench::new(&[("off", "test -e tried || { touch tried; exit 1; }"), ("status", "exit 2")]);
    let (done, ran) = struck(vec![of([Device { retries: 1, ..bench.device(20_000) }])]).await;
    assert!(done && ran.len() == 1, "{ran:?}");
    assert_eq!(bench.actions(), ["off", "off", "status"]);
}

#[tokio::test]
async fn of_several_devices_all_must_succeed_and_where_one_does_not_the_next_level_has_its_turn() {
    let off = &[("off", "exit 0"), ("status", "exit 2")];
    let (left, right) = (Bench::new(off), Bench::new(off));
    let (done, ran) = struck(vec![of([left.device(20_000), right.device(20_000)])]).await;
    assert!(done && ran.len() == 1, "{ran:?}");
    assert_eq!((ran[0].level, ran[0].device, ran[0].how.as_str()), (0, 1, "ended with 0, and says that it is off"));
    assert_eq!(
        [&left, &right].map(Bench::actions),
        [["off", "status"], ["off", "status"]].map(|asked| asked.map(str::to_owned))
    );
    // One that fails, that is not there, that hangs, and that lies; each the second, before a third that nobody asks.
    for (second, why, within) in [
        (&[("off", "exit 1")][..], "ended with 1; those before", 20_000),
        (&[], "ended with 1; those before", 20_000),
        (&[("off", "exec sleep 1000")], "did not end within 400ms; those before", 400),
        (&[("off", "exit 0"), ("status", "exit 0")], "says all the same that it is on; those before", 700),
    ] {
        let (first, second, third, spare) = (Bench::new(off), Bench::new(second), Bench::new(off), Bench::new(off));
        let level = of([first.device(20_000), second.device(within), third.device(20_000)]);
        let (done, ran) = struck(vec![level, spare.level(20_000)]).await;
        assert!(done && ran.len() == 2, "{ran:?}");
        assert!(!ran[0].succeeded && ran[0].device == 1 && ran[0].how.contains(why), "{ran:?}");
        assert_eq!((ran[1].level, ran[1].succeeded, third.actions()), (1, true, Vec::new()));
        // Without a level that is left, it is not off.
        let (done, ran) = struck(vec![of([first.device(20_000), second.device(within)])]).await;
        assert!(!done && ran.len() == 1, "{ran:?}");
    }
    // Where the first one fails, nothing is switched off.
    let (first, second) = (Bench::new(&[("off", "exit 1")]), Bench::new(off));
    let (done, ran) = struck(vec![of([first.device(20_000), second.device(20_000)])]).await;
    assert_eq!((done, ran[0].how.as_str(), second.actions()), (false, "ended with 1", Vec::new()));
}

#[tokio::test]
async fn the_one_with_the_delay_waits_before_it_shoots() {
    let level = of([Device { by: Means::Command(vec!["/bin/true".into()]), ..device(Path::new(""), 20_000) }]);
    let fence = Fence { levels: vec![level], status_every: None, delay: [Nanos(0), Nanos::from_millis(300)] };
    for (node, waits) in [(Node::A, Duration::ZERO), (Node::B, Duration::from_millis(300))] {
        let began = Instant::now();
        let shot = RefCell::new(None);
        assert!(strike(&fence, node, &[], |ran| *shot.borrow_mut() = Some(began.elapsed() - ran.took)).await);
        let waited = shot.into_inner().unwrap();
        assert!(waited >= waits && (node == Node::B || waited < Duration::from_millis(300)), "{node}: {waited:?}");
    }
}

#[tokio::test]
async fn an_agent_is_asked_again_and_again_and_what_does_not_fit_is_named() {
    let bench = Bench::new(&[("status", "exit $(cat answer)")]);
    bench.set("answer", "0");
    let (to, mut told) = tokio::sync::mpsc::unbounded_channel();
    let watch = watch(bench.device(20_000), Node::B, Some(Nanos::from_millis(1)), Vec::new(), move |asked| {
        drop(to.send(asked))
    });
    let watching = tokio::spawn(watch);
    assert_eq!(told.recv().await, Some(Asked::Unfit(vec![])));
    let mut next = async |wanted: Power| {
        loop {
            if let Some(Asked::Answered { power, of_power: true, .. }) = told.recv().await
                && power == wanted
            {
                return;
            }
        }
    };
    next(Power::On).await;
    bench.set("answer", "2");
    next(Power::Off).await;
    bench.set("answer", "1");
    next(Power::Unknown(crate::command::Ended::Exit(1))).await;
    watching.abort();
    // a's device, which b shoots with.
    assert!(bench.read("asked").contains("ip=192.0.2.101") && !bench.read("asked").contains("192.0.2.102"));
}

#[test]
fn what_an_agent_will_not_take_is_said_with_what_would_be_right() {
    let xml = METADATA.split_once("END\n").unwrap().1.trim_end_matches("END");
    let metadata = Metadata::parse(&format!("warning: old\n{xml}")).unwrap();
    let problems = |options: &[(&str, &str)]| metadata.problems(&options.iter().copied().collect());
    assert_eq!(problems(&[("ip", "x"), ("lanplus", "1"), ("power_wait", "-1"), ("method", "onoff")]), [] as [&str; 0]);
    assert_eq!(problems(&[("ipaddr", "x"), ("lanplus", "Yes")]), [] as [&str; 0], "the name that it had before");
    assert_eq!(
        problems(&[("ipp", "secret"), ("lanplus", "secret"), ("power_wait", "secret"), ("method", "secret")]),
        [
            "option ipp: the agent has none of that name; did you mean ip?",
            "option lanplus: right would be true or false",
            "option method: right would be one of onoff, cycle",
            "option power_wait: right would be a whole number",
            "option ip is missing: the agent requires it",
        ]
    );
    let only_on = xml.replace("<action name=\"off\" />", "");
    let said = Metadata::parse(&only_on).unwrap().problems(&[("ip", "x")].into_iter().collect());
    assert_eq!(said, ["it cannot switch anything off: its actions are on, status, monitor"]);
    for (text, why) in [
        ("", "no XML"),
        ("usage: fence_x [options]", "no XML"),
        ("<?xml version=\"1.0\"?><html></html>", "a <html>, not a <resource-agent>"),
        ("<resource-agent name=\"x\"><parameters/></resource-agent>", "names no actions"),
        ("<!DOCTYPE x [<!ENTITY a \"b\">]><resource-agent>&a;</resource-agent>", "no XML"),
    ] {
        let said = Metadata::parse(text).unwrap_err();
        assert!(said.contains(why), "{text}: {said}");
    }
}

/// What is told of a device that is asked once.
async fn asked_once(bench: &Bench) -> (Asked, Asked) {
    let (to, mut told) = tokio::sync::mpsc::unbounded_channel();
    let watch = watch(bench.device(20_000), Node::A, Some(LONG), Vec::new(), move |asked| drop(to.send(asked)));
    let watching = tokio::spawn(watch);
    let both = async { (told.recv().await.unwrap(), told.recv().await.unwrap()) };
    let (fits, answer) = tokio::time::timeout(Duration::from_secs(10), both).await.expect("it is asked");
    watching.abort();
    (fits, answer)
}

#[tokio::test]
async fn one_that_does_not_answer_is_asked_once_more_before_anybody_is_told() {
    let bench = Bench::new(&[("status", "test -e asked_before && exit 0; touch asked_before; exit 1")]);
    let (fits, answer) = asked_once(&bench).await;
    assert_eq!(fits, Asked::Unfit(vec![]));
    assert_eq!(answer, Asked::Answered { power: Power::On, of_power: true, output: String::new() });
    assert_eq!(bench.actions(), ["metadata", "status", "status"]);
}

#[tokio::test]
async fn one_that_cannot_say_whether_there_is_power_is_asked_whether_its_device_answers() {
    let bench = Bench::new(&[("monitor", "exit 0")]);
    bench.set("metadata", &METADATA.replace("<action name=\"status\" />", ""));
    let (_, answer) = asked_once(&bench).await;
    assert_eq!(answer, Asked::Answered { power: Power::On, of_power: false, output: String::new() });
    assert_eq!(bench.actions(), ["metadata", "monitor"]);
}

#[test]
fn what_an_agent_requires_and_has_a_default_for_or_is_named_by_its_plug_is_not_missed() {
    let xml = "<resource-agent name=\"x\"><parameters>\
        <parameter name=\"ip\" required=\"1\"><content type=\"string\" /></parameter>\
        <parameter name=\"port_as_ip\"><content type=\"boolean\" /></parameter>\
        <parameter name=\"timeout\" required=\"1\"><content type=\"second\" default=\"20\" /></parameter>\
        <parameter name=\"plug\" required=\"1\"><content type=\"string\" default=\"\" /></parameter>\
        </parameters><actions><action name=\"off\" /></actions></resource-agent>";
    let metadata = Metadata::parse(xml).unwrap();
    let problems = |options: &[(&str, &str)]| metadata.problems(&options.iter().copied().collect());
    let missing = |name: &str| format!("option {name} is missing: the agent requires it");
    assert_eq!(problems(&[("ip", "x"), ("plug", "1")]), [] as [&str; 0]);
    assert_eq!(problems(&[("ip", "x")]), [missing("plug")], "an empty default is none");
    assert_eq!(problems(&[("plug", "x"), ("port_as_ip", "1")]), [] as [&str; 0]);
    assert_eq!(problems(&[("plug", "x"), ("port_as_ip", "0")]), [missing("ip")]);
}

#[test]
fn what_switches_a_peer_off_does_not_outlive_whoever_runs_it() {
    let agent = Bench::new(&[("off", "echo $$ > pid; exec sleep 1000")]);
    let command = Bench::new(&[]);
    let text = format!("echo $$ > {}/pid; exec sleep 1000", command.folder.path().display());
    let by = Means::Command(vec!["/bin/sh".into(), "-c".into(), text]);
    for (bench, device) in [(&agent, agent.device(60_000)), (&command, Device { by, ..command.device(60_000) })] {
        let fence = Fence { levels: vec![of([device])], status_every: None, delay: [Nanos(0); 2] };
        let fence: &'static Fence = Box::leak(Box::new(fence));
        let file = bench.folder.path().join("pid");
        let pid = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            // An agent that is killed drops nothing.
            let striking = Box::leak(Box::new(Box::pin(strike(fence, Node::A, &[], |_| {}))));
            let begun = async {
                loop {
                    match fs::read_to_string(&file).unwrap_or_default().trim().parse::<u32>() {
                        Ok(pid) => return pid,
                        Err(_) => sleep(Duration::from_millis(5)).await,
                    }
                }
            };
            let pid = runtime.block_on(async {
                tokio::select! {
                    done = &mut *striking => panic!("it ended: {done}"),
                    pid = begun => pid,
                }
            });
            std::mem::forget(runtime);
            pid
        });
        let stat = format!("/proc/{}/stat", pid.join().unwrap());
        let lives = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while lives() {
            assert!(std::time::Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
