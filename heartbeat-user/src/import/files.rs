//! Which files an `include` means: keepalived.conf(5), *include* and its variants.

use super::error::Fault;
use std::path::{Path, PathBuf};

/// The most files that one line may find.
const MOST: usize = 256;

/// A line that includes others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inclusion<'t> {
    /// Whether a pattern must find something.
    pub(super) must: bool,
    /// What it is looked for by.
    pub(super) pattern: &'t str,
}

/// What the line includes, if it does.
pub(super) fn inclusion(text: &str) -> Option<Inclusion<'_>> {
    let (keyword, pattern) = text.split_once([' ', '\t'])?;
    let must = match keyword {
        "include" | "includer" => false,
        "includem" | "includew" | "includeb" | "includea" => true,
        _ => return None,
    };
    let pattern = pattern.trim_matches([' ', '\t']);
    let unquoted = ['"', '\''].iter().find_map(|&mark| pattern.strip_prefix(mark)?.strip_suffix(mark));
    Some(Inclusion { must, pattern: unquoted.unwrap_or(pattern) })
}

/// The files that `pattern` means, seen from `folder`, in order. A path without `*`, `?` or `[` is one whether it is there or not.
///
/// # Errors
/// It is no pattern, finds too many, or nothing where it `must`.
pub(super) fn find(folder: &Path, pattern: &str, must: bool) -> Result<Vec<PathBuf>, Fault> {
    let mut found = Vec::new();
    for pattern in alternatives(pattern)? {
        if !pattern.contains(['*', '?', '[']) {
            found.push(folder.join(&pattern));
            continue;
        }
        let folder = folder.to_str().ok_or_else(|| Fault::BadPattern("its folder's name is not UTF-8".into()))?;
        let mut pattern = match folder {
            _ if pattern.starts_with('/') => pattern,
            "" => pattern,
            folder => format!("{}/{pattern}", glob::Pattern::escape(folder)),
        };
        // keepalived's glob(3) has no pattern for folders within folders.
        while pattern.contains("**") {
            pattern = pattern.replace("**", "*");
        }
        let options = glob::MatchOptions {
            require_literal_separator: true,
            require_literal_leading_dot: true,
            case_sensitive: true,
        };
        let paths = glob::glob_with(&pattern, options).map_err(|error| Fault::BadPattern(error.msg.to_owned()))?;
        let before = found.len();
        found.extend(paths.flatten().filter(|path| path.is_file()).take(MOST + 1));
        if must && found.len() == before {
            return Err(Fault::NoMatch);
        }
    }
    if found.len() > MOST {
        return Err(Fault::TooMuch { what: "files by one line", most: MOST });
    }
    Ok(found)
}

/// What csh's braces stand for: `a{b,c}d` is `abd` and `acd`.
fn alternatives(pattern: &str) -> Result<Vec<String>, Fault> {
    let (mut done, mut waiting) = (Vec::new(), vec![pattern.to_owned()]);
    while let Some(pattern) = waiting.pop() {
        let Some(open) = pattern.find('{') else {
            done.push(pattern);
            continue;
        };
        let mut depth = 0;
        let (mut start, mut close, mut parts) = (open + 1, None, Vec::new());
        for (i, c) in pattern[open..].char_indices().map(|(i, c)| (open + i, c)) {
            match c {
                '{' => depth += 1,
                ',' if depth == 1 => {
                    parts.push(&pattern[start..i]);
                    start = i + 1;
                }
                '}' if depth == 1 => {
                    parts.push(&pattern[start..i]);
                    close = Some(i);
                    break;
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
        let Some(close) = close else { return Err(Fault::BadPattern("a { without a }".into())) };
        let (before, after) = (&pattern[..open], &pattern[close + 1..]);
        waiting.extend(parts.iter().rev().map(|part| format!("{before}{part}{after}")));
        if done.len() + waiting.len() > MOST {
            return Err(Fault::TooMuch { what: "files by one line", most: MOST });
        }
    }
    Ok(done)
}

/// A file's name alone.
pub(super) fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn each_way_to_include_has_its_word() {
        for (text, must, pattern) in [
            ("include a.conf", false, "a.conf"),
            ("includer\t\"a b.conf\" ", false, "a b.conf"),
            ("includea 'x'", true, "x"),
            ("includem *", true, "*"),
        ] {
            assert_eq!(inclusion(text), Some(Inclusion { must, pattern }), "{text}");
        }
        for text in ["include", "includes a", "included", "includez x"] {
            assert_eq!(inclusion(text), None, "{text}");
        }
    }

    #[test]
    fn patterns_find_files_in_order_and_no_folders() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.conf", "a.conf", ".hidden.conf", "c.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("d.conf")).unwrap();
        let found = |pattern, must| {
            find(folder.path(), pattern, must).map(|files| files.iter().map(|file| name(file)).collect::<Vec<_>>())
        };
        assert_eq!(found("*.conf", false).unwrap(), ["a.conf", "b.conf"]);
        assert_eq!(found("{b,a}.conf", true).unwrap(), ["b.conf", "a.conf"]);
        assert_eq!(found("{a.conf,{c,x}.txt}", true).unwrap(), ["a.conf", "c.txt", "x.txt"]);
        assert_eq!(found("[ab].conf", true).unwrap(), ["a.conf", "b.conf"]);
        assert_eq!(found("*.none", false).unwrap(), Vec::<String>::new());
        assert_eq!(found("*.none", true), Err(Fault::NoMatch));
        assert!(matches!(found("[a", true), Err(Fault::BadPattern(_))));
        assert!(matches!(found("{a", true), Err(Fault::BadPattern(_))));
        let many = "{a,b}".repeat(12);
        assert_eq!(found(&many, false), Err(Fault::TooMuch { what: "files by one line", most: MOST }));
    }
}
