// The settings, from the commented configuration that the agent brings along: each key with what it is for.

const HEADER = /^(?:## )?\[{1,2}([a-z_.]+)\]{1,2}$/;
const KEY = /^(# |## |### )?([a-z_]+) = (.*)$/;

// Tables with their keys. A line `# key = value` is a default, `## key = value` an example of what is absent by default,
// `### key = value` what may stand instead.
function parseSettings(text) {
  const tables = new Map();
  let table = null;
  let words = [];
  let open = null;
  for (const line of text.split("\n")) {
    const header = line.match(HEADER);
    const key = line.match(KEY);
    if (open) {
      open.value += `\n${line}`;
      if (line.startsWith("]")) open = null;
    } else if (header) {
      const name = header[1].replace(/^controller\..*/, "controller.a, controller.b");
      if (!tables.has(name)) tables.set(name, { name, words: [], keys: [] });
      table = tables.get(name);
      table.words.push(...words);
      words = [];
    } else if (key && table) {
      const [, mark, name, value] = key;
      const last = table.keys.at(-1);
      const again = mark !== "### " && table.keys.find((known) => known.name === name);
      if (!again) {
        const about = words.length ? words.join(" ") : last?.about ?? "";
        const kind = { "# ": "default", "## ": "example", "### ": "instead" }[mark] ?? "in the file";
        const setting = { name, value, about, kind };
        table.keys.push(setting);
        if (value === "[") open = setting;
      } else if (value === "[") open = { value };
      words = [];
    } else if (line.startsWith("#")) words.push(line.replace(/^#+ ?/, ""));
    else words = [];
  }
  return [...tables.values()];
}

function settingRow({ name, value, about, kind }) {
  const [shown, profiles] = kind === "default" ? value.split(/\s+# (?=\S+ \/)/) : [value];
  return [
    element("dt", {}, element("code", {}, name), element("span", { class: "note" }, kind)),
    element("dd", {}, about, element("code", { class: "value" }, shown), profiles ? element("small", {}, `classic / lan / fast / ultra: ${profiles}`) : null),
  ];
}

function showSettings(tables) {
  $("settings-list").replaceChildren(...tables.map(({ name, words, keys }) => element("section", { class: "table" },
    element("h3", {}, `[${name}]`),
    words.length ? element("p", {}, words.join(" ")) : null,
    element("dl", {}, keys.map((setting) => element("div", { "data-text": `${name}.${setting.name} ${setting.about} ${setting.value}`.toLowerCase() }, settingRow(setting)))))));
  filterSettings();
}

function filterSettings() {
  const words = $("settings-wanted").value.toLowerCase().split(/\s+/).filter(Boolean);
  let [shown, all] = [0, 0];
  for (const table of $("settings-list").children) {
    let here = 0;
    for (const row of table.querySelectorAll("[data-text]")) {
      row.hidden = !words.every((word) => row.dataset.text.includes(word));
      all += 1;
      if (!row.hidden) here += 1;
    }
    table.hidden = here === 0 && words.length > 0;
    shown += here;
  }
  say($("settings-count"), words.length ? `${shown} of ${all} keys` : `${all} keys`);
}

$("settings-all").addEventListener("toggle", async () => {
  if (!$("settings-all").open || $("settings-list").children.length > 0) return;
  try {
    showSettings(parseSettings(await (await ask("/v1/settings")).text()));
  } catch {
    say($("settings-count"), "The agent does not answer; close this and open it again.");
  }
});
$("settings-wanted").addEventListener("input", filterSettings);

