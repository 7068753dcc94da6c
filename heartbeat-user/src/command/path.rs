//! Where programs are that are given by their names.

use std::path::{Path, PathBuf};

/// Where commands, and agents that are given by name, are looked for.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the program of that name is: an absolute path is one, a name is looked for in [`PATH`].
///
/// # Errors
/// Where it is not.
pub fn find(name: &str) -> Result<PathBuf, String> {
    if name.starts_with('/') {
        return Ok(PathBuf::from(name));
    }
    let found = PATH.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("there is no {name} in {}", PATH.replace(':', ", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_where_commands_of_the_system_are() {
        assert_eq!(find("/opt/fence_x"), Ok("/opt/fence_x".into()));
        let sh = find("sh").unwrap();
        assert!(sh.is_absolute() && sh.ends_with("sh"), "{sh:?}");
        assert!(find("fence_of_nobody").unwrap_err().starts_with("there is no fence_of_nobody in /usr/local/sbin, "));
    }
}
