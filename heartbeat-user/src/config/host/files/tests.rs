use super::*;
use crate::config::EXAMPLE;
use std::fs;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// A file of that text and mode.
    fn put(&self, name: &str, text: &[u8], mode: u32) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

/// The example, whose tables of which every key is absent by default may be in `text`.
fn config(text: &str) -> Config {
    let example = EXAMPLE.replace("\n[api]\n", "\n").replace("\n[events]\n", "\n").replace("\n[histograms]\n", "\n");
    Config::parse(&format!("{example}\n{text}"), "example.toml").unwrap()
}

fn said(problems: &[HostProblem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn every_key_that_names_a_file_is_looked_at() {
    // Keys whose values are paths, but for devices and what a fence agent is told.
    let paths = |text: &str| {
        let lines = text.lines().map(|line| line.trim_start_matches("## "));
        let keys = lines.filter_map(|line| line.split_once(" = "));
        keys.filter(|(key, value)| !key.contains(' ') && (key.ends_with("_file") || value.contains("/log/")))
            .map(|(key, _)| key.to_owned())
            .collect::<BTreeSet<_>>()
    };
    let all = config(
        "[api]\ntoken_file = \"/t\"\n[events]\nfile = \"/e\"\n[histograms]\nlog = \"/l\"\n[arbiter]\netcd = [\"https://h\"]\n\
         user = \"u\"\npassword_file = \"/p\"\nca_file = \"/ca\"\ncert_file = \"/c\"\nkey_file = \"/k\"\n",
    );
    let known: BTreeSet<_> = others(&all)
        .iter()
        .map(|(key, ..)| key.rsplit_once('.').unwrap().1.to_owned())
        .chain(["key_file".into()])
        .collect();
    assert_eq!(paths(EXAMPLE), known);
}

#[test]
fn a_token_that_cannot_be_used_is_named_with_what_would_be_right() {
    let folder = Folder::new();
    let text = "0123456789abcdef\n";
    let right = folder.put("right", text.as_bytes(), 0o600);
    assert_eq!(read_token(Path::new(&right)), Ok("0123456789abcdef".to_owned()));
    let open = folder.put("open", text.as_bytes(), 0o644);
    for (path, expected) in [
        (right, None),
        (folder.path("none"), Some("ENOENT: No such file or directory; put the file there, or correct its path")),
        (folder.path("."), Some("not a file; right would be the path of a file")),
        (open, Some("mode 0644 lets others than its owner read it; right would be `chmod 600 /")),
        (folder.put("empty", b"", 0o600), Some("nothing in it; put there what the file is to hold")),
        (folder.put("line", b"\n", 0o600), Some("nothing in it")),
        (folder.put("short", b"0123456789", 0o600), Some("holds 10 characters; right would be one line of 16 to 1024")),
        (folder.put("two", b"0123456789abcdef\n0123\n", 0o600), Some("holds 21 characters; right would be one line")),
        (folder.put("binary", b"\xff\xfe", 0o600), Some("not text; right would be one line of it")),
        (folder.put("large", &[b'x'; 5_000], 0o600), Some("larger than 4096 bytes")),
    ] {
        let said = said(&check_files(&config(&format!("[api]\ntoken_file = \"{path}\"\n"))));
        let expected: Vec<_> =
            expected.map(|words| format!("api.token_file = \"{path}\": {words}")).into_iter().collect();
        let fits = said.iter().zip(&expected).all(|(said, words)| said.starts_with(words));
        assert!(said.len() == expected.len() && fits, "{path}: {said:?}");
    }
}

#[test]
fn an_arbiters_password_and_files_that_are_written_are_looked_at() {
    let folder = Folder::new();
    let open = folder.put("open", b"secret", 0o640);
    let text = format!("[arbiter]\netcd = [\"http://h\"]\nuser = \"u\"\npassword_file = \"{open}\"\n");
    let exposed = said(&check_files(&config(&text)));
    let begin = format!("arbiter.password_file = \"{open}\": mode 0640 lets others than its owner read it");
    assert!(exposed.len() == 1 && exposed[0].starts_with(&begin), "{exposed:?}");
    let text = format!("[events]\nfile = \"{0}\"\n[histograms]\nlog = \"/dev/null\"\n", folder.path("."));
    let said = said(&check_files(&config(&text)));
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|said| said.ends_with("not a file; right would be the path of a file")), "{said:?}");
}

/// A fence agent that is told this.
fn agent(folder: &Folder, options: &str) -> Config {
    let agent = folder.put("fence_x", b"x", 0o700);
    config(&format!(
        "[fence]\nagent = \"{agent}\"\noptions = {{ {options} }}\na = {{ plug = 1 }}\nb = {{ plug = 2, identity_file = \"/none\" }}\n"
    ))
}

#[test]
fn what_a_fence_agent_is_told_to_run_or_to_read_is_looked_at_once() {
    let folder = Folder::new();
    let (script, key) = (folder.put("script", b"echo secret", 0o600), folder.put("key", b"", 0o600));
    let options = format!(
        "password_script = \"{script} --of b\", tlskey = \"{key}\", ipmitool_path = \"/none/ipmitool\", api_path = \"/none/api\", \
         debug_file = \"/none/debug\", ssh_path = \"ssh\""
    );
    assert_eq!(
        said(&check_commands(&agent(&folder, &options))),
        [
            "fence: option ipmitool_path = \"/none/ipmitool\": ENOENT: No such file or directory; put the command there, or correct \
             its path",
            &format!(
                "fence: option password_script = \"{script}\": mode 0600 lets nobody run it; right would be `chmod 755 {script}`"
            ),
            &format!(
                "fence: option tlskey = \"{key}\": nothing in it; put there what the file is to hold, or correct its path"
            ),
            "fence: option identity_file = \"/none\": ENOENT: No such file or directory; put the file there, or correct its path",
        ]
    );
}

#[test]
fn secrets_that_others_may_read_where_the_agent_does_not_refuse_them_are_warned_of() {
    let folder = Folder::new();
    let warned = |mode: u32| {
        let (script, key) = (folder.put("script", b"echo secret", mode), folder.put("key", b"k", mode & 0o666));
        let options = format!("password_script = \"{script}\", tlskey = \"{key}\", tlscert = \"{script}\"");
        let tls = format!("[arbiter]\netcd = [\"http://h\"]\ncert_file = \"{script}\"\nkey_file = \"{key}\"\n");
        let of = |config: &Config| said(&check_owners(config, Path::new("/none")));
        let all = [of(&agent(&folder, &options)), of(&config(&tls))].concat();
        all.into_iter().filter(|said| said.contains("read it")).collect::<Vec<_>>()
    };
    assert_eq!(warned(0o700), Vec::<String>::new());
    let said = warned(0o755);
    let begins = ["fence: option password_script = ", "fence: option tlskey = ", "arbiter.key_file = "];
    assert!(said.len() == 3 && said.iter().zip(begins).all(|(said, begin)| said.starts_with(begin)), "{said:#?}");
    assert!(said[0].contains("mode 0755 lets others than its owner read it; right would be `chmod 700 "), "{said:?}");
    assert!(said[1].contains("mode 0644 lets") && said[1].contains("right would be `chmod 600 "), "{said:?}");
}

#[test]
fn a_script_or_a_key_that_others_may_change_is_warned_of() {
    let folder = Folder::new();
    let script = folder.put("script", b"echo secret", 0o702);
    let said = said(&check_owners(&agent(&folder, &format!("password_script = \"{script}\"")), Path::new("/none")));
    assert!(said.iter().any(|said| said.contains("password_script") && said.contains("can change it")), "{said:?}");
}
