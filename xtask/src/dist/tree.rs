//! The files of a package as they are to be installed: the tree below `target/dist/root`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::{NAME, licences};
use crate::shell;

/// What is only copied: from the repository, to where, executable or not.
const COPIES: [(&str, &str, u32); 9] = [
    ("heartbeat-user/dist/systemd/heartbeat.service", "usr/lib/systemd/system/", 0o644),
    ("heartbeat-user/dist/systemd/heartbeat@.service", "usr/lib/systemd/system/", 0o644),
    ("heartbeat-user/dist/units", "usr/lib/heartbeat-pair/", 0o755),
    ("heartbeat-user/dist/needrestart.conf", "etc/needrestart/conf.d/heartbeat.conf", 0o644),
    ("heartbeat-user/dist/systemd/without-hooks.conf", "usr/share/doc/heartbeat-pair/examples/", 0o644),
    ("heartbeat-user/src/config/example.toml", "usr/share/doc/heartbeat-pair/examples/heartbeat.toml", 0o644),
    ("heartbeat-user/monitoring/alerts.yml", "usr/share/doc/heartbeat-pair/monitoring/", 0o644),
    ("heartbeat-user/monitoring/dashboard.json", "usr/share/doc/heartbeat-pair/monitoring/", 0o644),
    ("heartbeat-user/CHANGELOG.md", "usr/share/doc/heartbeat-pair/", 0o644),
];
/// Where shells look for completions.
const COMPLETIONS: [(&str, &str); 4] = [
    ("bash", "usr/share/bash-completion/completions/heartbeat"),
    ("fish", "usr/share/fish/vendor_completions.d/heartbeat.fish"),
    // Debian's zsh, and everybody else's.
    ("zsh", "usr/share/zsh/vendor-completions/_heartbeat"),
    ("zsh", "usr/share/zsh/site-functions/_heartbeat"),
];

/// Its top.
pub(super) fn root(work: &Path) -> PathBuf {
    work.join("root")
}

/// Makes it anew, of this binary, and Debian's changelog beside it.
pub(super) fn make(work: &Path, binary: &Path, version: &str) -> Result<()> {
    let root = root(work);
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))?;
    }
    let program = root.join("usr/bin/heartbeat");
    put(&program, &[], 0o755)?;
    // What debuggers read is nine tenths of it.
    shell::run(Command::new("strip").arg("-o").arg(&program).arg(binary))
        .context("strip is of Debian's binutils, which a C linker needs, too")?;
    mode(&program, 0o755)?;

    for (from, to, bits) in COPIES {
        let from = shell::repository().join(from);
        let to =
            if to.ends_with('/') { root.join(to).join(from.file_name().unwrap_or_default()) } else { root.join(to) };
        put(&to, &fs::read(&from).with_context(|| from.display().to_string())?, bits)?;
    }
    let doc = root.join("usr/share/doc").join(NAME);
    documents(&doc.join("docs"))?;
    put(&doc.join("third-party.txt"), licences::of_dependencies()?.as_bytes(), 0o644)?;
    let licence = fs::read(shell::repository().join("LICENSE")).context("LICENSE")?;
    put(&root.join("usr/share/licenses").join(NAME).join("LICENSE"), &licence, 0o644)?;

    for (shell, to) in COMPLETIONS {
        put(&root.join(to), said(&program, &["completions", shell])?.as_bytes(), 0o644)?;
    }
    manual(&program, &root.join("usr/share/man/man1"))?;
    let changelog = fs::read_to_string(doc.join("CHANGELOG.md"))?;
    fs::write(work.join("changelog"), debian_changelog(&changelog, version)?).context("the changelog of Debian's form")
}

fn put(path: &Path, bytes: &[u8], bits: u32) -> Result<()> {
    let told = || format!("writing {}", path.display());
    fs::create_dir_all(path.parent().context("a file lies in a folder")?).with_context(told)?;
    fs::write(path, bytes).with_context(told)?;
    mode(path, bits)
}

fn mode(path: &Path, bits: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).with_context(|| path.display().to_string())
}

/// What our binary prints.
fn said(program: &Path, arguments: &[&str]) -> Result<String> {
    shell::read(Command::new(program).args(arguments))
}

/// The pages, with links to where the sample configuration is installed.
fn documents(folder: &Path) -> Result<()> {
    let pages = shell::repository().join("heartbeat-user/docs");
    for page in fs::read_dir(&pages).with_context(|| pages.display().to_string())? {
        let page = page?;
        let text = fs::read_to_string(page.path()).with_context(|| page.path().display().to_string())?;
        let text = text.replace("](../src/config/example.toml)", "](../examples/heartbeat.toml)");
        put(&folder.join(page.file_name()), text.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn manual(program: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    said(program, &["man", &folder.display().to_string()])?;
    let pages = fs::read_dir(folder)?.map(|page| Ok(page?.path())).collect::<Result<Vec<_>>>()?;
    for page in &pages {
        mode(page, 0o644)?;
    }
    shell::run(Command::new("gzip").args(["-9", "-n"]).args(&pages).stdin(Stdio::null()))
}

/// CHANGELOG.md in the form of deb-changelog(5). A section of it begins with `## 0.2.0 (2026-11-27)` and has items that begin with
/// `- `; what is packed as another version than the newest is said to be so.
fn debian_changelog(changelog: &str, version: &str) -> Result<String> {
    let mut text = String::new();
    for (of, date, items) in sections(changelog)? {
        let of = if text.is_empty() { version } else { of };
        let date = shell::read(Command::new("date").args(["--utc", "--rfc-email", "--date", date]))?;
        let lines = items.lines().filter(|line| !line.is_empty());
        let lines =
            lines.map(|line| line.strip_prefix("- ").map_or_else(|| format!("  {line}"), |item| format!("  * {item}")));
        let items = lines.collect::<Vec<_>>().join("\n");
        text += &format!("{NAME} ({of}-1) unstable; urgency=medium\n\n{items}\n\n -- {MAINTAINER}  {date}\n");
    }
    Ok(text)
}

/// The sections of CHANGELOG.md, the newest first: version, date, items.
fn sections(changelog: &str) -> Result<Vec<(&str, &str, &str)>> {
    fn section(section: &str) -> Result<(&str, &str, &str)> {
        let (head, items) = section.split_once('\n').unwrap_or((section, ""));
        let (version, date) =
            head.split_once(" (").context("a section of CHANGELOG.md begins with `## X.Y.Z (DATE)`")?;
        Ok((version, date.trim_end_matches(')'), items))
    }
    let sections = changelog.split("\n## ").skip(1).map(section).collect::<Result<Vec<_>>>()?;
    ensure!(!sections.is_empty(), "CHANGELOG.md has no section `## X.Y.Z (DATE)`");
    Ok(sections)
}

/// When the newest section of CHANGELOG.md is of: the beginning of that day, in seconds since 1970.
pub(super) fn newest(changelog: &str) -> Result<String> {
    let (_, date, _) = sections(changelog)?[0];
    let seconds = shell::read(Command::new("date").args(["--utc", "--date", date, "+%s"]))?;
    Ok(seconds.trim().to_owned())
}

/// As in heartbeat-user/Cargo.toml.
const MAINTAINER: &str = "The Heartbeat authors <heartbeat@packages.invalid>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_changelog_becomes_debians() {
        let text =
            "# Changes\n\n## 0.2.0 (2026-11-27)\n\n- One\n  that goes on.\n- Two.\n\n## 0.1.0 (2026-10-01)\n\n- All.\n";
        let wanted = format!(
            "heartbeat-pair (0.2.1-1) unstable; urgency=medium\n\n  * One\n    that goes on.\n  * Two.\n\n -- {MAINTAINER}  \
             Fri, 27 Nov 2026 00:00:00 +0000\n\nheartbeat-pair (0.1.0-1) unstable; urgency=medium\n\n  * All.\n\n -- \
             {MAINTAINER}  Thu, 01 Oct 2026 00:00:00 +0000\n\n"
        );
        assert_eq!(debian_changelog(text, "0.2.1").unwrap(), wanted);
        assert_eq!(newest(text).unwrap(), "1795737600");
        for wrong in ["# Changes\n", "# Changes\n\n## 0.2.0\n\n- One.\n"] {
            assert!(debian_changelog(wrong, "0.2.1").is_err() && newest(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn whoever_packs_is_who_the_manifest_says() {
        let manifest = fs::read_to_string(shell::repository().join("heartbeat-user/Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("maintainer = \"{MAINTAINER}\"")));
    }
}
