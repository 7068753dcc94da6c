//! What earlier lives of the agent told: read from the end of the event file.

use super::rotated_file::numbered;
use crate::events::{Record, feed::RING};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// So much of each file is read at most.
const MOST: u64 = 8 << 20;
/// So much is enough to find the last record.
const LAST: u64 = 64 << 10;

/// The records found, oldest first, and how many lines were none.
#[derive(Debug, Default)]
pub struct Found {
    /// At most as many as are kept.
    pub records: Vec<Record>,
    /// Torn or foreign lines.
    pub skipped: usize,
}

/// The newest record's id, where there is one.
#[must_use]
pub fn last_id(path: &Path) -> Option<u64> {
    let mut found = Found::default();
    for number in [0, 1] {
        let _ = tail(&numbered(path, number), LAST).map(|text| take(&text, &mut found));
        if let Some(newest) = found.records.iter().map(|record| record.id).max() {
            return Some(newest);
        }
    }
    None
}

/// The newest records of the file and the one before it. A file that is not there has none.
///
/// # Errors
/// It is there and cannot be read.
pub fn read_back(path: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    for number in [0, 1] {
        match tail(&numbered(path, number), MOST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => take(&read?, &mut found),
        }
    }
    // Newest first until here.
    found.records.reverse();
    Ok(found)
}

/// Takes records from the last line on, as far as there is room.
fn take(text: &[u8], found: &mut Found) {
    for line in text.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty()) {
        if found.records.len() == RING {
            return;
        }
        match serde_json::from_slice(line) {
            Ok(record) => found.records.push(record),
            Err(_) => found.skipped += 1,
        }
    }
}

/// The last lines, whole ones: at most so many bytes.
fn tail(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Ok(Vec::new());
    }
    let start = found.len().saturating_sub(most);
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    file.take(most).read_to_end(&mut text)?;
    if start > 0 {
        let first = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1);
        text.drain(..first);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn line(id: u64) -> String {
        format!(
            r#"{{"event":"x","time_ns":{id},"monotonic_ns":0,"id":{id},"severity":"info","controller":"a","text":"","n":1}}"#
        )
    }

    fn ids(found: &Found) -> Vec<u64> {
        found.records.iter().map(|record| record.id).collect()
    }

    #[test]
    fn records_of_both_files_come_back_in_order_and_torn_or_foreign_lines_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        assert_eq!((ids(&read_back(&path).unwrap()), last_id(&path)), (vec![], None));
        fs::write(numbered(&path, 1), format!("{}\n{}\n", line(1), line(2))).unwrap();
        assert_eq!(last_id(&path), Some(2));
        fs::write(&path, format!("{}\nhello\n\n{}\n{}", line(3), line(4), &line(5)[..20])).unwrap();
        let found = read_back(&path).unwrap();
        assert_eq!((ids(&found), found.skipped, last_id(&path)), (vec![1, 2, 3, 4], 2, Some(4)));
        assert_eq!(found.records[0].evidence["n"], 1);
    }

    #[test]
    fn no_more_come_back_than_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let lines: String = (1..=RING as u64 + 10).map(|id| line(id) + "\n").collect();
        fs::write(&path, lines).unwrap();
        let found = read_back(&path).unwrap();
        assert_eq!((found.records.len(), found.records[0].id, found.skipped), (RING, 11, 0));
        // Also where the file does not begin within what is read.
        assert_eq!(tail(&path, 1_000).unwrap().first(), Some(&b'{'));
    }
}
