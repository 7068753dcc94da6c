// The page lives: it follows the agent's stream, says how old its facts are, and comes back when the agent does.

const RETRY_MS = { first: 250, most: 5000 };
// The agent tells the status every second: after so long without a word the connection is none.
const SILENCE_MS = 5000;

let stream = null;
let trial = 0;
let retry = null;
let retryMs = RETRY_MS.first;
let heardAt = null;
let lostAt = null;
let shown = null;
let shownAt = 0;

function show(status) {
  shown = status;
  shownAt = Date.now();
  inMaintenance = status.maintenance;
  showVerdict(status);
  showDrawing(status);
  showFacts(status);
  showChannels(status);
  showGroups(status);
  showOrders();
  showAge();
}

// First what the agent still has, then everything after that: nothing twice, nothing left out.
async function follow() {
  const mine = (trial += 1);
  clearTimeout(retry);
  retry = null;
  try {
    const [events, judged] = await Promise.all([ask(`/v1/events?limit=${MOST}`), ask("/v1/verdicts")].map(async (answer) => (await answer).json()));
    if (mine !== trial) return;
    takeEvents(events.events);
    verdicts.add(judged.verdicts);
    showEventCount();
    const newest = events.events.at(-1)?.id ?? 0;
    stream = new EventSource(`/v1/stream?since=${newest}`);
    heardAt = Date.now();
  } catch {
    if (mine === trial) again();
    return;
  }
  const heard = (what) => (message) => {
    if (mine !== trial) return;
    heardAt = Date.now();
    what(message);
  };
  stream.addEventListener("status", heard(({ data }) => {
    lostAt = null;
    retryMs = RETRY_MS.first;
    show(JSON.parse(data));
  }));
  stream.addEventListener("event", heard(({ data }) => takeEvents([JSON.parse(data)])));
  // More happened than the agent keeps: begin anew, with what it has.
  stream.addEventListener("lost", heard(() => again()));
  // The connection's own errors, and what the agent says of its own.
  stream.addEventListener("error", () => mine === trial && again());
}

function again() {
  trial += 1;
  stream?.close();
  stream = null;
  lostAt ??= Date.now();
  clearTimeout(retry);
  retry = setTimeout(follow, retryMs);
  retryMs = Math.min(2 * retryMs, RETRY_MS.most);
  showAge();
}

function showAge() {
  const now = Date.now();
  const age = shown ? now - shownAt + shown.age_ms : null;
  const most = shown ? Math.max(3 * shown.interval_ms, 1000) : 0;
  const old = age !== null && age > most + 1500;
  // A reload of the agent takes less than a second: nobody need be told.
  const lost = lostAt !== null && (now - lostAt > 1000 || !shown);
  const stale = old || lost;
  set($("live"), "data-state", stale ? "stale" : shown ? "live" : "wait");
  say($("age"), age === null ? (lost ? "no answer" : "connecting") : stale ? `facts are ${span(age)} old` : `live, facts ${span(age)} old`);
  document.body.classList.toggle("old", stale && shown !== null);
  $("stale").hidden = !stale;
  if (stale) {
    const when = shown ? `What is shown was so at ${clock(shownAt, false)}.` : "";
    say($("stale"), lost ? `The agent does not answer; it is asked again and again. ${when}` : `The agent answers with old facts: its pulse thread stands still. ${when}`);
    showLevel("stale", shown?.node);
  }
}

setInterval(() => {
  if (stream && Date.now() - heardAt > SILENCE_MS) again();
  showAge();
  tickLatencies();
}, 500);

new ResizeObserver(() => shown && showDrawing(shown)).observe($("drawing"));
// A laptop that slept, a network that came back: no need to wait.
const hurry = () => retry !== null && document.visibilityState === "visible" && follow();
window.addEventListener("online", hurry);
document.addEventListener("visibilitychange", hurry);

follow();
