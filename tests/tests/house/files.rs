//! Every file with what it says of itself, at the end of the architecture page: written from the sources' headers.

use super::PAGE;
use std::{fmt::Write as _, fs, path::Path};

const HEADING: &str = "\n# Every file\n";
/// Beside the rooms, in the page's order.
const CRATES: [&str; 3] = ["heartbeat-ebpf/src", "tests/src", "xtask/src"];
const WRITE: &str = "HEARTBEAT_WRITE=1 cargo test --test house every_file";

/// The names in the first column of the page's table of rooms.
fn rooms(page: &str) -> Vec<String> {
    let table = page.split_once("| room | may import |").expect("the page has the table of rooms").1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').nth(1).unwrap().trim().to_owned()).collect()
}

/// The sources in a folder below `root`, tests aside, as paths from `root`.
fn sources(root: &Path, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}")) {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{folder}/{name}");
        if entry.file_type().unwrap().is_dir() {
            if !["tests", "snapshots"].contains(&name.as_str()) {
                found.extend(sources(root, &path));
            }
        } else if Path::new(&name).extension().is_some_and(|extension| extension == "rs") && name != "tests.rs" {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The first sentence of a source's header, as a cell of a table; none where there is no header.
fn says(source: &str) -> Option<String> {
    let header = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines: Vec<&str> = header.map(str::trim).take_while(|line| !line.is_empty()).collect();
    let paragraph = lines.join(" ");
    (!paragraph.is_empty()).then(|| without_links(first_sentence(&paragraph)).replace('|', "\\|"))
}

/// Up to the first full stop that ends a sentence: not that of `FIG. 4`, nor one that stands alone.
fn first_sentence(text: &str) -> &str {
    let mut stops = text.match_indices(". ").map(|(at, _)| at);
    stops.find(|at| !text[..*at].ends_with([' ', '(']) && !text[..*at].ends_with("FIG")).map_or(text, |at| &text[..=at])
}

/// What a link in a source leads to is not to be had from the page.
fn without_links(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some((before, link)) = rest.split_once("](") {
        let (ahead, words) = before.rsplit_once('[').expect("a link begins somewhere");
        plain.extend([ahead, words]);
        rest = link.split_once(')').expect("a link ends somewhere").1;
    }
    plain.push_str(rest);
    plain.replace("[`", "`").replace("`]", "`")
}

/// What stands below the heading; or the files that say nothing of themselves.
fn section(page: &str) -> Result<String, Vec<String>> {
    let mut text = format!(
        "\nWritten by the test of `tests/tests/house/files.rs` (`{WRITE}` writes it anew):\n\
         the first sentence of each file's header, tests aside. \
         Of the agent, `lib.rs` is this page, and `main.rs` only calls `cli/`.\n"
    );
    let mut silent = Vec::new();
    let rooms = rooms(page);
    let rooms = rooms.iter().map(|room| (Path::new("../heartbeat-user/src"), room.as_str()));
    for (root, folder) in rooms.chain(CRATES.map(|folder| (Path::new(".."), folder))) {
        writeln!(text, "\n## {folder}\n\n| file | what it is for |\n|---|---|").unwrap();
        for path in sources(root, folder) {
            match says(&fs::read_to_string(root.join(&path)).unwrap()) {
                Some(what) => writeln!(text, "| `{path}` | {what} |").unwrap(),
                None => silent.push(path),
            }
        }
    }
    if silent.is_empty() { Ok(text) } else { Err(silent) }
}

#[test]
fn every_file_says_what_it_is_for_and_the_architecture_page_has_it() {
    let page = fs::read_to_string(PAGE).unwrap();
    let (before, listed) = page.split_once(HEADING).unwrap_or((&page, ""));
    let there = section(before).unwrap_or_else(|silent| panic!("without a header (`//!`): {silent:#?}"));
    if there == listed {
        return;
    }
    if std::env::var_os("HEARTBEAT_WRITE").is_some() {
        fs::write(PAGE, format!("{before}{HEADING}{there}")).unwrap();
        return;
    }
    let lacks = |one: &str, other: &str| -> Vec<String> {
        one.lines().filter(|line| !other.lines().any(|row| row == *line)).map(str::to_owned).collect()
    };
    let (missing, stale) = (lacks(&there, listed), lacks(listed, &there));
    panic!("{PAGE} lacks {missing:#?}, and has instead {stale:#?}; `{WRITE}` writes it anew");
}

#[test]
fn a_sentence_ends_where_it_does() {
    let said = |text| says(text).unwrap();
    assert_eq!(said("//! As of FIG. 4, step 2: so.\n//! More.\n"), "As of FIG. 4, step 2: so.");
    assert_eq!(said("//! Names of a-z 0-9 . _ -, each\n//! once. More\n"), "Names of a-z 0-9 . _ -, each once.");
    assert_eq!(said("//! Says:\n//!\n//! ```text\n"), "Says:");
    assert_eq!(said("//! [`A`] is [safe](super::safety) or not | so.\n"), "`A` is safe or not \\| so.");
    assert_eq!(says("use std::fs;\n"), None);
}
