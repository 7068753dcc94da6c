// The pair as it is wired: two controllers, each channel between its two ports, faults where they lie.

// Where a fault is drawn, by its place: on our half, on the peer's, in the middle; and in which direction nothing passes.
const PLACES = {
  local_port: { here: true },
  local_cable: { here: true },
  local_port_or_cable: { here: true },
  remote_port_or_cable: { there: true },
  network: { middle: true, here: true, there: true },
  one_way_to_us: { middle: true, arrow: "out" },
  one_way_to_peer: { middle: true, arrow: "in" },
  path_between: { middle: true },
  network_or_path: { middle: true },
};

// More channels than this are drawn closer together.
const ROOMY = 10;
const GROUP_LINES = 12;

const other = (node) => (node === "a" ? "b" : "a");

function controllerState(status, node) {
  if (node === status.node) return { state: "good", says: status.maintenance ? "in maintenance" : "this controller" };
  const { peer } = status;
  if (peer.state === "good") return { state: "good", says: peer.maintenance ? "in maintenance" : "alive" };
  if (peer.left) return { state: "bad", says: "has left" };
  if (peer.died_ms !== null) return { state: "bad", says: "agent died" };
  if (peer.stalled_ms !== null) return { state: "bad", says: "agent stands still" };
  return peer.state === "bad" ? { state: "bad", says: "dead" } : { state: "unknown", says: "not heard yet" };
}

const held = (status, node) => status.groups.filter((group) => group.owner === node);

// As much of `text` as fits into `width` px at about `each` px a letter.
function fit(text, width, each) {
  const most = Math.max(3, Math.floor(width / each));
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

function controller(status, node, at, tight) {
  const { x, width, height, head, groupsAt } = at;
  const { state, says } = controllerState(status, node);
  const name = status.hostnames[node === "a" ? 0 : 1];
  const left = x + (tight ? 8 : 14);
  const room = width - (tight ? 16 : 28);
  const parts = [
    shape("rect", { x, y: 0.5, width, height: height - 1, rx: 6, class: `controller ${state}` }),
    shape("text", { x: left, y: 23, class: "title" }, fit(name ? `${node} · ${name}` : tight ? node : `controller ${node}`, room, 8.2)),
    shape("text", { x: left, y: 40, class: `says ${state}` }, fit(`${MARK[state]} ${tight && says === "this controller" ? "here" : says}`, room, 6.6)),
    shape("line", { x1: x + 1, x2: x + width - 1, y1: head - 6, y2: head - 6, class: "rule" }),
  ];
  const groups = held(status, node);
  parts.push(shape("line", { x1: x + 1, x2: x + width - 1, y1: groupsAt, y2: groupsAt, class: "rule" }));
  const shown = groups.slice(0, GROUP_LINES);
  let y = groupsAt + 19;
  parts.push(shape("text", { x: left, y, class: "small" }, groups.length ? (tight ? "holds" : "holds and serves") : "holds nothing"));
  for (const group of shown) {
    y += 18;
    parts.push(shape("text", { x: left, y, class: "group" }, fit(group.name, room, 7)));
    for (const address of group.addresses.slice(0, 2)) {
      y += 14;
      const text = tight ? address.split("/")[0] : address;
      parts.push(shape("text", { x: left, y, class: "small mono" }, fit(text, room, 6.1)));
    }
    if (group.addresses.length > 2) {
      y += 14;
      parts.push(shape("text", { x: left, y, class: "small" }, `and ${group.addresses.length - 2} more`));
    }
  }
  if (groups.length > shown.length) {
    parts.push(shape("text", { x: left, y: y + 18, class: "small" }, `and ${groups.length - shown.length} more groups`));
  }
  return shape("g", {}, parts);
}

function groupsHeight(status, node) {
  const groups = held(status, node);
  const lines = groups.slice(0, GROUP_LINES);
  const of = (group) => 18 + 14 * (Math.min(group.addresses.length, 2) + (group.addresses.length > 2 ? 1 : 0));
  return 30 + lines.reduce((sum, group) => sum + of(group), 0) + (groups.length > lines.length ? 18 : 0);
}

function cross(x, y) {
  return shape("path", { d: `M${x - 6} ${y - 6}l12 12m0 -12l-12 12`, class: "cross" });
}

function arrow(x, y, right) {
  const d = right ? `M${x - 7} ${y - 8}l14 8l-14 8z` : `M${x + 7} ${y - 8}l-14 8l14 8z`;
  return shape("path", { d, class: "arrow" });
}

function channelRow(status, channel, y, at) {
  const { x1, x2, tight, dense } = at;
  const fault = channel.fault_place ? (PLACES[channel.fault_place] ?? { middle: true }) : {};
  const hereLeft = status.node === "a";
  const cutHere = fault.here || (channel.state !== "good" && !channel.carrier && channel.ends.some((end) => end.address));
  const [cutLeft, cutRight] = hereLeft ? [cutHere, fault.there] : [fault.there, cutHere];
  const middle = (x1 + x2) / 2;
  const network = channel.kind === "network";
  const label = fit(channel.name, tight ? x2 - x1 - 40 : 150, 7.6);
  const half = network ? Math.max(34, label.length * 3.9 + 24) : 11;
  // Where the place is known, the sound half stays sound.
  const side = (cut) => (channel.state === "good" ? "good" : cut || !(cutLeft || cutRight) ? channel.state : "unknown");
  const line = (from, to, cut) => shape("line", { x1: from, x2: to, y1: y, y2: y, class: `wire ${channel.kind} ${side(cut)}` });
  const parts = [line(x1, middle - half, cutLeft), line(middle + half, x2, cutRight)];
  if (network) {
    parts.push(shape("rect", { x: middle - half, y: y - 12, width: 2 * half, height: 24, rx: 4, class: `switch ${channel.state}` }));
    parts.push(shape("text", { x: middle - half + 16, y: y + 4.5, class: `mark ${channel.state}` }, MARK[channel.state]));
    parts.push(shape("text", { x: middle + 7, y: y + 4.5, class: "channel" }, label));
  } else {
    parts.push(shape("circle", { cx: middle, cy: y, r: 11, class: `switch ${channel.state}` }));
    parts.push(shape("text", { x: middle, y: y + 4.5, class: `mark ${channel.state}` }, MARK[channel.state]));
    if (!dense || !tight) parts.push(shape("text", { x: middle + 18, y: y - 6, class: "channel beside" }, fit(label, x2 - middle - 20, 7.6)));
  }
  const quarter = (from, to) => (from + to) / 2;
  if (cutLeft) parts.push(cross(quarter(x1, middle - half), y));
  if (cutRight) parts.push(cross(quarter(middle + half, x2), y));
  if (fault.arrow) {
    const right = (fault.arrow === "out") === hereLeft;
    const [dead, alive] = right ? [quarter(x1, middle - half), quarter(middle + half, x2)] : [quarter(middle + half, x2), quarter(x1, middle - half)];
    parts.push(arrow(alive, y, right), cross(dead, y));
  } else if (fault.middle && !cutLeft) {
    parts.push(cross(quarter(x1, middle - half), y), cross(quarter(middle + half, x2), y));
  }
  const said = channel.fault
    ? (tight ? channel.fault.split(":")[0] : channel.fault)
    : channel.state === "good" ? `GOOD · ${duration(channel.rtt.n ? channel.rtt.median_us * 1e3 : null)}`
    : channel.state === "bad" && !channel.carrier && channel.ends.some((end) => end.address) ? "BAD · no carrier here" : WORD[channel.state];
  if (!dense || channel.fault || channel.state !== "good") {
    const below = dense ? 24 : network ? 26 : 25;
    parts.push(shape("text", { x: middle, y: y + below, class: `said ${channel.fault ? "bad" : channel.state}` }, fit(said, x2 - x1 - 8, 6.2)));
  }
  return shape("g", {}, shape("title", {}, `${channel.name}, ${channel.kind}: ${WORD[channel.state]}${channel.fault ? `; ${channel.fault}` : ""}`), parts);
}

function ports(channel, y, at) {
  const { x1, x2, room, dense, tight } = at;
  return channel.ends.map((end, i) => {
    const x = i ? x2 : x1;
    const text = { x: x + (i ? 12 : -12), class: i ? "port" : "port end" };
    const address = end.address ?? channel.kind;
    return shape("g", {},
      shape("rect", { x: x - 5, y: y - 7, width: 10, height: 14, rx: 2, class: "jack" }),
      shape("text", { ...text, y: dense ? y + 4 : y - 1 }, fit(end.port.replace(/^\/dev\//, ""), room, 7.2)),
      dense ? null : shape("text", { ...text, y: y + 13, class: `${text.class} small mono` }, fit(address, room, tight ? 6.4 : 6.1)));
  });
}

function draw(status, width) {
  const tight = width < 640;
  const dense = status.channels.length > ROOMY;
  const row = dense ? 44 : 60;
  const box = tight ? Math.floor(width * 0.29) : Math.min(270, Math.floor(width * 0.26));
  const head = 56;
  const groupsAt = head + row * status.channels.length + 4;
  const height = groupsAt + Math.max(groupsHeight(status, "a"), groupsHeight(status, "b"));
  const at = { x1: box, x2: width - box, room: box - (tight ? 18 : 28), tight, dense };
  const summary = status.channels.map((channel) => `${channel.name} ${WORD[channel.state]}`).join(", ");
  const place = { width: box, height, head, groupsAt };
  return shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Two controllers; ${summary}` },
    controller(status, "a", { ...place, x: 0.5, width: box - 0.5 }, tight),
    controller(status, "b", { ...place, x: width - box, width: box - 0.5 }, tight),
    status.channels.map((channel, i) => {
      const y = head + row * i + (dense ? 18 : 24);
      return [channelRow(status, channel, y, at), ...ports(channel, y, at)];
    }).flat());
}

// What the drawing depends on: where that is as it was, it is not drawn anew.
function outline(status, width) {
  const { node, hostnames, maintenance, peer, groups } = status;
  const channels = status.channels.map(({ name, kind, state, ends, carrier, fault, fault_place, rtt }) =>
    [name, kind, state, ends, carrier, fault, fault_place, duration(rtt.median_us * 1e3)]);
  const { state, left, stalled_ms, died_ms } = peer;
  const without = [left, died_ms !== null, stalled_ms !== null];
  return JSON.stringify([width, node, hostnames, maintenance, state, without, peer.maintenance, groups, channels]);
}

let drawn = "";

function showDrawing(status) {
  const place = $("drawing");
  const { paddingLeft, paddingRight } = getComputedStyle(place);
  const width = Math.floor(place.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight));
  if (width <= 0) return;
  const now = outline(status, width);
  if (now === drawn) return;
  drawn = now;
  place.replaceChildren(draw(status, width));
}

