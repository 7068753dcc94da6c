// Orders to the agent of this controller: only with its token, which is forgotten with this tab.

const KEPT = "heartbeat-token";

const token = () => sessionStorage.getItem(KEPT) ?? "";
const mayOrder = () => token() !== "" && !ordering;

let ordering = false;
let inMaintenance = false;

function showOrders() {
  const may = mayOrder();
  say($("orders-why"), token()
    ? "Orders go to the agent of this controller, with the token that this tab keeps until it is closed."
    : "This page only looks. Orders need the token that the file named by api.token_file holds; it is kept in this tab alone.");
  say($("maintenance"), inMaintenance ? "End maintenance" : "Begin maintenance");
  $("maintenance").disabled = !may;
  $("reset").disabled = !may;
  $("forget").disabled = !token();
  for (const button of $("group-rows").querySelectorAll("button")) button.disabled = !may;
}

function answerOrder(text, refused) {
  set($("answer"), "data-refused", String(refused));
  say($("answer"), `${clock(Date.now(), false)}  ${text}`);
}

// What the agent says to an order, in its words.
async function order(path, what, focusAfter) {
  ordering = true;
  showOrders();
  answerOrder(`${what}: asked`, false);
  try {
    const answer = await fetch(path, { method: "POST", headers: { Authorization: `Bearer ${token()}` } });
    const said = await answer.json().catch(() => ({}));
    if (answer.ok) answerOrder(`${what}: accepted; the events say what becomes of it`, false);
    else answerOrder(`${what}: refused: ${said.error ?? `HTTP ${answer.status}`}`, true);
  } catch {
    answerOrder(`${what}: the agent does not answer; the events will say whether it was carried out`, true);
  }
  ordering = false;
  showOrders();
  focusAfter.focus();
}

function confirmed(title, text, yes) {
  const dialog = $("confirm");
  say($("confirm-title"), title);
  say($("confirm-text"), text);
  say($("confirm-yes"), yes);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

async function orderGroup(button) {
  const { group, what } = button.dataset;
  const [title, text, yes] = what === "takeover"
    ? [`Take over ${group}?`, "The other controller lets go of it first, then this one claims it. Its clients wait for that long.", "Take it over"]
    : [`Release ${group}?`, "This controller lets go of it, then the other one claims it. Its clients wait for that long.", "Release it"];
  if (await confirmed(title, text, yes)) await order(`/v1/groups/${encodeURIComponent(group)}/${what}`, `${what} of ${group}`, button);
}

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = $("token").value.trim();
  // What a header cannot carry is no token.
  if (!/^[\x21-\x7e]+$/.test(given)) {
    answerOrder("a token is one word of visible ASCII characters", true);
    return;
  }
  sessionStorage.setItem(KEPT, given);
  $("token").value = "";
  showOrders();
  answerOrder("the token is used from now on; the agent says with the first order whether it is right", false);
});

$("forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEPT);
  showOrders();
  $("token").focus();
});

$("maintenance").addEventListener("click", () => {
  const state = inMaintenance ? "off" : "on";
  order(`/v1/maintenance/${state}`, `maintenance ${state}`, $("maintenance"));
});

$("reset").addEventListener("click", async () => {
  await order("/v1/histograms/reset", "reset of the histograms", $("reset"));
  refreshLatencies();
});

showOrders();

