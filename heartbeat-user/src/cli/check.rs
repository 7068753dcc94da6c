//! `heartbeat check`: validates a configuration and says what would run on this host.

#![forbid(unsafe_code)]

use super::{advice, arbiter, disks, host, source};
use crate::{
    config::{
        Config, ConfigError, Fence, Host, HostProblem, KeyError, Means, PairKeys, check_commands, check_disk_names,
        check_files, check_owners, check_watchdog, host::hostname, parse_node, show,
    },
    fence,
    probe::{Prospect, prospects},
    system::bpffs,
    types::{Nanos, Node},
};
use anyhow::{Result, anyhow};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Validate a configuration and print what would run on this host
///
/// Looks at the file, all files and programs that it names, this host's interfaces and addresses, disks, and the arbiter; changes
/// nothing, and runs nothing but fence agents, which are asked what options they take. The exit code is 0 if an agent could start here, 1 if not.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The configuration file, the same on both controllers
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Which controller this host is; default: the one with this host's name
    #[arg(long, value_name = "a|b", value_parser = parse_node)]
    pub node: Option<Node>,
}

/// Prints what would run.
///
/// # Errors
/// Every problem found, one a line.
pub fn run(args: &CheckArgs) -> Result<()> {
    let config = Config::load(&args.config)?;
    let node = match args.node {
        Some(node) => Ok(node),
        None => config.node_for(None, &hostname()?),
    };
    let known = node.as_ref().ok().copied();
    let host = Host::read();
    let sources = known.zip(host.as_ref().ok()).map(|(node, host)| source::warnings(&config, node, host));
    let (text, mut problems) = report(&config, node, host, PairKeys::load(&config.pair.key_file));
    print!("{text}");
    problems.extend(misfits(&config)?);
    let unusable = crate::arbiter::check(&config);
    problems.extend(unusable.iter().map(HostProblem::to_string));
    if let Some(node) = known {
        let facts = host::Facts::here();
        let nics = facts.nics(&config, node, new_table(["", "interface", "driver", "link", "MTU"]));
        println!("\n{}", nics.trim_fmt());
        let of_host = facts.warnings(&config, node).into_iter().chain(host::real_time_refused(&config));
        for warning in of_host.chain(sources.unwrap_or_default()).chain(bpffs::passes()) {
            eprintln!("warning: {warning}");
        }
        print!("{}", judged(&config, &prospects(&config, node)));
        match arbiter::look(&config, node) {
            _ if !unusable.is_empty() => {}
            Some(Ok(well)) => println!("\nthe arbiter is well: {well}"),
            Some(Err(why)) => eprintln!("warning: the arbiter is not well: {why}"),
            None => {}
        }
        let names = check_disk_names(&config, node);
        for warning in disks::look(&config, node).into_iter().chain(names.iter().map(HostProblem::to_string)) {
            eprintln!("warning: {warning}");
        }
    }
    let owners = check_owners(&config, &args.config);
    for warning in advice::warnings(&config).into_iter().chain(owners.iter().map(HostProblem::to_string)) {
        eprintln!("warning: {warning}");
    }
    match problems.len() {
        0 => Ok(()),
        1 => Err(anyhow!("{}", problems[0])),
        n => Err(anyhow!("{n} problems:\n{}", problems.join("\n"))),
    }
}

/// What each network would be judged by now, with a warning for those that only own facts are left for.
fn judged(config: &Config, prospects: &[Prospect]) -> String {
    let mut table = new_table(["", "network", "judged by own facts and"]);
    let mut warnings = String::new();
    for Prospect { channel, by, own_facts_only } in prospects {
        let name = &config.channels[channel.usize()].name;
        table.add_row([channel.to_string(), name.clone(), by.clone()]);
        if *own_facts_only {
            writeln!(
                warnings,
                "warning: {name}: only own facts are left (carrier, interface, address): where it fails silently, nothing \
                 moves; `probe` of its [[channel]] can name somebody who answers there"
            )
            .expect("a String takes all text");
        }
    }
    match prospects {
        [] => String::new(),
        _ if warnings.is_empty() => format!("\n{}\n", table.trim_fmt()),
        _ => format!("\n{}\n\n{warnings}", table.trim_fmt()),
    }
}

/// What would run, and what is in its way.
fn report(
    config: &Config,
    node: Result<Node, ConfigError>,
    host: Result<Host, HostProblem>,
    key: Result<PairKeys, KeyError>,
) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut problems = Vec::new();
    let key_status = match &key {
        Ok(PairKeys { signing, keys: [Some(_), Some(_)] }) => format!("two keys, {signing} signs"),
        Ok(PairKeys { signing, .. }) => format!("one key, {signing}"),
        Err(_) => "not usable".into(),
    };
    problems.extend(key.err().map(|error| error.to_string()));

    let place = match node {
        Ok(node) => host.map(|host| (node, host)).map_err(|problem| problem.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let place = place.map_err(|problem| problems.push(problem)).ok();
    let controller = place.as_ref().map_or("unknown".into(), |(node, _)| node.to_string());
    let rows = [
        ("controller", controller),
        ("pair", format!("{}, UDP port {}", config.pair.id, config.pair.port)),
        ("key file", format!("{}: {key_status}", config.pair.key_file.display())),
        ("profile", format!("{}: a heartbeat every {}", config.profile, show(config.timing.interval))),
        ("detection", detection(config)),
        ("data plane", format!("xdp {}, priority {}", config.dataplane.xdp.name(), config.dataplane.priority)),
    ];
    for (what, value) in rows {
        writeln!(text, "{what:<11} {value}").expect("a String takes all text");
    }
    if let Some(arbiter) = &config.arbiter {
        let (within, ttl) = (show(arbiter.within()), show(arbiter.ttl));
        writeln!(text, "arbiter     {}: answers within {within}, grants for {ttl}", arbiter.described())
            .expect("a String takes all text");
    }
    if let Some(watchdog) = &config.watchdog {
        writeln!(text, "{:<11} {}, {}", "watchdog", watchdog.device.display(), show(watchdog.timeout))
            .expect("a String takes all text");
    }
    let tables = [channels(config, place.as_ref()), groups(config), exclusive(config), commands(config)];
    for table in tables.into_iter().filter(|table| !table.is_empty()) {
        writeln!(text, "\n{}", table.trim_fmt()).expect("a String takes all text");
    }
    if let Some((node, host)) = place {
        problems.extend(host.problems(config, node).iter().map(HostProblem::to_string));
    }
    problems.extend(check_commands(config).iter().chain(&check_files(config)).map(HostProblem::to_string));
    problems.extend(check_watchdog(config).map(|problem| problem.to_string()));
    (text, problems)
}

/// Silence between a channel's last heartbeat and its verdict.
fn detection(config: &Config) -> String {
    let timing = &config.timing;
    let most = config.detection();
    if timing.from_arrival {
        let pace = |channel: &crate::config::ChannelConfig| channel.pace(timing.interval);
        let slowest = config.channels.iter().max_by_key(|channel| pace(channel)).filter(|channel| pace(channel) > 1);
        return match slowest {
            Some(channel) => format!(
                "a network fails {} after its last heartbeat, {} {} after; the peer is dead once all have",
                show(timing.detection()),
                channel.name,
                show(most)
            ),
            None => format!("a channel fails {} after its last heartbeat", show(most)),
        };
    }
    let least = Nanos(most.0.saturating_sub(timing.period.0));
    format!("a channel fails {} to {} after its last heartbeat", show(least), show(most))
}

fn channels(config: &Config, place: Option<&(Node, Host)>) -> Table {
    let mut table = new_table(["", "channel", "kind", "interface", "own address", "peer address", "present"]);
    for channel in &config.channels {
        let common = [channel.index.to_string(), channel.name.clone(), channel.kind.name().into()];
        let rest = match place {
            Some((node, host)) => {
                let ends = channel.end(*node).zip(channel.end(node.other()));
                let present = match ends {
                    None if Path::new(&channel.port(*node)).exists() => "yes",
                    None => "no device",
                    Some((own, _)) => match host.interfaces.get(&own.interface) {
                        None => "no interface",
                        Some(present) if present.iter().any(|(address, _)| *address == own.address) => "yes",
                        Some(_) => "no address",
                    },
                };
                let addresses =
                    ends.map_or_else(Default::default, |(own, peer)| [own, peer].map(|e| e.address.to_string()));
                let [own, peer] = addresses;
                [channel.port(*node), own, peer, present.into()]
            }
            None => ["?", "?", "?", "?"].map(str::to_owned),
        };
        table.add_row(common.into_iter().chain(rest).collect::<Vec<_>>());
    }
    table
}

fn groups(config: &Config) -> Table {
    let mut table = new_table(["", "group", "home", "channel", "address"]);
    for group in &config.groups {
        for (i, service) in group.addresses.iter().enumerate() {
            let first = [group.index.to_string(), group.name.clone(), group.home.to_string()];
            let first = if i == 0 { first } else { Default::default() };
            let channel = config.channels[service.channel.usize()].name.clone();
            let address = format!("{}/{}", service.address, service.prefix);
            table.add_row(first.into_iter().chain([channel, address]).collect::<Vec<_>>());
        }
    }
    table
}

/// What makes sure that the peer does not have what must not be held twice.
fn exclusive(config: &Config) -> Table {
    let mut table = new_table(["", "exclusive", "taken from a silent peer by"]);
    for (group, means) in advice::relies_on(config) {
        table.add_row([String::new(), group.to_owned(), means]);
    }
    table
}

fn commands(config: &Config) -> Table {
    let mut table = new_table(["", "command of", "at most", "runs"]);
    for (key, words, timeout) in config.commands() {
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        table.add_row([String::new(), key, show(timeout), words.join(" ")]);
    }
    for device in config.fence.iter().flat_map(Fence::devices) {
        let Means::Agent { name, options } = &device.by else { continue };
        let path = fence::find(name).map_or_else(|_| name.clone(), |path| path.display().to_string());
        // Values may be secrets.
        let runs = [Node::A, Node::B].map(|node| (node, options[usize::from(node.wire())].names()));
        for (node, names) in runs {
            let first = [String::new(), format!("{}.agent", device.key), show(device.timeout)];
            let first = if node == Node::A { first } else { Default::default() };
            let runs = format!("{path}, told to switch {node} off by {names}");
            table.add_row(first.into_iter().chain([runs]).collect::<Vec<_>>());
        }
    }
    table
}

/// What fence agents say of their options. One that is not there is told with the other commands.
fn misfits(config: &Config) -> Result<Vec<String>> {
    if !config.agents().any(|(_, name)| fence::find(name).is_ok_and(|path| path.is_file())) {
        return Ok(Vec::new());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    Ok(runtime.block_on(fence::misfits(config)))
}

/// A word as it is, where that shows where it ends.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !"\"'\\".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("{word:?}") }
}

pub(super) fn new_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn fitting_host() -> Host {
        let interfaces = [("eth0", "192.0.2.1"), ("eth1", "2001:db8:2::1"), ("eth9", "fe80::1")];
        let entry = |(name, address): (&str, &str)| (name.to_owned(), vec![(address.parse().unwrap(), 24)]);
        Host { interfaces: interfaces.into_iter().map(entry).collect() }
    }

    fn example() -> Config {
        Config::parse(EXAMPLE, "example.toml").unwrap()
    }

    fn key() -> Result<PairKeys, KeyError> {
        Ok(PairKeys { signing: 0, keys: [Some([1; 16]), None] })
    }

    #[test]
    fn a_configuration_that_fits_its_host_has_no_problem_and_shows_what_would_run() {
        let (text, problems) = report(&example(), Ok(Node::A), Ok(fitting_host()), key());
        assert_eq!(problems, Vec::<String>::new());
        let expected = "\
controller  a
pair        7, UDP port 694
key file    /etc/heartbeat/pair.key: one key, 0
profile     lan: a heartbeat every 100ms
detection   a channel fails 300ms after its last heartbeat
data plane  xdp auto, priority 60

    channel  kind       interface  own address    peer address   present
 0  net1     network    eth0       192.0.2.1      192.0.2.2      yes
 1  net2     network    eth1       2001:db8:2::1  2001:db8:2::2  yes
 2  xlink    dedicated  eth9       fe80::1        fe80::2        yes

    group      home  channel  address
 0  storage-a  a     net1     192.0.2.10/24
                     net2     2001:db8:2::10/64
 1  storage-b  b     net1     192.0.2.11/24
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_networks_are_judged_by_is_shown_and_own_facts_alone_are_warned_of() {
        let prospect = |channel, by: &str, own_facts_only| Prospect {
            channel: crate::types::ChannelIndex(channel),
            by: by.into(),
            own_facts_only,
        };
        let text = judged(&example(), &[prospect(0, "192.0.2.254", false), prospect(1, "nobody", true)]);
        let expected = "
    network  judged by own facts and
 0  net1     192.0.2.254
 1  net2     nobody

warning: net2: only own facts are left";
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(text.matches("warning").count(), 1);
        assert_eq!(judged(&example(), &[]), "");
    }

    #[test]
    fn classic_shows_between_what_times_a_channel_fails() {
        let config = Config::parse(&EXAMPLE.replace("\"lan\"\n", "\"classic\"\n"), "example.toml").unwrap();
        assert_eq!(detection(&config), "a channel fails 60s to 65s after its last heartbeat");
    }

    #[test]
    fn everything_that_is_in_the_way_is_listed() {
        let no_key = PairKeys::load(Path::new("/nonexistent/pair.key"));
        let (text, problems) = report(&example(), Ok(Node::A), Ok(Host::default()), no_key);
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(text.contains("not usable") && text.contains("no interface"), "{text}");
    }

    #[test]
    fn commands_are_shown_with_their_arguments_and_those_that_cannot_be_run_are_in_the_way() {
        let text = format!("{EXAMPLE}\n[fence]\ncommand = [\"/nonexistent/fence\", \"b\", \"of two\"]\n");
        let config = Config::parse(&text, "example.toml").unwrap();
        let (text, problems) = report(&config, Ok(Node::A), Ok(fitting_host()), key());
        let expected = "
    command of     at most  runs
    fence.command  10s      /nonexistent/fence b \"of two\"
";
        assert!(text.ends_with(expected), "{text}");
        assert!(
            problems.len() == 1 && problems[0].starts_with("fence.command = \"/nonexistent/fence\""),
            "{problems:?}"
        );
    }

    #[test]
    fn of_an_agent_the_names_of_its_options_are_shown_and_what_it_will_not_take_is_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let agent = folder.path().join("fence_test");
        let says = "#!/bin/sh\ncat <<END\n<resource-agent><parameters><parameter name=\"ip\"/><parameter name=\"password\"/>\
                    </parameters><actions><action name=\"off\"/></actions></resource-agent>\nEND\n";
        fs::write(&agent, says).unwrap();
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o700)).unwrap();
        let fence = format!(
            "[fence]\nagent = \"{}\"\noptions = {{ password = \"hunter2x\", pluk = \"hunter2x\" }}\na = {{ ip = \"hunter2x1\" }}\n\
             b = {{ ip = \"hunter2x2\" }}\n[watchdog]\ndevice = \"/nonexistent/watchdog\"\n",
            agent.display()
        );
        let config = Config::parse(&format!("{EXAMPLE}\n{fence}"), "example.toml").unwrap();
        let (text, problems) = report(&config, Ok(Node::A), Ok(fitting_host()), key());
        assert_eq!(
            problems,
            [
                "watchdog.device = \"/nonexistent/watchdog\": ENOENT: No such file or directory; right would be one such as \
              /dev/watchdog, whose driver is loaded"
            ]
        );
        let agent = agent.display();
        let row = format!("fence.agent  60s      {agent}, told to switch a off by ip, password, pluk\n");
        assert!(text.contains(&row) && text.contains("told to switch b off by ip,"), "{text}");
        assert!(text.contains("\nwatchdog    /nonexistent/watchdog, 10s\n"), "{text}");
        let misfits = misfits(&config).unwrap();
        assert_eq!(misfits, [format!("fence: {agent}: option pluk: the agent has none of that name")]);
        assert!(!format!("{text}{misfits:?}").contains("hunter2x"), "{text}");
        // One that is not there.
        let absent = format!("{EXAMPLE}\n{fence}").replace(&agent.to_string(), "fence_of_nobody");
        let (_, problems) = report(&Config::parse(&absent, "x").unwrap(), Ok(Node::A), Ok(fitting_host()), key());
        assert!(problems[0].starts_with("fence.agent: there is no fence_of_nobody in /usr/local/sbin"), "{problems:?}");
    }

    #[test]
    fn a_host_that_is_neither_controller_is_a_problem_and_the_rest_is_shown() {
        let config = example();
        let (text, problems) = report(&config, config.node_for(None, "other"), Ok(fitting_host()), key());
        assert!(text.contains("controller  unknown") && text.contains("storage-a"), "{text}");
        assert!(problems[0].contains("\"other\" is neither"), "{problems:?}");
    }

    #[test]
    fn run_fails_where_etcd_could_never_be_asked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("heartbeat.toml");
        let arbiter = "[arbiter]\netcd = [\"https://127.0.0.1:1\"]\nca_file = \"no.pem\"\n";
        fs::write(&file, format!("{EXAMPLE}\n{arbiter}")).unwrap();
        let error = run(&CheckArgs { config: file, node: Some(Node::B) }).unwrap_err().to_string();
        let line = format!("arbiter.ca_file = {:?}: ENOENT: No such file or directory; ", folder.path().join("no.pem"));
        assert_eq!(error.lines().filter(|problem| problem.starts_with(&line)).count(), 1, "{error}");
    }

    #[test]
    fn run_fails_with_every_problem_of_the_host_and_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("heartbeat.toml");
        fs::write(&file, EXAMPLE.replace("/etc/heartbeat/pair.key", "pair.key").replace("\"eth", "\"none")).unwrap();
        fs::write(folder.path().join("pair.key"), "0 000102030405060708090a0b0c0d0e0f\n").unwrap();
        fs::set_permissions(folder.path().join("pair.key"), fs::Permissions::from_mode(0o640)).unwrap();
        let error = run(&CheckArgs { config: file, node: Some(Node::B) }).unwrap_err().to_string();
        assert!(error.starts_with("4 problems:\n"), "{error}");
        assert!(error.contains("pair.key: mode 0640") && error.contains("no interface \"none9\""), "{error}");
    }
}
