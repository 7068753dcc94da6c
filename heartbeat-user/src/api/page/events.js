// What happened: the newest 500, each once, newest first; and the last verdicts with what goes with them.

const MOST = 500;
const SIGNS = { info: "·", notice: "›", warning: "!", critical: "✕" };
const COMMON = ["event", "time_ns", "monotonic_ns", "id", "severity", "controller", "text"];

class List {
  constructor(place, most, filtered) {
    Object.assign(this, { place, most, filtered, rows: [] });
  }

  // Takes those that are not there yet, oldest first.
  add(records) {
    for (const record of records) {
      let at = this.rows.length;
      while (at > 0 && this.rows[at - 1].record.id > record.id) at -= 1;
      if (at > 0 && this.rows[at - 1].record.id === record.id) continue;
      const row = { record, node: eventRow(record) };
      this.rows.splice(at, 0, row);
      this.place.insertBefore(row.node, this.rows[at - 1]?.node ?? null);
      if (this.filtered) row.node.hidden = !fits(record);
    }
    for (const { node } of this.rows.splice(0, Math.max(0, this.rows.length - this.most))) node.remove();
  }
}

const list = new List($("event-list"), MOST, true);
const verdicts = new List($("verdict-list"), 64, false);

function fits(record) {
  if (SEVERITIES.indexOf(record.severity) < Number($("severity").value)) return false;
  const wanted = $("wanted").value.trim().toLowerCase();
  return !wanted || [record.event, record.channel, record.group, record.text].some((text) => text?.toLowerCase().includes(wanted));
}

function eventRow(record) {
  const at = record.time_ns / 1e6;
  const today = day(at) === day(Date.now());
  const details = element("details", {},
    element("summary", {},
      element("time", { datetime: new Date(at).toISOString(), title: `${day(at)} ${clock(at)}` }, today ? clock(at) : `${day(at)} ${clock(at, false)}`),
      element("span", { class: "severity" }, `${SIGNS[record.severity]} ${record.severity}`),
      element("span", { class: "text" }, record.text)));
  // The evidence is made when somebody looks.
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(evidence(record));
  });
  return element("li", { class: record.severity, "data-id": record.id }, details);
}

function written(name, value) {
  if (value === null) return "–";
  if (name.endsWith("_ns") && typeof value === "number") return `${duration(value)} (${count(value)} ns)`;
  if (Array.isArray(value) && value.every((part) => typeof part !== "object")) return value.join(", ") || "none";
  return typeof value === "object" ? JSON.stringify(value, null, 1) : String(value);
}

function evidence(record) {
  const rest = Object.entries(record).filter(([name]) => !COMMON.includes(name));
  const all = [["event", record.event], ["told by", `controller ${record.controller}`], ["id", String(record.id)], ...rest];
  return element("dl", {}, all.map(([name, value]) => [
    element("dt", {}, name.replace(/_ns$/, "").replaceAll("_", " ")),
    element("dd", {}, written(name, value)),
  ]));
}

function showEventCount() {
  const shown = list.rows.filter(({ node }) => !node.hidden).length;
  const all = list.rows.length;
  const most = all === MOST ? `the newest ${MOST}` : count(all);
  say($("events-note"), shown === all ? most : `${count(shown)} of ${most}`);
  $("event-none").hidden = shown > 0;
  $("verdict-none").hidden = verdicts.rows.length > 0;
}

function takeEvents(records) {
  list.add(records);
  verdicts.add(records.filter((record) => VERDICTS.includes(record.event)));
  showEventCount();
}

function filterEvents() {
  for (const { record, node } of list.rows) node.hidden = !fits(record);
  showEventCount();
}

$("severity").append(...SEVERITIES.map((name, value) => element("option", { value }, name)));
$("severity").addEventListener("change", filterEvents);
$("wanted").addEventListener("input", filterEvents);

