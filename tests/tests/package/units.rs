//! The units, as systemd's own tools see them.

use super::root::Root;
use super::*;

const FOLDER: &str = "usr/lib/systemd/system";
/// As `systemd-analyze security` counts, in tenths: 100 is everything allowed, 96 a unit that says nothing.
const EXPOSURE: [(&str, &str); 2] = [("heartbeat.service", "78"), ("heartbeat@two.service", "78")];

fn analyze(root: &Root) -> Command {
    let mut analyze = Command::new("systemd-analyze");
    analyze.arg(format!("--root={}", root.path("").display())).arg("--no-pager");
    analyze
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let root = Root::new();
    root.install(Packages::of(0));
    for (unit, _) in EXPOSURE {
        let (output, said) = output(analyze(&root).args(["--man=no", "--recursive-errors=no", "verify", unit]));
        assert!(output.status.success() && said.is_empty(), "{unit}: {}\n{said}", output.status);
    }
}

#[test]
fn the_units_are_no_more_exposed_than_they_were() {
    let root = Root::new();
    root.install(Packages::of(0));
    for (unit, most) in EXPOSURE {
        run(analyze(&root).args(["security", "--offline=true", "--threshold", most, unit]));
    }
    let drop_in = root.path(FOLDER).join("heartbeat.service.d");
    fs::create_dir(&drop_in).unwrap();
    fs::copy(root.path("usr/share/doc/heartbeat-pair/examples/without-hooks.conf"), drop_in.join("without-hooks.conf"))
        .unwrap();
    run(analyze(&root).args(["security", "--offline=true", "--threshold", "42", "heartbeat.service"]));
}

/// What an agent that dies is started again by, what keeps the kernel from choosing it, and what keeps a group's server alive beside
/// it. Section, key and value.
const OUTLIVES: [(&str, &str, &str); 5] = [
    ("Unit", "StartLimitIntervalSec", "0"),
    ("Service", "Type", "notify"),
    ("Service", "Restart", "always"),
    ("Service", "OOMScoreAdjust", "-900"),
    ("Service", "KillMode", "process"),
];

/// All that a unit file sets, as systemd reads it: a key belongs to the section above it.
fn settings(unit: &str) -> Vec<(&str, &str, &str)> {
    let (mut section, mut settings) = ("", Vec::new());
    for line in unit.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = name,
            None => {
                let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("sets nothing: {line}"));
                settings.push((section, key.trim(), value.trim()));
            }
        }
    }
    settings
}

#[test]
fn an_agent_that_dies_is_started_again_however_often_and_takes_no_server_along() {
    let root = Root::new();
    root.install(Packages::of(0));
    for unit in ["heartbeat.service", "heartbeat@.service"] {
        let unit_text = text(&root.path(FOLDER).join(unit));
        let all = settings(&unit_text);
        for (section, key, value) in OUTLIVES {
            // Wherever it stands: in another section it would say nothing, and a second one would count instead.
            let found: Vec<_> = all.iter().filter(|setting| setting.1 == key).collect();
            assert_eq!(found, [&(section, key, value)], "{unit}");
        }
    }
}

/// What differs between the two is whose they are.
#[test]
fn the_unit_of_several_pairs_is_the_unit_of_one_with_other_places() {
    let folder = Path::new("../heartbeat-user/dist/systemd");
    let lines = |name: &str| -> Vec<String> { text(&folder.join(name)).lines().map(str::to_owned).collect() };
    let (one, several) = (lines("heartbeat.service"), lines("heartbeat@.service"));
    assert_eq!(one.len(), several.len());
    let differing: Vec<_> = one.iter().zip(&several).filter(|(one, other)| one != other).collect();
    assert_eq!(differing.len(), 6, "{differing:#?}");
    for (one, other) in &differing[2..] {
        let replaced = one.replace("/etc/heartbeat/heartbeat.toml", "/etc/heartbeat/%i.toml");
        let replaced = replaced.replace("/run/heartbeat", "/run/heartbeat-%i");
        assert_eq!(&replaced.replace("Directory=heartbeat", "Directory=heartbeat-%i"), *other);
    }
}
