//! What files come to, construct by construct, and that no file can do harm.

mod constructs;
mod faults;
mod language;
mod mutilated;
mod pairs;

use super::*;
use crate::config::{Config, GroupConfig};
use std::fs;

/// An instance that lacks nothing, as a has it; `%` is replaced by more lines of it.
const A: &str = "vrrp_instance VI_1 {
    state MASTER
    interface eth0
    virtual_router_id 51
    priority 150
    nopreempt
    unicast_src_ip 192.0.2.1
    unicast_peer { 192.0.2.2 }
    virtual_ipaddress { 192.0.2.10/24 }
    %
}
";

/// As b has it.
fn b() -> String {
    let b = A.replace("state MASTER", "state BACKUP").replace("priority 150", "priority 100");
    b.replace("192.0.2.2 ", "192.0.2.X ").replace("192.0.2.1\n", "192.0.2.2\n").replace("192.0.2.X", "192.0.2.1")
}

/// What files with these names and texts come to, the first of them controller a's; messages do not have their folder.
fn import(files: &[(&str, &str)], other: Option<&str>, options: &ImportOptions) -> Result<Imported, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let prefix = format!("{}/", folder.path().display());
    let other = other.map(|name| folder.path().join(name));
    let imported = keepalived(&folder.path().join(files[0].0), other.as_deref(), options);
    let mut imported = imported.map_err(|error| error.to_string().replace(&prefix, ""))?;
    imported.toml = imported.toml.replace(&prefix, "/etc/keepalived/");
    for finding in &mut imported.findings {
        for place in &mut finding.places {
            place.file = place.file.replace(&prefix, "").into();
        }
        finding.instead = finding.instead.replace(&prefix, "");
    }
    Ok(imported)
}

/// What one file comes to.
fn alone(text: &str) -> Result<Imported, String> {
    import(&[("a.conf", text)], None, &ImportOptions::default())
}

/// What a's instance with these lines, and these before it, comes to.
fn with(before: &str, lines: &str) -> Imported {
    alone(&format!("{before}\n{}", A.replace('%', lines))).unwrap_or_else(|error| panic!("{error}"))
}

/// What two files come to.
fn both(a: &str, b: &str) -> Result<Imported, String> {
    import(&[("a.conf", a), ("b.conf", b)], Some("b.conf"), &ImportOptions::default())
}

fn config(imported: &Imported) -> Config {
    Config::parse(&imported.toml, "result.toml").unwrap_or_else(|error| panic!("{error}\n{}", imported.toml))
}

fn group(imported: &Imported) -> GroupConfig {
    config(imported).groups.remove(0)
}

/// What was said, one a line, but for notes.
fn losses(imported: &Imported) -> String {
    let lost = imported.findings.iter().filter(|finding| finding.kind != FindingKind::Note);
    lost.map(|finding| format!("{finding}\n")).collect()
}

fn notes(imported: &Imported) -> String {
    imported.findings.iter().map(|finding| format!("{finding}\n")).collect()
}
