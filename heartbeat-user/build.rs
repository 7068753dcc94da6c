//! Builds the XDP program for the BPF target into `OUT_DIR/heartbeat-xdp`, which the agent embeds.
//!
//! A cargo inside cargo, because artifact dependencies are not stable. It has a target directory of its own, so that it
//! never waits for the lock that the outer cargo holds, and so that one object serves all profiles. It runs on the pinned
//! stable toolchain, with `RUSTC_BOOTSTRAP` for `-Z build-std`: no BPF target comes with a built `core`. The flags of the
//! target stand in `.cargo/config.toml`.
//!
//! Not `aya-build`: it takes `RUSTC_BOOTSTRAP` and the linker's place (PATH) from its own environment only (`set_var` is
//! unsafe), and prints each line of the inner cargo as a warning.

use std::{
    env,
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    iter,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};

const TARGET: &str = "bpfel-unknown-none";
const PROGRAM: &str = "heartbeat-xdp";
const LINKER: &str = "bpf-linker";

fn main() -> ExitCode {
    build().map_or_else(
        |error| {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn build() -> Result<()> {
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = package.parent().context("the package lies in a workspace")?;
    for source in ["heartbeat-ebpf", "Cargo.toml", "Cargo.lock", ".cargo/config.toml"] {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }

    let target_dir = workspace.join("target/ebpf");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(workspace)
        .args(["build", "--quiet", "--release", "-Zbuild-std=core", "--target", TARGET])
        .args(["--package", "heartbeat-ebpf", "--features", "program", "--bin", PROGRAM])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("PATH", path_with_linker(workspace)?)
        .env("RUSTC_BOOTSTRAP", "1");
    // What the outer cargo was told about the host (or clippy about itself) is not for the BPF target.
    for outer in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(outer);
    }

    let status = cargo.status().context("starting cargo for the XDP program")?;
    ensure!(
        status.success(),
        "the XDP program was not built (see above); if a tool is missing or broken, run `cargo xtask setup`"
    );
    let object = target_dir.join(TARGET).join("release").join(PROGRAM);
    let embedded = Path::new(&variable("OUT_DIR")?).join(PROGRAM);
    // Read once: a build of another profile may put another there at any moment.
    let program = fs::read(&object).with_context(|| format!("reading {}", object.display()))?;
    fs::write(&embedded, &program).with_context(|| format!("writing {}", embedded.display()))?;
    // By this an agent knows its own program again among those that are pinned.
    let mut hasher = DefaultHasher::new();
    program.hash(&mut hasher);
    println!("cargo::rustc-env=HEARTBEAT_XDP_ID={:016x}", hasher.finish());
    Ok(())
}

/// PATH with the bpf-linker that set-up built, if it did, before all others.
fn path_with_linker(workspace: &Path) -> Result<OsString> {
    let tools = workspace.join("target/tools/bin");
    let own = tools.join(LINKER);
    if own.exists() {
        println!("cargo::rerun-if-changed={}", own.display());
    }
    let path = variable("PATH")?;
    let folders: Vec<_> = iter::once(tools).chain(env::split_paths(&path)).collect();
    ensure!(folders.iter().any(|folder| folder.join(LINKER).exists()), "no {LINKER} found: run `cargo xtask setup`");
    env::join_paths(folders).context("adding set-up's tools to PATH")
}

fn variable(name: &str) -> Result<OsString> {
    env::var_os(name).with_context(|| format!("{name} is not set"))
}
