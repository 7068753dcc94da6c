//! What is in the packages.

use super::*;

/// What each of them must have.
const FILES: [&str; 16] = [
    "usr/bin/heartbeat",
    "usr/lib/heartbeat-pair/units",
    "usr/lib/systemd/system/heartbeat.service",
    "usr/lib/systemd/system/heartbeat@.service",
    "usr/share/man/man1/heartbeat.1.gz",
    "usr/share/man/man1/heartbeat-reload.1.gz",
    "usr/share/bash-completion/completions/heartbeat",
    "usr/share/fish/vendor_completions.d/heartbeat.fish",
    "_heartbeat",
    "usr/share/doc/heartbeat-pair/docs/operations.md",
    "usr/share/doc/heartbeat-pair/examples/heartbeat.toml",
    "usr/share/doc/heartbeat-pair/examples/without-hooks.conf",
    "usr/share/doc/heartbeat-pair/monitoring/alerts.yml",
    "usr/share/doc/heartbeat-pair/monitoring/dashboard.json",
    "usr/share/doc/heartbeat-pair/third-party.txt",
    "usr/share/doc/heartbeat-pair/CHANGELOG.md",
];

/// The lines of a listing that name a file so.
fn named<'a>(listing: &'a str, file: &str) -> Vec<&'a str> {
    listing.lines().filter(|line| line.ends_with(&format!("/{file}"))).collect()
}

/// Made twice and compared: `xtask dist --check` fails otherwise.
#[test]
fn all_packages_are_equal_to_the_byte_when_they_are_made_again() {
    let packages = Packages::of(0);
    for end in ["deb", "tar.gz"] {
        assert!(fs::metadata(packages.file(end)).unwrap().len() > 1_000_000, "{end}");
    }
}

#[test]
fn the_deb_has_all_files_as_roots_and_the_one_conffile_and_says_what_it_is() {
    let deb = Packages::of(0).deb();
    let listing = run(Command::new("dpkg-deb").arg("--contents").arg(&deb));
    for file in FILES {
        let lines = named(&listing, file);
        assert_eq!(lines.len(), 1, "{file} in {listing}");
        let executable = file == "usr/bin/heartbeat" || file == "usr/lib/heartbeat-pair/units";
        assert!(lines[0].starts_with(if executable { "-rwxr-xr-x 0/0" } else { "-rw-r--r-- 0/0" }), "{lines:?}");
    }
    for file in ["changelog.Debian.gz", "copyright"] {
        assert_eq!(named(&listing, &format!("usr/share/doc/heartbeat-pair/{file}")).len(), 1, "{listing}");
    }
    let field = |name: &str| run(Command::new("dpkg-deb").arg("--field").arg(&deb).arg(name)).trim().to_owned();
    assert_eq!(field("Package"), "heartbeat-pair");
    assert_eq!(field("Version"), format!("{}-1", VERSIONS[0]));
    assert_eq!(field("Conflicts"), "heartbeat", "that of Linux-HA");
    let depends = field("Depends");
    assert!(depends.split(", ").all(|one| one.starts_with("libc6 ") || one.starts_with("libgcc")), "{depends}");
    let folder = tempfile::tempdir().unwrap();
    run(Command::new("dpkg-deb").arg("--control").arg(&deb).arg(folder.path()));
    assert_eq!(text(&folder.path().join("conffiles")).trim(), "/etc/needrestart/conf.d/heartbeat.conf");
    for script in ["postinst", "prerm", "postrm"] {
        run(Command::new("sh").arg("-n").arg(folder.path().join(script)));
    }
}

#[test]
fn the_tarball_has_the_same_files_in_a_folder_of_its_own() {
    let listing =
        run(Command::new("tar").arg("--list").arg("--verbose").arg("--file").arg(Packages::of(0).file("tar.gz")));
    let top = format!("heartbeat-pair-{}/", VERSIONS[0]);
    assert!(listing.lines().all(|line| line.contains(&format!(" {top}")) && line.contains(" root/root ")), "{listing}");
    for file in FILES.iter().filter(|file| **file != "_heartbeat") {
        assert_eq!(named(&listing, file).len(), 1, "{file} in {listing}");
    }
    assert_eq!(named(&listing, "usr/share/licenses/heartbeat-pair/LICENSE").len(), 1, "{listing}");
}

#[test]
fn what_is_installed_works_and_has_the_licences_of_all_that_is_linked_into_it() {
    let root = root::Root::new();
    root.install(Packages::of(0));
    let agent = root.path("usr/bin/heartbeat");
    assert_eq!(run(Command::new(&agent).arg("--version")).trim(), format!("heartbeat {}", env!("CARGO_PKG_VERSION")));
    let said = output(Command::new(&agent).args(["reload", "--runtime-dir"]).arg(root.path("run/heartbeat"))).1;
    assert!(said.contains("no agent answers"), "{said}");
    let doc = root.path("usr/share/doc/heartbeat-pair");
    let third = text(&doc.join("third-party.txt"));
    for linked in ["aya ", "tokio ", "aya-ebpf ", "Permission is hereby granted", "Apache License"] {
        assert!(third.contains(linked), "{linked}");
    }
    assert!(!third.contains("headless_chrome"), "that is linked into tests only");
    // The pages' links lead somewhere here, too.
    for page in fs::read_dir(doc.join("docs")).unwrap().map(|entry| entry.unwrap().path()) {
        let page = text(&page);
        let links = page.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for link in links.filter(|link| !link.is_empty() && !link.starts_with("http")) {
            assert!(doc.join("docs").join(link).exists(), "{link}");
        }
    }
}
