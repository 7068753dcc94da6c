//! What is linked into the binary, under which licences, and their texts, as cargo tells it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{setup, shell};

/// The package whose dependencies are told.
const OURS: &str = "heartbeat-user";
/// What files with such texts are called, in lower case.
const NAMES: [&str; 6] = ["license", "licence", "copying", "copyright", "notice", "unlicense"];
const RULE: &str = "================================================================================\n";

/// A list with a line for each crate, then each text with the crates that it is of.
///
/// # Errors
/// A crate names no licence, or cargo does not tell.
pub(super) fn of_dependencies() -> Result<String> {
    let mut text = "Heartbeat is linked with the standard library of Rust (MIT OR Apache-2.0; https://www.rust-lang.org) and with \
                    these crates. Their licences follow, each text once.\n\n"
        .to_owned();
    let mut texts = BTreeMap::<String, BTreeSet<String>>::new();
    for package in packages()? {
        let name = format!("{} {}", word(&package, "name")?, word(&package, "version")?);
        let licence = package["license"].as_str().or(package["license_file"].as_str());
        let licence = licence.with_context(|| format!("{name} names no licence"))?;
        text += &format!("{name:<40} {licence}\n");
        let folder = Path::new(word(&package, "manifest_path")?).parent().context("a manifest lies in a folder")?;
        for found in licence_files(folder)? {
            texts.entry(found).or_default().insert(name.clone());
        }
    }
    ensure!(!texts.is_empty(), "no crate has the text of its licence");
    for (licence, of) in texts {
        let of = of.into_iter().collect::<Vec<_>>().join(", ");
        text += &format!("\n{RULE}{of}\n\n{}\n", licence.trim_end());
    }
    Ok(text)
}

fn licence_files(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let is_code = path.extension().is_some_and(|end| end == "rs");
        if path.is_file() && !is_code && NAMES.iter().any(|begin| name.starts_with(begin)) {
            texts.push(String::from_utf8_lossy(&fs::read(&path)?).replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}

/// The crates of others that are linked into the binary or into the XDP program, by name.
fn packages() -> Result<Vec<Value>> {
    let target = setup::host()?;
    let metadata = shell::read(
        shell::cargo()
            .args(["metadata", "--format-version=1", "--locked", "--offline", "--all-features"])
            .args(["--filter-platform", &target]),
    )?;
    let metadata: Value = serde_json::from_str(&metadata).context("what `cargo metadata` printed")?;
    let (packages, nodes) = (list(&metadata["packages"]), list(&metadata["resolve"]["nodes"]));
    let ours = packages.iter().find(|package| package["name"] == OURS).context("the workspace has our package")?;
    let (mut linked, mut next) = (BTreeSet::new(), vec![word(ours, "id")?]);
    while let Some(id) = next.pop() {
        if !linked.insert(id) {
            continue;
        }
        let node = nodes.iter().find(|node| node["id"] == id).with_context(|| format!("no node {id}"))?;
        // Neither for tests nor for build scripts: those are of no kind.
        let normal = |dep: &&Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        next.extend(list(&node["deps"]).iter().filter(normal).filter_map(|dep| dep["pkg"].as_str()));
    }
    let of_others =
        |package: &&Value| !package["source"].is_null() && package["id"].as_str().is_some_and(|id| linked.contains(id));
    let mut found: Vec<Value> = packages.iter().filter(of_others).cloned().collect();
    found.sort_by_key(|package| format!("{} {}", package["name"], package["version"]));
    ensure!(found.len() > 20, "{} crates only: {OURS} has more", found.len());
    Ok(found)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("`cargo metadata` tells no {key}"))
}
