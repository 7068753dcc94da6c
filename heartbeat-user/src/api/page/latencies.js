// How long things take: the agent's own plots and a table of percentiles, fetched anew while somebody can see them.

const EVERY_MS = 5000;
// Lines that the agent puts into one plot.
const LINES = 8;
const COLUMNS = [50, 90, 99, 99.9];

let latenciesInView = false;
let latenciesAt = 0;
let known = [];

const kindOf = (name) => name.split("/")[0];

function options(select, names, as = (name) => name) {
  if ([...select.options].map((option) => option.value).join("\n") === names.join("\n")) return;
  const before = select.value;
  select.replaceChildren(...names.map((name) => element("option", { value: name }, as(name))));
  if (names.includes(before)) select.value = before;
}

function plotted() {
  const kind = $("plot-kind").value;
  const many = known.filter(({ name }) => kindOf(name) === kind);
  $("plot-of").hidden = many.length < 2;
  options($("plot-name"), many.length <= LINES ? ["", ...many.map(({ name }) => name)] : many.map(({ name }) => name),
    (name) => name === "" ? "all" : name.slice(kind.length + 1));
  return many.length < 2 ? many[0]?.name : $("plot-name").value || kind;
}

let plotOf = "";
let plotUrl = "";

async function showPlot() {
  const name = plotted();
  if (!name) return;
  const since = $("plot-since").value;
  const asked = (plotOf = `${name} ${since}`);
  const what = known.find((histogram) => histogram.name === name || kindOf(histogram.name) === name)?.what ?? "";
  const image = $("plot");
  const next = new Image();
  const before = plotUrl;
  try {
    const answer = await fetch(`/v1/histograms/${name.split("/").map(encodeURIComponent).join("/")}?format=svg&since=${since}`);
    if (!answer.ok) throw new Error((await answer.json()).error);
    const url = URL.createObjectURL(await answer.blob());
    next.src = url;
    // Shown once it can be: no flicker.
    await next.decode();
    if (asked !== plotOf) {
      URL.revokeObjectURL(url);
      return;
    }
    plotUrl = image.src = url;
    image.alt = `Percentiles of ${name}: ${what}`;
    image.hidden = false;
    say($("plot-caption"), `${name}: ${what}`);
  } catch (error) {
    if (asked !== plotOf) return;
    plotUrl = "";
    image.hidden = true;
    say($("plot-caption"), `No plot of ${name}: ${error.message}. The table has its percentiles.`);
  }
  if (before) URL.revokeObjectURL(before);
}

function showLatencies({ histograms }) {
  known = histograms.map(({ name, what }) => ({ name, what }));
  options($("plot-kind"), [...new Set(known.map(({ name }) => kindOf(name)))], (kind) => kind.replaceAll("_", " "));
  if (!$("plot-kind").dataset.chosen) {
    $("plot-kind").dataset.chosen = "yes";
    $("plot-kind").value = "rtt";
  }
  const since = histograms[0]?.since_ns;
  say($("latencies-note"), since ? `since ${day(since / 1e6)} ${clock(since / 1e6, false)}` : "");
  keep($("latency-rows"), histograms, ({ name }) => name,
    ({ name, what }) => element("tr", {}, element("th", { scope: "row", title: what }, name), ...Array.from({ length: 6 }, () => element("td", { class: "n" }))),
    (row, { n, percentiles, max_ns }) => {
      const at = (wanted) => percentiles.find(({ percentile }) => percentile === wanted)?.ns;
      const values = [count(n), ...COLUMNS.map((wanted) => duration(n ? at(wanted) : null)), duration(n ? max_ns : null)];
      values.forEach((value, i) => say(row.cells[i + 1], value));
      set(row, "class", n ? "" : "empty");
    });
}

async function refreshLatencies() {
  latenciesAt = Date.now();
  try {
    showLatencies(await (await ask(`/v1/histograms?since=${$("plot-since").value}`)).json());
    showPlot();
  } catch {
    // The bar above says that the agent does not answer.
  }
}

function tickLatencies() {
  if (latenciesInView && document.visibilityState === "visible" && Date.now() - latenciesAt >= EVERY_MS) refreshLatencies();
}

new IntersectionObserver((entries) => {
  latenciesInView = entries.at(-1).isIntersecting;
  tickLatencies();
}).observe($("latencies"));
for (const id of ["plot-kind", "plot-since"]) $(id).addEventListener("change", refreshLatencies);
$("plot-name").addEventListener("change", showPlot);

