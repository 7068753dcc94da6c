//! The pages name what there is: files, functions, other pages; and what they say to copy works.

use heartbeat::config::Config;
use std::{
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = "..";
const ARCHITECTURE: &str = "heartbeat-user/docs/architecture.md";

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README and the pages of `heartbeat-user/docs/`.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(format!("{ROOT}/heartbeat-user/docs")).unwrap();
    let paths = docs.map(|entry| entry.unwrap().path()).chain([PathBuf::from(format!("{ROOT}/README.md"))]);
    let pages: Vec<_> = paths.map(|path| (path.clone(), text(&path))).collect();
    assert!(pages.len() > 5, "{pages:?}");
    pages
}

/// What stands between backticks, code blocks aside.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("```").step_by(2);
    blocks.flat_map(|prose| prose.split('`').skip(1).step_by(2))
}

/// The file or folder that a span names, with a crate before it or below the agent's sources; nothing where it names none.
fn named(span: &str) -> Option<Vec<PathBuf>> {
    let is_path = span.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-./".contains(c));
    let ends = [".rs", ".js", ".toml", ".md", ".yml", ".json", "/"].iter().any(|end| span.ends_with(end));
    // What is built is not in the repository.
    let relative = span.contains('/') && !span.starts_with(['/', '.']) && !span.starts_with("target/");
    (is_path && ends && relative)
        .then(|| ["", "heartbeat-user/src"].map(|root| Path::new(ROOT).join(root).join(span)).to_vec())
}

fn there(paths: &[PathBuf]) -> Option<&PathBuf> {
    paths.iter().find(|path| path.exists())
}

#[test]
fn the_pages_name_only_files_that_there_are() {
    let mut missing = Vec::new();
    let mut found = 0;
    for (page, text) in pages() {
        for span in spans(&text) {
            match named(span) {
                Some(paths) if there(&paths).is_none() => missing.push(format!("{}: `{span}`", page.display())),
                Some(_) => found += 1,
                None => {}
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(found > 100, "{found}");
}

#[test]
fn the_pages_links_lead_somewhere() {
    for (page, text) in pages() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target = page.parent().unwrap().join(file);
            assert!(target.exists(), "{}: there is no {link}", page.display());
            let headings = heading.map(|heading| (heading, self::text(&target).to_lowercase()));
            assert!(
                headings.is_none_or(|(heading, text)| text
                    .lines()
                    .any(|line| line.trim_start_matches('#').trim() == heading)),
                "{}: no heading {link}",
                page.display()
            );
        }
    }
}

/// Files with the functions and types that a row says are in them: `judge` is to be in one of the row's files.
fn check_row(row: &str) -> usize {
    let (mut files, mut names) = (Vec::<PathBuf>::new(), Vec::new());
    for span in spans(row) {
        if let Some(paths) = named(span) {
            files.push(there(&paths).unwrap().clone());
        } else if let Some(beside) = files.last().and_then(|file| file.parent()).filter(|_| span.ends_with(".rs")) {
            // A file's name alone: in the folder of the one before.
            files.push(beside.join(span));
        } else if span.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            names.push(span.rsplit("::").next().unwrap());
        }
    }
    let sources: Vec<String> = files.iter().flat_map(|file| sources(file)).collect();
    for name in &names {
        let defined = ["fn", "struct", "enum", "trait"].map(|what| format!("{what} {name}"));
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let is_there = sources.iter().any(|source| {
            defined.iter().any(|wanted| source.match_indices(wanted).any(|(at, _)| ends(&source[at + wanted.len()..])))
        });
        assert!(is_there, "`{name}` is in none of the files of: {row}");
    }
    names.len()
}

/// A file's text, or those of all files in a folder.
fn sources(path: &Path) -> Vec<String> {
    if path.is_file() {
        return vec![text(path)];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    entries.flat_map(|entry| sources(&entry.unwrap().path())).collect()
}

/// The rows of the table that begins with this line.
fn table(page: &str, head: &str) -> Vec<String> {
    let rest = page.split_once(head).unwrap_or_else(|| panic!("no table {head}")).1;
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(str::to_owned).collect()
}

#[test]
fn each_word_of_the_story_and_each_answer_of_the_ten_is_where_the_architecture_page_says() {
    let page = text(&Path::new(ROOT).join(ARCHITECTURE));
    let story = table(&page, "| word | file | function or type |");
    let answers = table(&page, "| where is it decided .. | answer |");
    assert_eq!((story.len(), answers.len()), (10, 10));
    for row in story.iter().chain(&answers) {
        assert!(check_row(row) > 0, "nothing is named in: {row}");
    }
}

#[test]
fn the_smallest_file_of_the_configuration_page_is_valid() {
    let page = text(&Path::new(ROOT).join("heartbeat-user/docs/configuration.md"));
    let file = page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let config = Config::parse(file, "configuration.md").unwrap();
    assert_eq!((config.channels.len(), config.groups.len()), (2, 1));
}
