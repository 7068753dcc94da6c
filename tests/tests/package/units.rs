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
