//! `heartbeat keygen`: makes the key file of a pair, or adds the key that is to replace the present one.

#![forbid(unsafe_code)]

use crate::config::PairKeys;
use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const HEADER: &str = "\
# The key of a Heartbeat pair: the same file on both controllers, readable by its owner only.
# A key is a line `ID HEX`: ID 0 or 1, HEX 32 hexadecimal digits. The first key signs, both verify.
#
# To replace the key while the pair runs, restarting the two agents one after the other at each step:
#   1. `heartbeat keygen --add FILE` on one controller; copy the file to the other.
#   2. On both, move the new line above the old one: it signs from now on.
#   3. On both, delete the old line.
";

/// Make the key file of a pair (mode 0600)
///
/// Both controllers need the same file: make it on one, and copy it to the other over a channel that you trust, such as
/// ssh. An existing file is never overwritten.
#[derive(Debug, clap::Args)]
pub struct KeygenArgs {
    /// The file to make, such as /etc/heartbeat/pair.key
    pub file: PathBuf,
    /// Add a second key to the existing file, to replace the first without a gap; the file says how
    #[arg(long)]
    pub add: bool,
}

/// Makes the file, or adds a key to it, and says what to do next.
///
/// # Errors
/// The file exists (without `--add`), cannot be written, or (with `--add`) is not a key file with one key.
pub fn run(args: &KeygenArgs) -> Result<()> {
    let file = args.file.display();
    if args.add {
        let id = add(&args.file)?;
        println!("{file}: key {id} added; it verifies and does not sign yet.");
        println!(
            "Copy the file to the other controller, restart both agents one after the other, then go on as it says."
        );
    } else {
        create(&args.file)?;
        println!("{file}: made, with key 0.");
        println!("Copy it to the same place on the other controller, with mode 0600.");
    }
    Ok(())
}

pub(super) fn create(path: &Path) -> Result<()> {
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(
            "{0}: exists already and is not overwritten, for the pair would stop understanding itself; \
             add a key with `heartbeat keygen --add {0}`, or delete the file first",
            path.display()
        ),
        Err(error) => {
            return Err(error).with_context(|| format!("{}: cannot be made; is its folder there?", path.display()));
        }
    };
    let written = key_line(0).and_then(|line| write(&mut file, &format!("{HEADER}{line}")));
    if written.is_err() {
        // What is left would be half a key file that no second try overwrites.
        fs::remove_file(path).ok();
    }
    written.with_context(|| format!("{}: cannot be written", path.display()))
}

/// Appends a key under the id that is free, and returns the id.
fn add(path: &Path) -> Result<u8> {
    let id = match PairKeys::load(path)?.keys {
        [Some(_), Some(_)] => bail!("{}: has two keys already; delete the one that was replaced first", path.display()),
        [Some(_), None] => 1,
        [None, _] => 0,
    };
    let append = || {
        let before = fs::read(path)?;
        let newline = if before.ends_with(b"\n") { "" } else { "\n" };
        write(&mut OpenOptions::new().append(true).open(path)?, &format!("{newline}{}", key_line(id)?))
    };
    append().with_context(|| format!("{}: cannot be written", path.display()))?;
    Ok(id)
}

fn key_line(id: u8) -> Result<String> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string())).context("no random numbers")?;
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{id} {hex}\n"))
}

fn write(file: &mut File, text: &str) -> Result<()> {
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn keygen(file: &Path, add: bool) -> Result<()> {
        run(&KeygenArgs { file: file.to_owned(), add })
    }

    #[test]
    fn a_new_key_file_is_for_its_owner_only_and_loads_with_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pair.key");
        keygen(&file, false).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let keys = PairKeys::load(&file).unwrap();
        assert_eq!((keys.signing, keys.keys[1]), (0, None));
        assert!(fs::read_to_string(&file).unwrap().contains("replace the key while the pair runs"));
    }

    #[test]
    fn two_new_keys_differ() {
        assert_ne!(key_line(0).unwrap(), key_line(0).unwrap());
    }

    #[test]
    fn an_existing_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pair.key");
        fs::write(&file, "precious").unwrap();
        let error = keygen(&file, false).unwrap_err().to_string();
        assert!(error.contains("exists already") && error.contains("--add"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }

    #[test]
    fn a_file_in_a_folder_that_is_not_there_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = format!("{:#}", keygen(&folder.path().join("none/pair.key"), false).unwrap_err());
        assert!(error.contains("none/pair.key: cannot be made; is its folder there?"), "{error}");
    }

    #[test]
    fn an_added_key_verifies_under_the_free_id_and_the_old_one_goes_on_signing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pair.key");
        keygen(&file, false).unwrap();
        let before = PairKeys::load(&file).unwrap();
        keygen(&file, true).unwrap();
        let after = PairKeys::load(&file).unwrap();
        assert_eq!((after.signing, after.keys[0]), (0, before.keys[0]));
        assert!(after.keys[1].is_some());
    }

    #[test]
    fn a_key_is_added_to_a_file_that_does_not_end_its_last_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pair.key");
        keygen(&file, false).unwrap();
        let old = fs::read_to_string(&file).unwrap();
        fs::write(&file, old.trim_end().replace("\n0 ", "\n1 ")).unwrap();
        keygen(&file, true).unwrap();
        let keys = PairKeys::load(&file).unwrap();
        assert_eq!((keys.signing, keys.keys.map(|key| key.is_some())), (1, [true, true]));
    }

    #[test]
    fn a_third_key_is_not_added() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pair.key");
        keygen(&file, false).unwrap();
        keygen(&file, true).unwrap();
        let error = keygen(&file, true).unwrap_err().to_string();
        assert!(error.contains("two keys already"), "{error}");
    }

    #[test]
    fn a_key_is_not_added_to_a_file_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let error = keygen(&folder.path().join("pair.key"), true).unwrap_err().to_string();
        assert!(error.contains("heartbeat keygen"), "{error}");
    }
}
