//! The key file: one or two 128-bit keys that both controllers sign and verify their heartbeats with.
//!
//! A line `ID HEX` is a key: ID 0 or 1, HEX 32 hexadecimal digits. The first key signs, both verify. `#` starts a comment
//! line. So a key is replaced without a gap: bring the new key to both controllers as the second line, then make it the
//! first line on both, then delete the old one on both.

use super::Contents;
use super::read::{ReadFault, read};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The largest key file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// The characters of a key in hexadecimal.
const DIGITS: usize = 32;

/// Why there is no key to sign with. No message repeats what a line says: it may be a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file is missing, or may not be read.
    #[error("{}: the key file cannot be read: {reason}{}", path.display(), remedy(reason, path))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// A folder, device or pipe.
    #[error("{}: not a regular file; right would be a file made by `heartbeat keygen`", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may use the file.
    #[error("{}: mode {mode:04o} lets others than its owner use the key; right would be `chmod 600 {0}`, and a new key \
             if others may have read it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It was written to each time that it was read.
    #[error("{}: is being written to at this moment; try again when that is done", path.display())]
    Changing {
        /// The file.
        path: PathBuf,
    },
    /// The file is too large to hold keys.
    #[error("{}: larger than {} KiB; this is hardly a key file", path.display(), MAX_FILE / 1024)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not text.
    #[error("{}: not text; right would be a file made by `heartbeat keygen`", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// A line that is wrong.
    #[error("{file}:{line}: {fault}")]
    Line {
        /// The file's name as given.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// No key in the file.
    #[error("{file}: no key in it; right would be a line `ID HEX` as `heartbeat keygen` makes it")]
    NoKey {
        /// The file's name as given.
        file: String,
    },
}

/// What is wrong with a line of the key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not two words.
    #[error("not a key; right would be `ID HEX`: 0 or 1, then 32 hexadecimal digits")]
    Shape,
    /// The first word is neither 0 nor 1.
    #[error("the key's id is not 0 or 1; right would be `0 HEX` or `1 HEX`")]
    Id,
    /// Too few or too many digits.
    #[error("the key has {0} characters; right would be 32 hexadecimal digits")]
    Length(usize),
    /// A character that is no hexadecimal digit.
    #[error("character {0} of the key is not a hexadecimal digit; right would be 0-9 and a-f")]
    Digit(usize),
    /// Nothing but zeros.
    #[error("the key is all zeros; right would be a random one, from `heartbeat keygen`")]
    AllZero,
    /// Both keys have one id.
    #[error("key {id} is already on line {line}; right would be the id {}", 1 - id)]
    Duplicate {
        /// The id.
        id: u8,
        /// Where it was first, from 1.
        line: usize,
    },
    /// A third key.
    #[error("a third key; right would be at most two: delete the one that was replaced")]
    TooMany,
}

/// The keys of a pair.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PairKeys {
    /// Which of `keys` signs: 0 or 1, present.
    pub signing: u8,
    /// The keys by id: each that is present verifies.
    pub keys: [Option<[u8; 16]>; 2],
}

impl PairKeys {
    /// Reads the key file at `path`.
    ///
    /// # Errors
    /// [`KeyError`]: missing, not a regular file, accessible to others (mode & 0o077), larger than 64 KiB, or wrong in a
    /// line.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        Self::load_with_contents(path).map(|(keys, _)| keys)
    }

    /// The same, with the file as it was.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with_contents(path: &Path) -> Result<(Self, Contents), KeyError> {
        let contents = read(path, MAX_FILE, 0o077).map_err(|fault| {
            let path = path.to_owned();
            match fault {
                ReadFault::System(reason) => KeyError::Read { path, reason },
                ReadFault::NotRegular => KeyError::NotRegular { path },
                ReadFault::Exposed(mode) => KeyError::Exposed { path, mode },
                ReadFault::TooLarge => KeyError::TooLarge { path },
                ReadFault::Changing => KeyError::Changing { path },
            }
        })?;
        let text = std::str::from_utf8(&contents.bytes).map_err(|_| KeyError::NotText { path: path.to_owned() })?;
        Ok((Self::parse(text, &path.display().to_string())?, contents))
    }

    /// Reads `text`, which messages call `name`.
    ///
    /// # Errors
    /// [`KeyError::Line`], [`KeyError::NoKey`].
    pub fn parse(text: &str, name: &str) -> Result<Self, KeyError> {
        let mut signing = None;
        let mut found: [Option<([u8; 16], usize)>; 2] = [None; 2];
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let error = |fault| KeyError::Line { file: name.to_owned(), line, fault };
            if found.iter().all(Option::is_some) {
                return Err(error(KeyFault::TooMany));
            }
            let (id, key) = parse_line(content).map_err(error)?;
            if let Some((_, line)) = found[usize::from(id)] {
                return Err(error(KeyFault::Duplicate { id, line }));
            }
            found[usize::from(id)] = Some((key, line));
            signing.get_or_insert(id);
        }
        let signing = signing.ok_or_else(|| KeyError::NoKey { file: name.to_owned() })?;
        Ok(Self { signing, keys: found.map(|key| key.map(|(key, _)| key)) })
    }

    /// The key that signs.
    #[must_use]
    pub fn signing_key(&self) -> [u8; 16] {
        self.keys[usize::from(self.signing)].expect("the key that signs is present")
    }
}

impl fmt::Debug for PairKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let present = self.keys.map(|key| key.map(|_| "secret"));
        f.debug_struct("PairKeys").field("signing", &self.signing).field("keys", &present).finish()
    }
}

fn remedy(error: &io::Error, path: &Path) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("; make one with `heartbeat keygen {}` and copy it to the other controller", path.display())
        }
        io::ErrorKind::PermissionDenied => "; only its owner may, so run as that user or as root".into(),
        _ => String::new(),
    }
}

fn parse_line(line: &str) -> Result<(u8, [u8; 16]), KeyFault> {
    let mut words = line.split_whitespace();
    let (Some(id), Some(hex), None) = (words.next(), words.next(), words.next()) else {
        return Err(KeyFault::Shape);
    };
    let id = match id {
        "0" => 0,
        "1" => 1,
        _ => return Err(KeyFault::Id),
    };
    let length = hex.chars().count();
    if length != DIGITS {
        return Err(KeyFault::Length(length));
    }
    let mut key = [0; DIGITS / 2];
    for (i, digit) in hex.chars().enumerate() {
        let digit = digit.to_digit(16).ok_or(KeyFault::Digit(i + 1))?;
        key[i / 2] = key[i / 2] << 4 | digit as u8;
    }
    if key == [0; DIGITS / 2] {
        return Err(KeyFault::AllZero);
    }
    Ok((id, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    const ZERO: &str = "0 000102030405060708090a0b0c0d0e0f";
    const ONE: &str = "1 F0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF";

    fn said(text: &str) -> String {
        PairKeys::parse(text, "pair.key").unwrap_err().to_string()
    }

    fn loaded(bytes: &[u8], mode: u32) -> Result<PairKeys, KeyError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pair.key");
        fs::write(&file, bytes).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        PairKeys::load(&file)
    }

    #[test]
    fn the_first_key_signs_and_both_are_there() {
        let keys = PairKeys::parse(&format!("# new\n\n{ONE}\r\n  {ZERO}"), "pair.key").unwrap();
        assert_eq!((keys.signing, keys.signing_key()), (1, keys.keys[1].unwrap()));
        assert_eq!(keys.keys[0], Some([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]));
        assert_eq!(keys.signing_key()[..2], [0xf0, 0xf1]);
    }

    #[test]
    fn one_key_is_enough() {
        let keys = loaded(ZERO.as_bytes(), 0o600).unwrap();
        assert_eq!((keys.signing, keys.keys[1]), (0, None));
        loaded(ZERO.as_bytes(), 0o400).unwrap();
    }

    #[test]
    fn a_key_is_never_shown() {
        let keys = PairKeys::parse(ONE, "pair.key").unwrap();
        assert_eq!(format!("{keys:?}"), "PairKeys { signing: 1, keys: [None, Some(\"secret\")] }");
    }

    #[test]
    fn a_line_that_is_wrong_is_named_and_never_repeated() {
        let bad_digit = ZERO.replace("0f", "0g");
        let cases = [
            ("00000000deadbeef".into(), "1: not a key; right would be `ID HEX`: 0 or 1, then 32 hex"),
            (format!("{ZERO} deadbeef"), "1: not a key; right would be `ID HEX`"),
            (format!("\n{}", ONE.replacen('1', "2", 1)), "2: the key's id is not 0 or 1; right would be"),
            (format!("# deadbeef\n{ONE}deadbeef"), "2: the key has 40 characters; right would be 32 hex"),
            (bad_digit, "1: character 32 of the key is not a hexadecimal digit; right would be 0-9 and a-f"),
            (format!("0 {}", "0".repeat(32)), "1: the key is all zeros; right would be a random one"),
            (format!("{ZERO}\n#\n{ZERO}"), "3: key 0 is already on line 1; right would be the id 1"),
            (format!("{ONE}\n{ONE}"), "2: key 1 is already on line 1; right would be the id 0"),
            (format!("{ONE}\n{ZERO}\ndeadbeef"), "3: a third key; right would be at most two"),
        ];
        for (text, message) in cases {
            let said = said(&text);
            assert!(said.starts_with(&format!("pair.key:{message}")), "{said}");
            for secret in ["deadbeef", "0001020304", "F0F1F2"] {
                assert!(!said.contains(secret), "{said}");
            }
        }
    }

    #[test]
    fn a_file_without_a_key_is_refused() {
        assert_eq!(
            said("# nothing\n\n"),
            "pair.key: no key in it; right would be a line `ID HEX` as `heartbeat keygen` makes it"
        );
    }

    #[test]
    fn a_file_that_others_can_use_is_refused_with_its_mode() {
        for mode in [0o640, 0o620, 0o604, 0o602, 0o610, 0o601] {
            let said = loaded(ZERO.as_bytes(), mode).unwrap_err().to_string();
            let expected =
                format!("pair.key: mode {mode:04o} lets others than its owner use the key; right would be `chmod 600 ");
            assert!(said.contains(&expected), "{said}");
        }
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        for path in [folder.path(), &pipe, Path::new("/dev/zero")] {
            let said = PairKeys::load(path).unwrap_err().to_string();
            assert!(said.ends_with(": not a regular file; right would be a file made by `heartbeat keygen`"), "{said}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_refused_with_the_command_that_makes_it() {
        let said = PairKeys::load(Path::new("/nonexistent/pair.key")).unwrap_err().to_string();
        assert!(said.starts_with("/nonexistent/pair.key: the key file cannot be read: No such file"), "{said}");
        assert!(said.contains("`heartbeat keygen /nonexistent/pair.key`"), "{said}");
    }

    #[test]
    fn a_file_that_is_no_key_file_is_refused() {
        let said = loaded(&[b'#'; MAX_FILE as usize + 1], 0o600).unwrap_err().to_string();
        assert!(said.ends_with("pair.key: larger than 64 KiB; this is hardly a key file"), "{said}");
        let said = loaded(b"\xff\xfe", 0o600).unwrap_err().to_string();
        assert!(said.ends_with("pair.key: not text; right would be a file made by `heartbeat keygen`"), "{said}");
    }
}
