//! Programs of the system that tests and benchmarks call: which are missing, what each is for, and on Debian their installation.
//!
//! What `build` and `run` need is a Rust toolchain with a C linker only; see [`crate::setup`].

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, bail};
use nix::unistd::geteuid;

use crate::shell;

/// Something that is not built here.
struct Need {
    /// Debian's name of the package.
    package: &'static str,
    /// What it is for, in a few words.
    purpose: &'static str,
    /// Whether it is there.
    is_there: fn() -> bool,
}

const IPROUTE: Need = Need {
    package: "iproute2",
    purpose: "some tests and benchmarks make their interfaces with `ip`",
    is_there: || on_path("ip").is_some(),
};

const DPKG_DEV: Need = Need {
    package: "dpkg-dev",
    purpose: "which versions of libraries a .deb needs; a test installs ours into a folder",
    is_there: || on_path("dpkg-shlibdeps").is_some() && on_path("dpkg").is_some(),
};

/// What the tests call beside that.
const FOR_TESTS: [Need; 11] = [
    IPROUTE,
    Need {
        package: "nftables",
        purpose: "one test loses heartbeats by a rule of `nft`",
        is_there: || on_path("nft").is_some(),
    },
    Need {
        package: "etcd-server",
        purpose: "the arbiter that our etcd engine asks; each test starts its own",
        is_there: || on_path("etcd").is_some(),
    },
    Need { package: "openssl", purpose: "certificates for that etcd", is_there: || on_path("openssl").is_some() },
    Need {
        package: "prometheus",
        purpose: "`promtool` reads our metrics and alerting rules",
        is_there: || on_path("promtool").is_some(),
    },
    Need { package: "chromium", purpose: "the browser that the status page is tried in", is_there: has_browser },
    Need {
        package: "systemd",
        purpose: "the journal that takes our events, and what looks at our units; nothing is started",
        is_there: || Path::new("/lib/systemd/systemd-journald").exists() && on_path("journalctl").is_some(),
    },
    DPKG_DEV,
    Need {
        package: "fence-agents",
        purpose: "fence agents of others, which are run as they are",
        is_there: || Path::new("/usr/sbin/fence_dummy").exists(),
    },
    Need {
        package: "strace",
        purpose: "what an agent asks its kernel about interfaces, and how often",
        is_there: || on_path("strace").is_some(),
    },
    Need {
        package: "python3-venv",
        purpose: "another implementation of HdrHistogram, from PyPI, reads ours",
        is_there: has_venv,
    },
];

/// Sees to what the tests call.
///
/// # Errors
/// Something is missing and cannot be installed by us; the message names the packages and what each is for.
pub(crate) fn for_tests() -> Result<()> {
    bring(&FOR_TESTS)
}

/// Sees to what the benchmarks call.
///
/// # Errors
/// As [`for_tests`].
pub(crate) fn for_benchmarks() -> Result<()> {
    bring(&[IPROUTE])
}

/// Sees to what packages are made with.
///
/// # Errors
/// As [`for_tests`].
pub(crate) fn for_dist() -> Result<()> {
    bring(&[DPKG_DEV])
}

fn bring(needs: &[Need]) -> Result<()> {
    let missing: Vec<_> = needs.iter().filter(|need| !(need.is_there)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !is_debian(&system) || on_path("apt-get").is_none() || !geteuid().is_root() {
        bail!("{}", instructions(&missing, is_debian(&system)));
    }
    for need in &missing {
        shell::step(&format!("installing Debian's {} ({})", need.package, need.purpose));
    }
    // Lists that are there may do where they cannot be brought up to date.
    if let Err(error) = shell::run(apt_get().arg("update")) {
        shell::step(&format!("{error:#}; trying with the lists that are there"));
    }
    let packages = missing.iter().map(|need| package_name(need, &system));
    shell::run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages))?;
    let absent: Vec<_> = missing.into_iter().filter(|need| !(need.is_there)()).collect();
    if !absent.is_empty() {
        bail!("after their installation there is still something missing:\n{}", instructions(&absent, true));
    }
    Ok(())
}

/// What to install by hand, and why.
fn instructions(missing: &[&Need], debian: bool) -> String {
    let mut text = "the tests and benchmarks need what is not on this machine:\n".to_owned();
    for need in missing {
        let _never_fails = writeln!(text, "    {:<14} {}", need.package, need.purpose);
    }
    let names: Vec<_> = missing.iter().map(|need| need.package).collect();
    text += &if debian {
        format!("As root, `cargo xtask setup` installs them; or type:\n    apt-get install {}", names.join(" "))
    } else {
        "These are Debian's names; install what your system calls them".to_owned()
    };
    text
}

/// Ubuntu's `chromium` comes under another name.
fn package_name(need: &Need, os_release: &str) -> &'static str {
    if need.package == "chromium" && ids(os_release).any(|id| id == "ubuntu") {
        return "chromium-browser";
    }
    need.package
}

/// Whether os-release(5) tells of Debian or of what is derived from it.
fn is_debian(os_release: &str) -> bool {
    ids(os_release).any(|id| id == "debian" || id == "ubuntu")
}

fn ids(os_release: &str) -> impl Iterator<Item = &str> {
    let lines =
        os_release.lines().filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")));
    lines.flat_map(|value| value.trim_matches('"').split_whitespace())
}

/// An installation waits for another one of this system, such as one that upgrades by itself, for up to ten minutes.
fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["--quiet", "-o", "DPkg::Lock::Timeout=600"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    command
}

/// Where the tests of the page look for it.
fn has_browser() -> bool {
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .iter()
        .any(|file| Path::new(file).exists())
}

fn has_venv() -> bool {
    Command::new("python3").args(["-c", "import ensurepip"]).output().is_ok_and(|output| output.status.success())
}

/// The file that a program of that name is.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "NAME=\"Debian GNU/Linux\"\nID=debian\n";
    const MINT: &str = "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n";
    const FEDORA: &str = "ID=fedora\nPRETTY_NAME=\"like debian\"\n";

    #[test]
    fn what_is_derived_from_debian_is_installed_from_its_packages() {
        assert!(is_debian(DEBIAN) && is_debian(MINT));
        assert!(!is_debian(FEDORA) && !is_debian(""));
    }

    #[test]
    fn the_browser_of_ubuntu_has_another_name() {
        let browser = FOR_TESTS.iter().find(|need| need.package == "chromium").unwrap();
        assert_eq!(package_name(browser, DEBIAN), "chromium");
        assert_eq!(package_name(browser, MINT), "chromium-browser");
        assert_eq!(package_name(&IPROUTE, MINT), "iproute2");
    }

    #[test]
    fn whoever_installs_by_hand_is_told_what_and_what_for() {
        let missing: Vec<_> = FOR_TESTS.iter().collect();
        for debian in [true, false] {
            let text = instructions(&missing, debian);
            assert!(FOR_TESTS.iter().all(|need| text.contains(need.package) && text.contains(need.purpose)), "{text}");
            assert_eq!(text.contains("apt-get install iproute2 nftables"), debian, "{text}");
        }
    }
}
