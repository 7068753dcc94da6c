//! For tests: events of every kind, and every code of a type.

use super::{ArbiterSaid, Code, ControlEvent, Kind, Obstacle, Tell, text};
use crate::{
    core::{
        BothFaulted, Difference, Event, Evidence, Hook, PathFacts, Place, Reason, Safe, Side, Verdict, Why, Withheld,
    },
    types::{ChannelIndex, GroupIndex, Nanos, Node, XdpMode},
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

const CHANNEL: ChannelIndex = ChannelIndex(0);
const GROUP: GroupIndex = GroupIndex(0);
const SPAN: Nanos = Nanos::from_millis(1_234);

/// Every value of a type of codes, as its schema has them.
pub(crate) fn every<T: JsonSchema + DeserializeOwned>() -> Vec<T> {
    fn codes(schema: &Value) -> Vec<Value> {
        let list = |key: &str| schema.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let within = list("oneOf").iter().flat_map(codes).collect::<Vec<_>>();
        schema.get("const").cloned().into_iter().chain(list("enum")).chain(within).collect()
    }
    let all = codes(schemars::schema_for!(T).as_value());
    all.into_iter().map(|code| serde_json::from_value(code).expect("its own code")).collect()
}

/// What JSON calls them.
pub(crate) fn names<T: Serialize>(all: &[T]) -> Vec<String> {
    let name = |one: &T| serde_json::to_value(one).expect("JSON").as_str().expect("a code").to_owned();
    all.iter().map(name).collect()
}

/// Events of the core of each kind, with what their severity and their sentence hang on.
fn of_core() -> Vec<Event> {
    plain().into_iter().chain(by_code()).collect()
}

/// Those that do not hang on a code.
fn plain() -> Vec<Event> {
    let (channel, group) = (CHANNEL, GROUP);
    vec![
        Event::Ready { node: Node::A, incarnation: 1, resumed: false },
        Event::Ready { node: Node::A, incarnation: 1, resumed: true },
        Event::ChannelGood { channel },
        Event::ChannelBad { channel, silent_ns: Some(SPAN) },
        Event::ChannelBad { channel, silent_ns: None },
        Event::ChannelFlapping { channel },
        Event::PeerPaired { incarnation: 2, before: 0 },
        Event::PeerPaired { incarnation: 2, before: 1 },
        Event::PeerGood,
        Event::PeerDead { silent_ns: Some(SPAN), overshoot_ns: None, stalled_ns: None },
        Event::PeerDead { silent_ns: Some(SPAN), overshoot_ns: None, stalled_ns: Some(SPAN) },
        Event::PeerDead { silent_ns: None, overshoot_ns: None, stalled_ns: None },
        Event::PeerDied { dead_ns: SPAN, left_ns: Nanos(0) },
        Event::PeerDied { dead_ns: SPAN, left_ns: SPAN },
        Event::PeerLeft,
        Event::PeerRestarting,
        Event::GroupAcquiring { group, reason: Reason::Home, term: 1, safe: None },
        Event::GroupAcquired { group },
        Event::GroupReleased { group },
        Event::GroupKept { group },
        Event::GroupStuck { group },
        Event::HandOverOrdered { group, here: true },
        Event::HandOverOrdered { group, here: false },
        Event::HandOverGivenUp { group },
        Event::Maintenance { on: true },
        Event::Maintenance { on: false },
        Event::PeerMaintenance { on: true },
        Event::PeerMaintenance { on: false },
        Event::Fencing,
        Event::FencingCalledOff,
        Event::DualOwnership { group, kept_by: Node::B, at_most_ns: SPAN },
        Event::ArbiterGranted { groups_here: 1, for_ns: SPAN },
        Event::ArbiterDenied { groups_there: 1 },
        Event::ArbiterUnreachable,
        Event::NetworksProbed { analysis: 1, quick: true, answered: 1, operational: 1, healthy: 1, qos: 100 },
        Event::NetworksProbed { analysis: 1, quick: false, answered: 1, operational: 1, healthy: 1, qos: 100 },
        Event::AnalysisGivenUp { analysis: 1, done_here: true, done_there: false },
        Event::AnalysisGivenUp { analysis: 1, done_here: false, done_there: true },
        Event::AnalysisGivenUp { analysis: 1, done_here: false, done_there: false },
        Event::FaultGone { channel },
        Event::CarrierLost { channel },
        Event::CarrierFound { channel },
        Event::OwnAddressGone { channel },
        Event::OwnAddressBack { channel },
        Event::InterfaceGone { channel },
        Event::InterfaceBack { channel },
        Event::SocketFailed { channel, errno: 98 },
        Event::SocketWorks { channel },
        Event::Stalled { late_ns: SPAN },
        Event::Stopping,
    ]
}

/// Those that hang on the codes that they have.
fn by_code() -> Vec<Event> {
    let side =
        Side { configured: 1, operational: 1, unsure: 0, qos: 100, qos_at_most: 100, duties: 0, recovering: false };
    let evidence =
        Evidence { networks: 1, full_qos: 100, both_faulted: BothFaulted::Groups, local: side, remote: side };
    let facts = PathFacts {
        port: true,
        carrier: true,
        heard: false,
        peer_hears: false,
        operational: false,
        peer_operational: true,
        proven: true,
    };
    let (channel, group) = (CHANNEL, GROUP);
    let mut all = Vec::new();
    let safe = every::<Safe>().into_iter().map(|safe| Event::GroupAcquiring {
        group,
        reason: Reason::PeerDead,
        term: 1,
        safe: Some(safe),
    });
    all.extend(safe);
    all.extend(every::<Reason>().into_iter().map(|reason| Event::GroupReleasing { group, reason }));
    let withheld = every::<Withheld>().into_iter().flat_map(|reason| [None, Some(SPAN)].map(|left| (reason, left)));
    all.extend(withheld.map(|(reason, left_ns)| Event::TakeoverWithheld { reason, left_ns }));
    let nothing = every::<Why>().into_iter().map(Verdict::Nothing);
    let by_group = Verdict::ByGroup { groups_here: 1, groups_there: 0 };
    let verdicts = [Verdict::ConfigurationError, Verdict::FailLocal, Verdict::FailRemote, by_group];
    all.extend(nothing.chain(verdicts).map(|verdict| Event::Judged { analysis: 1, verdict, evidence }));
    all.extend(every::<Place>().into_iter().map(|place| Event::FaultPlaced { channel, place, facts }));
    for what in every::<Difference>() {
        let (newer, only_there) = (Some(Node::A), 1);
        all.push(Event::ConfigurationDiffers { what, newer, channels_only_here: 1, groups_only_here: 0, only_there });
        all.push(Event::ConfigurationAgrees { what });
    }
    all
}

/// The same of the control side.
fn of_control() -> Vec<ControlEvent> {
    let group = GROUP;
    let text = || "somehow".to_owned();
    let address = || "192.0.2.10/24".to_owned();
    let mac = || "02:00:00:00:00:01".to_owned();
    let mut all = vec![
        ControlEvent::ChannelAttached { channel: CHANNEL, xdp_mode: XdpMode::Native, why: None },
        ControlEvent::ChannelAttached { channel: CHANNEL, xdp_mode: XdpMode::Socket, why: Some(text()) },
        ControlEvent::TakeoverMeasured {
            group,
            addresses: 2,
            first_address_ns: SPAN,
            addresses_in_place_ns: SPAN,
            announced_ns: SPAN,
        },
        ControlEvent::AddressFailed { group, address: address(), why: text() },
        ControlEvent::Rival { group, address: address(), mac: mac() },
        ControlEvent::RivalGone { group, address: address(), mac: mac(), lasted_ns: SPAN },
        ControlEvent::AddressRestored { group, address: address(), times: 2 },
        ControlEvent::AddressSwept { group, address: address(), times: 1 },
        ControlEvent::FenceUnfit { level: text(), by: text(), why: text() },
        ControlEvent::WatchdogRuns { device: text(), timeout_ns: SPAN, adopted: false },
        ControlEvent::WatchdogMissing { device: text(), why: text() },
        ControlEvent::WatchdogLeft { device: text(), timeout_ns: SPAN },
        ControlEvent::NotReady {
            reasons: vec![Obstacle { code: Code::Peer, controller: Some(Node::B), thing: text(), text: text() }],
        },
        ControlEvent::ReadyAgain,
        ControlEvent::HostProblem { what: text() },
        ControlEvent::AddressForgotten { address: address() },
        ControlEvent::AddressStays { address: address(), why: text() },
        ControlEvent::ReloadWaits { why: text() },
        ControlEvent::ReloadRefused { why: text() },
        ControlEvent::RuntimeDirRestored { path: text() },
        ControlEvent::KernelRestored { what: text() },
        ControlEvent::Stopped { kept: vec![text()] },
        ControlEvent::Restarting,
    ];
    all.extend(every::<ArbiterSaid>().into_iter().map(|said| ControlEvent::ArbiterAnswered { said, why: text() }));
    for well in [true, false] {
        let (how, output, took_ns) = (text(), String::new(), SPAN);
        all.extend([
            ControlEvent::StillAnswered { group, taken: well, by: vec![mac()] },
            ControlEvent::CommandRan {
                what: Hook::OnAcquire,
                group,
                succeeded: well,
                how: text(),
                took_ns,
                output: text(),
            },
            ControlEvent::FenceRan { level: text(), by: text(), succeeded: well, how: text(), took_ns, output: text() },
            ControlEvent::FenceDevice { level: text(), by: text(), answers: well, how: text(), output: text() },
            ControlEvent::CheckChanged { check: text(), healthy: well, how: text(), output },
            ControlEvent::ArbiterChecked { well, how },
        ]);
    }
    all
}

/// What is said of one of them.
pub(crate) struct Sample {
    pub kind: Kind,
    pub severity: crate::types::Severity,
    pub sentence: String,
    pub fields: Value,
}

/// All of them, about `subject`.
pub(crate) fn all(subject: &str) -> Vec<Sample> {
    fn sample(event: &impl Tell, subject: &str) -> Sample {
        let fields = serde_json::to_value(event).expect("JSON");
        Sample { kind: event.kind(), severity: event.severity(), sentence: event.sentence(subject), fields }
    }
    let control = of_control();
    of_core()
        .iter()
        .map(|event| sample(event, subject))
        .chain(control.iter().map(|event| sample(event, subject)))
        .collect()
}

/// Every sentence, and what sentences are made of, as far as it is long enough to be known again.
pub(crate) fn sentences() -> Vec<String> {
    let whole = all("").into_iter().map(|sample| sample.sentence.trim_start_matches([':', ' ']).to_owned());
    let places = every::<Place>().into_iter().map(text::fault);
    let reasons = every::<Reason>().into_iter().map(text::because);
    let safe = every::<Safe>().into_iter().map(text::made_safe);
    let withheld = every::<Withheld>().into_iter().map(text::withheld);
    let parts = places.chain(reasons).chain(safe).chain(withheld).map(str::to_owned);
    whole.chain(parts).filter(|sentence| sentence.len() > 12).collect()
}
