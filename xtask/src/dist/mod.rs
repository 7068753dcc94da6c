//! `cargo xtask dist`: a `.deb`, an `.rpm` and a tarball, which have the same files; equal to the byte each time they are made.

mod licences;
mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{
    compile,
    lock::Lock,
    packagers::{CARGO_DEB, CARGO_GENERATE_RPM},
    setup, shell,
};

/// The packages' name. Debian has another `heartbeat`: that of Linux-HA.
const NAME: &str = "heartbeat-pair";
/// How the packages' metadata, in heartbeat-user/Cargo.toml, know the tree of files, in `target`.
const WORK: &str = "target/dist";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where to
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    out: PathBuf,

    /// Make everything twice, the binary in another directory, and compare
    #[arg(long)]
    check: bool,

    /// Pack this binary instead of building one
    #[arg(long, value_name = "FILE", hide = true)]
    binary: Option<PathBuf>,

    /// As of this version
    #[arg(long, value_name = "X.Y.Z", default_value = env!("CARGO_PKG_VERSION"), hide = true)]
    version: String,

    /// Without the .rpm
    #[arg(long)]
    no_rpm: bool,

    /// Compress less
    #[arg(long, hide = true)]
    fast: bool,
}

/// Makes the packages, and says where they are.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::packagers(if options.no_rpm { &[CARGO_DEB] } else { &[CARGO_DEB, CARGO_GENERATE_RPM] })?;
    let work = shell::repository().join(WORK);
    let _lock = Lock::take(&work, || shell::step("another cargo xtask dist works in this clone: waiting"))?;
    let out = shell::repository().join(&options.out);
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => {
            compile::run()?;
            shell::release_folder()?.join("heartbeat")
        }
    };
    let files = pack(options, &work, &binary, &out)?;
    if options.check {
        let binary = if options.binary.is_some() { binary } else { compile::again(&work.join("again"))? };
        let others = pack(options, &work, &binary, &work.join("again/packages"))?;
        for (file, other) in files.iter().zip(&others) {
            let same = fs::read(file)? == fs::read(other)?;
            ensure!(same, "{} and {} differ: diffoscope(1) says where", file.display(), other.display());
        }
        println!("made twice, equal to the byte:");
    }
    for file in files {
        println!("{}", file.display());
    }
    Ok(())
}

/// Makes the packages of a binary in the folder `out`.
fn pack(options: &Options, work: &Path, binary: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    let Options { version, fast, .. } = options;
    fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let epoch = source_date_epoch()?;
    tree::make(work, binary, version)?;
    let (machine, tools) = (std::env::consts::ARCH, setup::tools());
    let [deb, rpm, tar] = ["deb", "rpm", "tar.gz"].map(|end| out.join(format!("{NAME}-{version}-{machine}.{end}")));

    let mut make = Command::new(CARGO_DEB.path(&tools));
    make.args(["--no-build", "--no-strip", "--no-separate-debug-symbols", "--quiet", "--offline", "--locked"])
        .args(["--package", "heartbeat-user", "--deb-version", &format!("{version}-1")])
        .args(fast.then_some("--fast"))
        .arg("--output")
        .arg(&deb);
    shell::run(at(&mut make, &epoch))?;

    tarball(work, &tar, version, &epoch)?;
    if options.no_rpm {
        return Ok(vec![deb, tar]);
    }
    let mut make = Command::new(CARGO_GENERATE_RPM.path(&tools));
    make.args(["--package", "heartbeat-user", "--set-metadata", &format!("version = \"{version}\"")])
        .args(["--payload-compress", if *fast { "gzip" } else { "zstd" }])
        .arg("--output")
        .arg(&rpm);
    shell::run(at(&mut make, &epoch))?;

    Ok(vec![deb, tar, rpm])
}

/// At the top of the repository, with the time that files are given.
fn at<'a>(command: &'a mut Command, epoch: &str) -> &'a mut Command {
    command.current_dir(shell::repository()).env("SOURCE_DATE_EPOCH", epoch)
}

/// In a folder of its own, with root as the owner of everything, in the order of names.
fn tarball(work: &Path, file: &Path, version: &str, epoch: &str) -> Result<()> {
    shell::run(
        Command::new("tar")
            .args(["--create", "--sort=name", "--format=gnu", "--owner=root:0", "--group=root:0", "--mode=u=rwX,go=rX"])
            .args([format!("--mtime=@{epoch}"), format!("--transform=s,^[.],{NAME}-{version},")])
            .args(["--use-compress-program", "gzip -n"])
            .arg("--file")
            .arg(file)
            .arg("--directory")
            .arg(tree::root(work))
            .arg("."),
    )
}

/// See <https://reproducible-builds.org/specs/source-date-epoch/>: that of the newest section of the changelog, unless another one
/// is given.
fn source_date_epoch() -> Result<String> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(given);
    }
    let changelog = shell::repository().join("heartbeat-user/CHANGELOG.md");
    let text = fs::read_to_string(&changelog).with_context(|| changelog.display().to_string())?;
    tree::newest(&text)
}
