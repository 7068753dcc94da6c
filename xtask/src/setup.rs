//! `cargo xtask setup`: what the build of the XDP program needs beyond a Rust toolchain (the source of `core`, and a
//! bpf-linker of the same LLVM as rustc), and what the tests call.
//!
//! Each call looks at what is there and brings only what is missing, so every other command begins with its part of it: one
//! at a time, by a [`Lock`]. All that it builds lies in `target/tools`. The toolchain itself, with its components, comes from
//! `rust-toolchain.toml` by rustup; programs of the system, on Debian, from its [`packages`].

use std::{
    env, fs,
    io::{self, ErrorKind},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    lock::Lock,
    packagers::{self, CARGO_DEB, Tool},
    packages::{self, on_path},
    shell::{self, repository, step},
};

/// What is built where no bpf-linker works; its features choose among LLVM 21, 22 and 23.
const BPF_LINKER: &str = "0.13.0";

/// The oldest bpf-linker that is taken from PATH: older ones know only LLVMs that may misread the bitcode of this rustc.
const OLDEST_BPF_LINKER: (u32, u32) = (0, 13);

/// Where bpf-linker is built, in `target/tools`; gone once it is.
const BUILD: &str = "build";

/// What rustc and bpf-linker are tried on. BPF comes without a built `core`, so the program brings its own.
const TRIAL: &str = r#"
#![feature(no_core, lang_items)]
#![expect(internal_features, reason = "it has no core")]
#![no_core]
#![no_main]
#[lang = "pointee_sized"]
pub trait PointeeSized {}
#[lang = "meta_sized"]
pub trait MetaSized: PointeeSized {}
#[lang = "sized"]
pub trait Sized: MetaSized {}
#[lang = "copy"]
pub trait Copy {}
impl Copy for u32 {}
#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
pub extern "C" fn trial() -> u32 {
    2
}
"#;

/// Everything, also what only the tests need; gives the Python that they call.
pub(crate) fn everything() -> Result<PathBuf> {
    let lock = lock()?;
    bring_toolchain(&lock)?;
    packages::for_tests()?;
    packagers::bring(&[CARGO_DEB], &tools(), &lock)?;
    python(&lock)
}

/// What a build needs.
pub(crate) fn toolchain() -> Result<()> {
    bring_toolchain(&lock()?)
}

/// What packages are made with.
pub(crate) fn packagers(wanted: &[Tool]) -> Result<()> {
    packages::for_dist()?;
    packagers::bring(wanted, &tools(), &lock()?)
}

/// What a build and the benchmarks need.
pub(crate) fn benchmarks() -> Result<()> {
    let lock = lock()?;
    bring_toolchain(&lock)?;
    packages::for_benchmarks()
}

/// The folder of all that is built here.
pub(crate) fn tools() -> PathBuf {
    repository().join("target/tools")
}

fn lock() -> Result<Lock> {
    Lock::take(&tools(), || step("another cargo xtask sets up this clone: waiting"))
}

fn bring_toolchain(lock: &Lock) -> Result<()> {
    let toolchain = Toolchain::find()?;
    step(&format!("Rust {} with LLVM {}", toolchain.release, toolchain.llvm));
    for (component, file) in [
        ("rust-src", "lib/rustlib/src/rust/library/core/src/lib.rs"),
        ("rustfmt", "bin/cargo-fmt"),
        ("clippy", "bin/cargo-clippy"),
    ] {
        toolchain.need(component, file)?;
    }
    let linker = bpf_linker(&toolchain, lock)?;
    step(&format!("bpf-linker: {}", linker.display()));
    Ok(())
}

/// For the tests: a Python with another implementation of HdrHistogram, which reads what ours writes.
fn python(lock: &Lock) -> Result<PathBuf> {
    const READER: &str = "hdrhistogram==0.10.*";
    // The list of its files is what pip writes last: without one, its installation was interrupted.
    const WHOLE: &str = "import hdrh.log, importlib.metadata as m; assert m.files('hdrhistogram')";
    let folder = tools().join("python");
    let python = folder.join("bin/python3");
    let has_reader = || Command::new(&python).args(["-c", WHOLE]).output().is_ok_and(|o| o.status.success());
    if !has_reader() {
        if folder.exists() {
            anew(&folder);
        }
        step(&format!("bringing {READER} for the tests"));
        let venv = ["-m", "venv", "--clear"];
        shell::run(Command::new("python3").args(venv).arg(&folder).stdin(lock.share()?))?;
        let install = ["-m", "pip", "install", "--quiet", READER];
        shell::run(Command::new(&python).args(install).stdin(lock.share()?))?;
    }
    Ok(python)
}

/// Says that what an interrupted set-up has left in `folder` counts for nothing.
fn anew(folder: &Path) {
    step(&format!("{} is not whole, as an interrupted set-up leaves it: building it anew", folder.display()));
}

/// The toolchain of `rust-toolchain.toml`, which also compiled this program.
struct Toolchain {
    release: String,
    llvm: String,
    sysroot: PathBuf,
}

impl Toolchain {
    fn find() -> Result<Self> {
        let version = shell::read(rustc().arg("--version").arg("--verbose"))?;
        let field = |name: &str| {
            let value = version.lines().find_map(|line| line.strip_prefix(name));
            value
                .map(|value| value.trim().to_owned())
                .with_context(|| format!("`rustc --version --verbose` has no line `{name}`"))
        };
        Ok(Self {
            release: field("release:")?,
            llvm: field("LLVM version:")?,
            sysroot: shell::read(rustc().args(["--print", "sysroot"]))?.trim_end().into(),
        })
    }

    /// Brings a component of the toolchain if the file that tells it is not there.
    fn need(&self, component: &str, file: &str) -> Result<()> {
        let file = self.sysroot.join(file);
        if file.exists() {
            return Ok(());
        }
        step(&format!("bringing the toolchain's {component}"));
        shell::run(Command::new("rustup").current_dir(repository()).args(["component", "add", component])).with_context(
            || {
                format!(
                    "the toolchain has no {component} ({} is missing). With rustup (https://rustup.rs), type:\n    \
                 rustup component add {component}\notherwise install that of Rust {} where your toolchain comes from",
                    file.display(),
                    self.release
                )
            },
        )
    }

    /// `22` of `22.1.2`.
    fn llvm_major(&self) -> &str {
        self.llvm.split('.').next().unwrap_or(&self.llvm)
    }

    /// The LLVM that rustc itself is linked to.
    fn llvm_library(&self) -> Result<PathBuf> {
        let folder = self.sysroot.join("lib");
        let prefix = format!("libLLVM.so.{}.", self.llvm_major());
        for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                return Ok(entry.path());
            }
        }
        bail!(
            "this Rust toolchain has no {prefix}* in {}, so its LLVM cannot be used to build bpf-linker. \
             Install LLVM {major} with its headers (Debian: apt-get install llvm-{major}-dev), then type:\n    \
             LLVM_PREFIX=/usr/lib/llvm-{major} cargo install bpf-linker --version {BPF_LINKER} --locked \
             --no-default-features --features llvm-{major}",
            folder.display(),
            major = self.llvm_major()
        )
    }
}

/// A bpf-linker that works with this rustc: the one we built, one on PATH, or one built now.
fn bpf_linker(toolchain: &Toolchain, lock: &Lock) -> Result<PathBuf> {
    let tools = tools();
    let own = tools.join("bin/bpf-linker");
    if own.exists() && trial(&tools, &own).is_ok() {
        // Interrupted between the last two steps of building it.
        remove_build(&tools)?;
        return Ok(own);
    }
    // The build script of heartbeat-user prefers our own: a broken one must go.
    remove(&own)?;
    if let Some(found) = on_path("bpf-linker") {
        match trial(&tools, &found) {
            Ok(()) => return Ok(found),
            Err(why) => step(&format!("{} does not work with this rustc: {why:#}", found.display())),
        }
    }
    build_bpf_linker(toolchain, &tools, lock)?;
    trial(&tools, &own).context("the bpf-linker just built does not work")?;
    Ok(own)
}

/// Compiles and links a small program: that the linker starts, reads the bitcode of this rustc and writes BTF.
fn trial(tools: &Path, linker: &Path) -> Result<()> {
    let printed = shell::read(Command::new(linker).arg("--version"))?;
    let version = version(&printed).with_context(|| format!("`{}` is no version", printed.trim_end()))?;
    ensure!(version >= OLDEST_BPF_LINKER, "{} is older than 0.13", printed.trim_end());
    let folder = tools.join("trial");
    fs::create_dir_all(&folder)?;
    let source = folder.join("trial.rs");
    fs::write(&source, TRIAL)?;
    let mut link = std::ffi::OsString::from("linker=");
    link.push(linker);
    shell::read(
        rustc()
            .args(["--edition=2024", "--target=bpfel-unknown-none", "-Cpanic=abort"])
            .args(["-Cdebuginfo=2", "-Clink-arg=--btf", "-C"])
            .arg(link)
            .arg("--out-dir")
            .arg(&folder)
            .arg(&source)
            .env("RUSTC_BOOTSTRAP", "1"),
    )?;
    Ok(())
}

/// Builds bpf-linker against the LLVM library that the toolchain brings along, so that no system package is needed.
fn build_bpf_linker(toolchain: &Toolchain, tools: &Path, lock: &Lock) -> Result<()> {
    let llvm = toolchain.llvm_library()?;
    let prefix = tools.join("llvm");
    fs::create_dir_all(prefix.join("lib"))?;
    let link = prefix.join("lib/libLLVM.so");
    remove(&link)?;
    symlink(&llvm, &link).with_context(|| format!("linking {} to {}", link.display(), llvm.display()))?;

    let feature = format!("llvm-{}", toolchain.llvm_major());
    step(&format!("building bpf-linker {BPF_LINKER} for {feature} (a minute or two)"));
    let build = tools.join(BUILD);
    if build.exists() {
        anew(&build);
        remove_build(tools)?;
    }
    shell::run(
        shell::cargo()
            .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--force"])
            .args(["--no-default-features", "--features", &feature])
            .arg("--root")
            .arg(tools)
            .arg("--target-dir")
            .arg(&build)
            .stdin(lock.share()?)
            .env("LLVM_PREFIX", &prefix)
            .env(
                "CARGO_ENCODED_RUSTFLAGS",
                format!("-Clink-arg=-Wl,-rpath,{}", toolchain.sysroot.join("lib").display()),
            ),
    )
    .with_context(|| {
        format!(
            "bpf-linker was not built; if it cannot be, put one for LLVM {} on PATH \
             (https://github.com/aya-rs/bpf-linker)",
            toolchain.llvm_major()
        )
    })?;
    remove_build(tools)
}

/// Removes what was left of building bpf-linker, if there is anything.
fn remove_build(tools: &Path) -> Result<()> {
    let build = tools.join(BUILD);
    gone(fs::remove_dir_all(&build), &build)
}

/// What rustc calls this machine's kind.
pub(crate) fn host() -> Result<String> {
    let version = shell::read(rustc().arg("--version").arg("--verbose"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc --version --verbose` has no line `host:`")
}

/// The rustc beside our cargo.
fn rustc() -> Command {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.current_dir(repository());
    rustc
}

/// Major and minor of `bpf-linker 0.13.0`.
fn version(printed: &str) -> Option<(u32, u32)> {
    let mut numbers = printed.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Removes a file or link, if there is one.
fn remove(file: &Path) -> Result<()> {
    gone(fs::remove_file(file), file)
}

/// What a removal came to, where having been gone before is as good.
fn gone(removed: io::Result<()>, path: &Path) -> Result<()> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_linker_is_its_second_word() {
        assert_eq!(version("bpf-linker 0.13.0\n"), Some((0, 13)));
        assert_eq!(version("bpf-linker 1.2.3-rc.1\n"), Some((1, 2)));
        for other in ["", "bpf-linker", "bpf-linker next", "bpf-linker 0"] {
            assert_eq!(version(other), None, "{other}");
        }
    }

    #[test]
    fn the_pinned_linker_is_not_too_old() {
        assert!(version(&format!("bpf-linker {BPF_LINKER}")) >= Some(OLDEST_BPF_LINKER));
    }
}
