// The verdict, the facts, the channels and the groups.

const LEVELS = {
  good: ["✓", "All is well"],
  degraded: ["!", "All groups are served; something is to be mended"],
  bad: ["✕", "A group is served by nobody"],
  quiet: ["‖", "In maintenance"],
  unknown: ["?", "Not known yet"],
};

// The agent's answer; that somebody wants it so is no fault.
function level({ answer, maintenance, peer }) {
  return answer === "degraded" && (maintenance || peer.maintenance) ? "quiet" : answer;
}

const ICON = { good: "%23178a5b", degraded: "%23b7791f", bad: "%23c6303e", quiet: "%233b6fb6", unknown: "%23808994", stale: "%23808994" };

function showLevel(name, node) {
  set($("icon"), "href", `data:image/svg+xml,<svg xmlns='${SVG}' viewBox='0 0 16 16'><rect width='16' height='16' rx='4' fill='${ICON[name]}'/></svg>`);
  const word = name === "stale" ? "no answer" : LEVELS[name][1];
  document.title = `${node ? `${node}: ` : ""}${word} – Heartbeat`;
}

function showVerdict(status) {
  const now = level(status);
  const [mark, word] = LEVELS[now];
  set($("verdict"), "data-level", now);
  say($("mark"), mark);
  // People ask first whether somebody serves.
  const alone = now === "bad" && status.groups.every((group) => group.owner !== null);
  say($("word"), alone ? "All groups are served, by one controller alone" : word);
  const [line, ...more] = status.verdict.split("; ");
  say($("line"), line);
  keep($("more"), more.map((text, i) => [i, text]), ([i]) => String(i), () => element("li"), (row, [, text]) => say(row, text));
  // Who listens to the page is told of what is new, and not every second for how long already.
  const news = `${$("word").textContent}. ${status.verdict}`.replace(/[\d.]+ (ns|us|ms|s)\b/g, "a while");
  say($("announce"), news);
  showLevel(now, status.node);
  const name = status.hostnames[status.node === "a" ? 0 : 1];
  say($("who"), `controller ${status.node}${name ? ` · ${name}` : ""} · pair ${status.pair_id}`);
  say($("foot"), `Heartbeat ${status.version}, process ${status.pid}. The same facts for programs: /v1/openapi.json`);
}

const us = (value, n) => (n ? duration(value * 1e3) : "–");

function peerSays(status) {
  const { state, says } = controllerState(status, other(status.node));
  return `${MARK[state]} ${says}`;
}

// What makes a takeover safe, each where it is configured.
function guards(status) {
  const ago = (ms) => (ms === null ? "" : `, ${span(ms)} ago`);
  const fence = status.fence.filter(({ answers }) => answers !== null)
    .map(({ level, by, answers, why, asked_ms }) => `${answers ? "✓" : "✕"} ${level}: ${by}${ago(asked_ms)}${why ? `: ${why}` : ""}`);
  const { arbiter, watchdog } = status;
  const within = (ms) => (ms === null ? "not promised" : `within ${span(ms)}`);
  return [
    fence.length && ["Fence", fence.join("; ")],
    arbiter && ["Arbiter", arbiter.well === null ? `${arbiter.by}: not looked at yet` : `${arbiter.well ? "✓" : "✕"} ${arbiter.by}, for ${span(arbiter.since_ms)}: ${arbiter.how}`],
    watchdog && ["Watchdog", watchdog.fed ? `✓ ${watchdog.device}, fed${ago(watchdog.fed_ms)}` : `✕ ${watchdog.device}: ${watchdog.why ?? "not fed"}`],
    status.groups.some(({ exclusive }) => exclusive) && ["Lets go where cut off", `here ${within(status.release_within_ms)}, there ${within(status.peer.release_within_ms)}`],
  ].filter(Boolean);
}

function failover({ readiness }) {
  if (readiness.ready) return "✓ would work now";
  return `✕ would not work now: ${readiness.reasons.map(({ text }) => text).join("; ")}`;
}

function showFacts(status) {
  const { lateness, peer } = status;
  const late = lateness.n ? `${us(lateness.median_us, 1)} median, ${us(lateness.p99_us, 1)} p99, ${us(lateness.max_us, 1)} max of ${count(lateness.n)}` : "–";
  const facts = [
    ["Failover", failover(status)],
    ["Peer", peerSays(status)],
    ...guards(status),
    ["Maintenance", [status.maintenance ? "here" : "", peer.maintenance ? "there" : ""].filter(Boolean).join(" and ") || "off"],
    ["Timing", `${status.profile}: every ${duration(status.interval_ms * 1e6)}, dead after ${duration(status.detection_ms * 1e6)}`],
    ["Pulse lateness", late],
    ["Verdict that stands", typeof status.judged === "string" ? status.judged.replaceAll("_", " ") : status.judged === null ? "none" : Object.entries(status.judged).flat().join(": ").replaceAll("_", " ")],
    ["Configurations", peer.differs.length ? `differ in ${peer.differs.join(", ")}` : "agree"],
    ["Term", count(status.term)],
    ["Events lost", count(status.events_lost)],
    ["Incarnation", `${status.incarnation} here, ${peer.incarnation} there`],
  ];
  keep($("facts"), facts, ([name]) => name,
    ([name]) => element("div", {}, element("dt", {}, name), element("dd")),
    (row, [, value]) => say(row.lastChild, value));
}

const numbers = (of) => [us(of.median_us, of.n), us(of.p99_us, of.n), us(of.max_us, of.n), count(of.n)];

function rejected(channel) {
  const reasons = Object.entries(channel.rejected).filter(([, n]) => n > 0);
  const sum = reasons.reduce((sum, [, n]) => sum + n, 0);
  return { sum, reasons: reasons.map(([reason, n]) => `${count(n)} ${reason.replaceAll("_", " ")}`).join(", ") };
}

function showChannels(status) {
  const bad = status.channels.filter((channel) => channel.state === "bad").length;
  say($("channels-note"), `${status.channels.length}${bad ? `, of which ${bad} BAD` : ""}`);
  keep($("channel-rows"), status.channels, (channel) => channel.name,
    (channel) => element("tr", {},
      element("th", { scope: "row" }, channel.name, element("small", {}, channel.kind)),
      element("td"), element("td", {}, element("span"), element("small")),
      ...Array.from({ length: 13 }, () => element("td", { class: "n" }))),
    (row, channel) => {
      const cells = [...row.cells];
      set(row, "class", channel.state);
      set(cells[1], "class", `state ${channel.state}`);
      const { sum, reasons } = rejected(channel);
      const state = `${MARK[channel.state]} ${WORD[channel.state]}`;
      if (cells[1].dataset.as !== state + channel.fault) {
        cells[1].dataset.as = state + channel.fault;
        cells[1].replaceChildren(state, ...(channel.fault ? [element("small", {}, channel.fault)] : []));
      }
      say(cells[2].firstChild, channel.xdp_mode);
      say(cells[2].lastChild, channel.ends.every((end) => !end.address) ? "" : channel.carrier ? "carrier" : "no carrier");
      const heard = channel.last_heard_ms;
      const values = [
        heard === null ? "never" : heard < 1e3 ? duration(heard * 1e6) : span(heard),
        count(channel.sent), count(channel.received), count(channel.missing), null,
        ...numbers(channel.rtt), ...numbers(channel.inter_arrival),
      ];
      values.forEach((value, i) => value === null || say(cells[3 + i], value));
      if (cells[7].dataset.as !== reasons) {
        cells[7].dataset.as = reasons;
        cells[7].replaceChildren(count(sum), ...(reasons ? [element("small", {}, reasons)] : []));
      }
    });
}

function showGroups(status) {
  const here = status.groups.filter((group) => group.owner === status.node).length;
  say($("groups-note"), `${status.groups.length}, of which ${here} held here`);
  keep($("group-rows"), status.groups, (group) => group.name,
    (group) => element("tr", {},
      element("th", { scope: "row" }, group.name), element("td"), element("td", {}, group.home), element("td", { class: "addresses" }),
      element("td", {}, element("button", { type: "button", "aria-describedby": "orders-why", onclick: (event) => orderGroup(event.currentTarget) }))),
    (row, group) => {
      const [, owner, home, addresses, order] = row.cells;
      const held = group.owner === status.node;
      set(row, "class", group.owner === null ? "bad" : "good");
      const remarks = [
        group.silent && "this host's kernel keeps silent for it",
        group.held_twice && "held by both",
        group.kept && "could not be let go of here",
        group.claim?.safe && `taken: ${group.claim.text}`,
      ].filter(Boolean).join("; ");
      const who = group.owner === null ? "✕ nobody" : held ? `${group.owner}, here${group.held ? "" : ": not in place yet"}` : group.owner;
      if (owner.dataset.as !== who + remarks) {
        owner.dataset.as = who + remarks;
        owner.replaceChildren(who, ...(remarks ? [element("small", {}, remarks)] : []));
      }
      set(owner, "class", group.owner === null ? "state bad" : group.owner === group.home ? "" : "away");
      say(home, group.home);
      const text = group.addresses.join("\n");
      if (addresses.dataset.as !== text) {
        addresses.dataset.as = text;
        const all = group.addresses.map((address) => element("span", {}, address));
        const many = all.length > 4;
        addresses.replaceChildren(...(many ? [...all.slice(0, 3), element("details", {}, element("summary", {}, `and ${all.length - 3} more`), ...all.slice(3))] : all));
      }
      const button = order.firstChild;
      set(button, "data-group", group.name);
      set(button, "data-what", held ? "release" : "takeover");
      say(button, held ? `Release to ${other(status.node)}` : `Take over to ${status.node}`);
      set(button, "aria-label", held ? `Release ${group.name} to ${other(status.node)}` : `Take over ${group.name} to ${status.node}`);
      button.disabled = !mayOrder();
    });
}

