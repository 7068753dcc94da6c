//! What happens to hosts in years of use: files that change, NICs that are missing or renamed, signals at any moment, a watchdog.
//! Each row of the table of situations that once went wrong, with what the clients saw.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod announcing;
mod files;
mod fuse_watchdog;
mod interfaces;
mod signals;
mod watchdog;

use std::time::Duration;

use heartbeat_tests::lab::{Config, Lab};
use heartbeat_tests::scenario::{Client, NOTICED, running, service};

/// Within so long of its cause, whatever clients have to learn is told them.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// A healthy pair with two clients.
fn pair(config: &Config) -> (Lab, [Client; 2]) {
    let lab = running(config).unwrap();
    let clients = [1, 2].map(|number| Client::start(&lab, number, service(number)).unwrap());
    (lab, clients)
}

fn nobody_noticed(lab: &Lab, clients: &[Client; 2], what: &str, since: u64) {
    for client in clients {
        client.noticed_less_than(lab, what, since, NOTICED).unwrap();
    }
}
