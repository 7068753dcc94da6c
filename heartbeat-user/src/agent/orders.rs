//! An operator's orders: on their way to the core, and back with what became of them.

use super::{desk::Desk, messages::Command, tenancy::Tenancy};
use crate::{
    api::server::{OrderReply, Ordered, Request},
    config::Config,
    core::OperatorOrder,
};
use std::collections::HashMap;
use tokio::sync::oneshot;

/// Who waits for an answer to which order.
#[derive(Default)]
pub(super) struct Orders {
    asking: HashMap<u64, (OperatorOrder, oneshot::Sender<OrderReply>)>,
    asked: u64,
}

impl Orders {
    /// One, for the core; an agent that is `ending` takes none.
    pub(super) fn take(&mut self, desk: &Desk<'_>, ending: bool, (request, sender): Ordered) {
        match read(&desk.options.config, ending, request) {
            Ok(order) => {
                // An answer that found no room is missed by nobody any more: as many wait as the API serves at a time.
                self.asking.retain(|_, (_, sender)| !sender.is_closed());
                self.asked += 1;
                self.asking.insert(self.asked, (order, sender));
                desk.command(Command::Order { id: self.asked, order });
            }
            Err(refusal) => {
                // Who does not wait any more need not know.
                let _ = sender.send(refusal);
            }
        }
    }

    /// What became of it.
    pub(super) fn answered(&mut self, tenancy: &Tenancy<'_>, id: u64, answer: OrderReply) {
        let Some((order, sender)) = self.asking.remove(&id) else { return };
        if let (OperatorOrder::Maintenance(on), OrderReply::Accepted) = (order, &answer) {
            tenancy.note_maintenance(on);
        }
        let _ = sender.send(answer);
    }
}

fn read(config: &Config, ending: bool, request: Request) -> Result<OperatorOrder, OrderReply> {
    let groups = &config.groups;
    let group = |name: String| {
        let known = || groups.iter().map(|g| g.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = groups.iter().find(|g| g.name == name && !g.departed).map(|g| g.index);
        found.ok_or_else(|| {
            OrderReply::Unknown(format!("there is no group \"{name}\"; right would be one of: {}", known()))
        })
    };
    match request {
        _ if ending => Err(OrderReply::Refused("the agent is ending".to_owned())),
        Request::Takeover(name) => group(name).map(OperatorOrder::Takeover),
        Request::TakeoverForced(name) => group(name).map(OperatorOrder::TakeoverForced),
        Request::Release(name) => group(name).map(OperatorOrder::Release),
        Request::Maintenance(on) => Ok(OperatorOrder::Maintenance(on)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::desk::tests::{desk, options},
        config::EXAMPLE,
        types::GroupIndex,
    };

    #[test]
    fn an_order_names_a_group_of_the_file_or_is_answered_with_what_would_be_right() {
        let mut config = Config::parse(EXAMPLE, "example.toml").unwrap();
        let asked = |config: &Config, name: &str| read(config, false, Request::Takeover(name.to_owned()));
        assert_eq!(asked(&config, "storage-b"), Ok(OperatorOrder::Takeover(GroupIndex(1))));
        let unknown = "there is no group \"nas\"; right would be one of: storage-a, storage-b";
        assert_eq!(asked(&config, "nas"), Err(OrderReply::Unknown(unknown.to_owned())));
        // One that the file has no more is only there to be let go of.
        config.groups[1].departed = true;
        assert!(matches!(asked(&config, "storage-b"), Err(OrderReply::Unknown(_))));
    }

    #[test]
    fn an_agent_that_is_ending_takes_no_order() {
        let config = Config::parse(EXAMPLE, "example.toml").unwrap();
        let refused = Err(OrderReply::Refused("the agent is ending".to_owned()));
        assert_eq!(read(&config, true, Request::Maintenance(true)), refused);
        assert_eq!(read(&config, false, Request::Maintenance(true)), Ok(OperatorOrder::Maintenance(true)));
    }

    #[test]
    fn who_asked_and_waits_no_more_leaves_nothing_behind() {
        let options = options("auto");
        let (desk, given) = desk(&options);
        let mut orders = Orders::default();
        let ask = |orders: &mut Orders| {
            let (sender, answer) = oneshot::channel();
            orders.take(&desk, false, (Request::Maintenance(true), sender));
            answer
        };
        let _waits = ask(&mut orders);
        for _ in 0..3 {
            drop(ask(&mut orders));
        }
        let _waits_too = ask(&mut orders);
        let mut kept: Vec<_> = orders.asking.keys().copied().collect();
        kept.sort_unstable();
        assert_eq!(kept, [1, 5]);
        let numbers = given.try_iter().filter_map(|c| if let Command::Order { id, .. } = c { Some(id) } else { None });
        assert_eq!(numbers.collect::<Vec<_>>(), [1, 2, 3, 4, 5], "what was ordered is carried out all the same");
    }
}
