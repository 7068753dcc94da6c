// Elements, and how numbers, times and durations are written. Text becomes text, never elements.

const $ = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

const element = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
const shape = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

// Changes nothing where nothing changed, so that selections, focus and announcements stay as they are.
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function set(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// The rows of `body`, one for each item, kept by key: each is made once and then only told what is new.
function keep(body, items, key, make, tell) {
  const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
  items.forEach((item, index) => {
    const name = key(item);
    let row = known.get(name);
    if (row) known.delete(name);
    else {
      row = make(item);
      row.dataset.key = name;
    }
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
    tell(row, item);
  });
  for (const gone of known.values()) gone.remove();
}

const whole = new Intl.NumberFormat("en", { useGrouping: true });
const count = (n) => whole.format(n).replaceAll(",", "\u202f");

// Three digits and a unit.
function duration(ns) {
  if (ns === null || ns === undefined) return "–";
  const units = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];
  const [unit, name] = units.find(([unit]) => Math.abs(ns) >= unit) ?? [1, "ns"];
  const value = ns / unit;
  return `${value.toFixed(unit === 1 || value >= 100 ? 0 : value >= 10 ? 1 : 2)} ${name}`;
}

// As people say it: how long ago something was.
function span(ms) {
  const s = ms / 1e3;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
}

const two = (n) => String(n).padStart(2, "0");

function clock(ms, fraction = true) {
  const at = new Date(ms);
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return fraction ? `${time}.${String(at.getMilliseconds()).padStart(3, "0")}` : time;
}

function day(ms) {
  const at = new Date(ms);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

const MARK = { good: "✓", bad: "✕", unknown: "?" };
const WORD = { good: "GOOD", bad: "BAD", unknown: "not known yet" };

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

