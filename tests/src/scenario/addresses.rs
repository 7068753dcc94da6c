//! Who has an address, and answers for it: by the kernels, not by what the agents say.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{PACE, story, until};
use crate::client::both::Both;
use crate::lab::{Lab, Mark, Node};

/// Those whose kernels have an address; whose power is off has none.
///
/// # Errors
/// A kernel does not answer.
pub fn holders(lab: &Lab, address: IpAddr) -> Result<Vec<Node>> {
    let mut holders = Vec::new();
    for node in Node::BOTH {
        let Ok(namespace) = lab.controller(node) else { continue };
        if namespace.netlink().addresses()?.iter().any(|(_, found)| *found == address) {
            holders.push(node);
        }
    }
    Ok(holders)
}

/// Whether a controller's kernel has an address.
///
/// # Errors
/// A kernel does not answer.
pub fn has(lab: &Lab, node: Node, address: IpAddr) -> Result<bool> {
    Ok(holders(lab, address)?.contains(&node))
}

/// Waits until a controller has answered a client since an instant.
///
/// # Errors
/// It does not soon.
pub fn wait_answer(client: &Both, by: Node, since_ns: u64) -> Result<()> {
    until(&format!("{by} answers"), || Ok((!client.of(by, since_ns, u64::MAX).is_empty()).then_some(())))
}

/// Waits until exactly these have it.
///
/// # Errors
/// They do not soon; the message says who has it then.
pub fn wait_holders(lab: &Lab, address: IpAddr, expected: &[Node]) -> Result<()> {
    until(&format!("{address} on {expected:?}"), || Ok((holders(lab, address)? == expected).then_some(())))
        .with_context(|| format!("it is on {:?}\n{}", holders(lab, address), story(lab)))
}

/// For so long, these have it and nobody else; and [`nobody_died`].
///
/// # Errors
/// That was not so.
pub fn stays(lab: &Lab, expected: &[(IpAddr, Node)], lasts: Duration, marks: [Mark; 2]) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < lasts {
        for (address, node) in expected {
            let seen = holders(lab, *address)?;
            ensure!(seen == [*node], "{address} is on {seen:?}, not on {node}\n{}", story(lab));
        }
        thread::sleep(PACE);
    }
    nobody_died(lab, marks)
}

/// Neither has found the other, which lives, dead since.
///
/// # Errors
/// One has.
pub fn nobody_died(lab: &Lab, marks: [Mark; 2]) -> Result<()> {
    for (node, mark) in Node::BOTH.into_iter().zip(marks) {
        let died = lab.events_since(node, mark).into_iter().find(|line| line.is("peer_dead"));
        ensure!(died.is_none(), "{node}: {died:?}\n{}", story(lab));
    }
    Ok(())
}
