//! An operator's scripts: hooks, fences and health checks of the agents in a lab.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::lab::{Config, Lab};

/// A folder of a lab with scripts, and with what these write.
pub struct Scripts(PathBuf);

impl Scripts {
    /// That of this lab; made where it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn of(lab: &Lab) -> Result<Self> {
        let folder = lab.folder().join("scripts");
        fs::create_dir_all(&folder).context("cannot make a folder for scripts")?;
        Ok(Self(folder))
    }

    /// A shell script of that name; as TOML, a command that runs it. It finds itself in the folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.0.join(name);
        fs::write(&path, format!("#!/bin/sh\ncd {} || exit 99\n{text}\n", self.0.display()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(format!("[\"{}\"]", path.display()))
    }

    /// Gives group `storage-a` hooks, each a script of its name. What follows from hooks is a test's subject then, not what makes
    /// a takeover safe: the group is not exclusive, and nobody waits for an agent that died.
    ///
    /// # Errors
    /// They cannot be written, or there is no group.
    pub fn hooks(&self, config: &mut Config, hooks: &[(&str, &str)]) -> Result<()> {
        config.restart_grace = Some("0s".to_owned());
        let group = config.groups.first_mut().context("no group to have hooks")?;
        group.exclusive = Some(false);
        for (hook, text) in hooks {
            group.extra += &format!("{hook} = {}\n", self.write(hook, text)?);
        }
        Ok(())
    }

    /// Where a file of the folder is.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether a file is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// What a file holds; nothing where there is none.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Makes a file.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn touch(&self, name: &str) -> Result<()> {
        fs::write(self.path(name), "").with_context(|| format!("cannot make {name}"))
    }
}
