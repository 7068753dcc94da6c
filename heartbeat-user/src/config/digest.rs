//! What both controllers' files must share, as one number.

use super::Config;
use siphasher::sip::SipHasher24;
use std::hash::Hasher as _;
use std::net::IpAddr;

impl Config {
    /// Tells two different group tables apart: names, homes, needs, channels and addresses; and what else both must share to
    /// come to the same verdict. In whatever order they stand in the file. The same on every host and in every version, for
    /// it is compared between the two controllers.
    #[must_use]
    pub fn groups_digest(&self) -> u64 {
        let mut digest = SipHasher24::new();
        digest.write(&[self.judging.both_faulted as u8]);
        // A channel that only one side has, and that is not judged, is told apart from this.
        let judged = self.channels.iter().filter(|channel| channel.is_judged());
        for channel in by_name(judged, |channel| &channel.name) {
            write_name(&mut digest, &channel.name);
            digest.write(&channel.weight.to_be_bytes());
        }
        for check in by_name(self.checks.iter(), |check| &check.name) {
            write_name(&mut digest, &check.name);
            digest.write(&check.weight.to_be_bytes());
        }
        // What is only there to be let go of, the file does not have.
        let groups = self.groups.iter().filter(|group| !group.departed);
        for group in by_name(groups, |group| &group.name) {
            write_name(&mut digest, &group.name);
            digest.write(&[group.home.wire()]);
            digest.write(&group.needs.to_be_bytes());
            if let Some(after) = group.failback {
                digest.write(b"failback");
                digest.write(&after.0.to_be_bytes());
            }
            digest.write(&(group.addresses.len() as u32).to_be_bytes());
            let mut addresses: Vec<_> = group.addresses.iter().collect();
            addresses.sort_by_key(|a| (&self.channels[a.channel.usize()].name, a.address, a.prefix));
            for address in addresses {
                write_name(&mut digest, &self.channels[address.channel.usize()].name);
                match address.address {
                    IpAddr::V4(v4) => digest.write(&[&[address.prefix, 4], &v4.octets()[..]].concat()),
                    IpAddr::V6(v6) => digest.write(&[&[address.prefix, 6], &v6.octets()[..]].concat()),
                }
            }
        }
        digest.finish()
    }
}

fn by_name<'c, T>(all: impl Iterator<Item = &'c T>, name: impl Fn(&T) -> &str) -> Vec<&'c T> {
    let mut all: Vec<_> = all.collect();
    all.sort_by(|a, b| name(a).cmp(name(b)));
    all
}

/// The length first, so that no two tables come to the same bytes.
fn write_name(digest: &mut SipHasher24, name: &str) {
    digest.write(&[name.len() as u8]);
    digest.write(name.as_bytes());
}
