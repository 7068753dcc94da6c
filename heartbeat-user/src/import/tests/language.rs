//! keepalived's language: comments, inclusions, definitions, conditions.

use super::*;

fn addresses(imported: &Imported) -> Vec<String> {
    group(imported).addresses.iter().map(|at| at.address.to_string()).collect()
}

#[test]
fn comments_blank_lines_and_the_ends_of_lines_of_other_systems_mean_nothing() {
    let text = A.replace('%', "! a comment\n\n   # another\n");
    let plain = alone(&A.replace('%', "")).unwrap();
    for text in [
        text.clone(),
        text.replace('\n', "\r\n"),
        format!("\u{feff}{text}"),
        text.replace("    ", "\t"),
        text.replace("{\n", "\n{\n"),
    ] {
        let imported = alone(&text).unwrap();
        assert_eq!(config(&imported).groups, config(&plain).groups);
    }
}

#[test]
fn a_file_is_put_in_where_it_is_included_also_within_a_block_and_seen_from_where_it_stands() {
    let main =
        A.replace("{ 192.0.2.10/24 }", "{\ninclude conf.d/*.list\ninclude \"more/last.conf\"\n}").replace('%', "");
    let files = [
        ("a.conf", main.as_str()),
        ("conf.d/2.list", "192.0.2.12/24"),
        ("conf.d/1.list", "192.0.2.11/24 # first"),
        ("conf.d/3.other", "broken {"),
        ("more/last.conf", "include {further/x,further/y}\n"),
        ("more/further/x", "192.0.2.13/24"),
        ("more/further/y", ""),
    ];
    let imported = import(&files, None, &ImportOptions::default()).unwrap();
    assert_eq!(addresses(&imported), ["192.0.2.11", "192.0.2.12", "192.0.2.13"]);
}

#[test]
fn what_is_found_in_an_included_file_is_named_by_that_file() {
    let main = format!("include sub/b.conf\n{}", A.replace('%', "include sub/c.conf"));
    let files = |b, c| [("a.conf", main.clone()), ("sub/b.conf", String::from(b)), ("sub/c.conf", String::from(c))];
    let run = |b, c| {
        let files = files(b, c);
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        import(&files, None, &ImportOptions::default())
    };
    let imported = run("\nnet_namespace x", "no_accept").unwrap();
    assert!(losses(&imported).contains("sub/b.conf:2: lost: net_namespace x"), "{}", losses(&imported));
    assert!(losses(&imported).contains("sub/c.conf:1: lost: no_accept"), "{}", losses(&imported));
    assert!(run("", "prioriti 3").unwrap_err().starts_with("sub/c.conf:1: prioriti 3: keepalived has no such keyword"));
    let missing = run("include nowhere.conf", "").unwrap_err();
    assert!(missing.starts_with("sub/b.conf:1: sub/nowhere.conf: ENOENT"), "{missing}");
}

#[test]
fn inclusions_that_lead_back_or_too_far_are_refused() {
    let error =
        import(&[("a.conf", "include b.conf\n"), ("b.conf", "\ninclude a.conf\n")], None, &ImportOptions::default())
            .unwrap_err();
    assert_eq!(
        error,
        "b.conf:2: a.conf: included by itself (a.conf -> b.conf -> a.conf); right would be to include each file once"
    );
    let chain: Vec<(String, String)> =
        (0..40).map(|n| (format!("{n}.conf"), format!("include {}.conf\n", n + 1))).collect();
    let files: Vec<_> = chain.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let error = import(&files, None, &ImportOptions::default()).unwrap_err();
    assert_eq!(error, "15.conf:1: 16.conf: too much: at most 16 files of which each includes the next");
    let many = "include b.conf\n".repeat(1_200);
    let error = import(&[("a.conf", &many), ("b.conf", "")], None, &ImportOptions::default()).unwrap_err();
    assert_eq!(error, "a.conf:1000: b.conf: too much: at most 1000 files in all");
}

#[test]
fn a_definition_stands_for_its_value_from_its_line_on() {
    let text = "$NET=192.0.2\n$VIP=${NET}.20/24\n$PRIO=170\n".to_owned()
        + &A.replace("192.0.2.10/24", "$VIP ").replace("priority 150", "priority $PRIO").replace('%', "");
    assert_eq!(addresses(&alone(&text).unwrap()), ["192.0.2.20"]);
    let later = A.replace("192.0.2.10/24", "${VIP}").replace('%', "") + "$VIP=192.0.2.20\n";
    let error = alone(&later).unwrap_err();
    assert!(error.starts_with("a.conf:9: ${VIP}: not usable; right would be an address"), "{error}");
}

#[test]
fn a_definition_of_several_lines_is_read_as_if_it_stood_there() {
    let lines: Vec<_> = A.lines().map(|line| line.replace("VI_1", "VI_$N").replace("VI_$N", "VI_${N}")).collect();
    let value = lines.join(" \\\n").replace("51", "${N}").replace(".10/", ".${N}/").replace('%', "");
    let text = format!("$BLOCK= \\\n{value}\n\n$N=7\n$BLOCK\n$N=8\n$BLOCK\n");
    let imported = alone(&text).unwrap();
    let names: Vec<_> = config(&imported).groups.iter().map(|group| group.name.clone()).collect();
    assert_eq!((names, config(&imported).pair.id), (vec!["VI_7".to_owned(), "VI_8".into()], 7));
}

#[test]
fn lines_for_one_node_count_where_keepalived_is_started_with_its_id() {
    let text = A
        .replace("    priority 150\n", "    @high priority 170\n    @low priority 85\n")
        .replace("    state MASTER\n", "    @^low state MASTER\n")
        .replace(
            "    unicast_src_ip 192.0.2.1\n    unicast_peer { 192.0.2.2 }\n",
            "@high unicast_src_ip 192.0.2.1\n@low unicast_src_ip 192.0.2.2\n",
        )
        .replace('%', "@other broken {");
    let of = |ids: [&str; 2]| {
        let options = ImportOptions { ids: ids.map(|id| Some(id.to_owned())), ..ImportOptions::default() };
        import(&[("a.conf", &text)], None, &options)
    };
    let home = |ids| {
        let imported = of(ids).unwrap();
        assert!(imported.is_whole(), "{}", losses(&imported));
        let config = config(&imported);
        let own = config.channels[0].end(crate::types::Node::A).unwrap().address.to_string();
        (config.groups[0].home, own)
    };
    assert_eq!(home(["high", "low"]), (crate::types::Node::A, "192.0.2.1".into()));
    assert_eq!(home(["low", "high"]), (crate::types::Node::B, "192.0.2.2".into()));
    let error = alone(&text).unwrap_err();
    assert!(error.starts_with("a.conf:2: @^low state MASTER: a line for one node only;"), "{error}");
    assert!(error.ends_with("-i low -i high"), "{error}");
}

#[test]
fn a_definition_for_another_node_is_left_out_with_all_of_its_lines() {
    let text = format!(
        "@x $A= \\\nbroken {{ \\\n}}\n@^x $A=192.0.2.10/24\n{}",
        A.replace("192.0.2.10/24", "$A ").replace('%', "")
    );
    let options = ImportOptions { ids: [Some("y".into()), None], ..ImportOptions::default() };
    let imported = import(&[("a.conf", &text)], None, &options).unwrap();
    assert_eq!(addresses(&imported), ["192.0.2.10"]);
}

#[test]
fn a_pattern_that_must_find_something_is_refused_where_it_does_not() {
    for word in ["includea", "includem", "includew", "includeb"] {
        let error = alone(&format!("{word} conf.d/*.conf\n{}", A.replace('%', ""))).unwrap_err();
        assert!(error.starts_with(&format!("a.conf:1: {word} conf.d/*.conf: no such file; right would be")), "{error}");
    }
}
