// The page of a gateway: it reads the state once, and then follows the events. All text is set as text.

import { draw, span, words } from "/page/grid.js";

const MOST = 200; // answers and verdicts that are shown
const AGAIN = 2000; // milliseconds before a lost connection is tried again

const get = (id) => document.getElementById(id);
const nodes = new Map();
const answers = new Map();
const history = new Map();
let chosen = null;
let key = sessionStorage.getItem("key");

function make(name, text, ...classes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  made.classList.add(...classes);
  return made;
}

const percent = (value) => `${(100 * value).toFixed(1)} %`;
const token = (level) => level.replaceAll(" ", "-");

async function ask(path, options = {}) {
  const headers = key === null ? {} : { Authorization: `Bearer ${key}` };
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.status === 401) {
    get("door").hidden = false;
    throw new Error("an API key is needed");
  }
  if (!response.ok) throw new Error(`status ${response.status}`);
  get("door").hidden = true;
  return response;
}

// -- nodes ------------------------------------------------------------------------------------------------
function takeNode(node) {
  nodes.set(node.name, node);
  const points = history.get(node.name) ?? node.history.slice();
  if (points.at(-1) !== node.trust) points.push(node.trust);
  history.set(node.name, points.slice(-60));
}

function line(points) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 100 24");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `trust from ${percent(points[0])} to ${percent(points.at(-1))}`);
  const path = document.createElementNS(space, "polyline");
  const wide = points.length > 1 ? points : [points[0], points[0]];
  path.setAttribute("points", wide.map((p, i) => `${(100 * i) / (wide.length - 1)},${22 - 20 * p}`).join(" "));
  svg.append(path);
  return svg;
}

function evidence(name) {
  if (name === null) return make("span", "none");
  if (!name.endsWith(".evidence")) return make("span", "kept by the operator");
  const link = make("a", "download");
  link.href = `/v1/evidence/${name}`;
  link.download = name;
  link.setAttribute("aria-label", `download evidence ${name.slice(0, 8)}`);
  if (key !== null) {
    link.addEventListener("click", async (event) => {
      event.preventDefault();
      const blob = await (await ask(link.pathname)).blob();
      const local = make("a");
      local.href = URL.createObjectURL(blob);
      local.download = name;
      local.click();
      URL.revokeObjectURL(local.href);
    });
  }
  return link;
}

function showNodes() {
  const rows = [...nodes.values()].sort((a, b) => a.name.localeCompare(b.name)).map((node) => {
    const row = make("tr");
    const name = make("th", node.name);
    name.scope = "row";
    name.title = node.key;
    const state = make("td");
    state.append(make("span", node.state, "state", node.state));
    if (node.why !== null) state.append(make("span", node.why.slice(0, 200), "why"));
    const trust = make("td", undefined, "n");
    const meter = make("meter");
    meter.value = node.trust;
    meter.setAttribute("aria-label", `trust in ${node.name}`);
    trust.append(meter, ` ${percent(node.trust)}`);
    if (node.low !== undefined) trust.append(make("span", `${percent(node.low)} to ${percent(node.high)}`, "interval"));
    const past = make("td");
    past.append(line(history.get(node.name)));
    const numbers = [node.answers, node.audits, node.contradictions, percent(node.detection)];
    numbers.push(node.seconds === null ? "not known" : `${node.seconds.toFixed(2)} s`, node.price);
    const kept = make("td");
    kept.append(evidence(node.evidence));
    row.append(name, state, trust, past, ...numbers.map((n) => make("td", String(n), "n")), kept);
    return row;
  });
  get("nodes").replaceChildren(...rows);
}

// -- clusters ---------------------------------------------------------------------------------------------
const BASES = { evidence: "", records: "the operator's word", both: "and the operator's word" };
let clusters = [];
let newerRefused = false;
let shownAs = "";

// the page may be open when a verdict ends
const standing = (cluster) => (Date.now() > Date.parse(cluster.until) ? "ended" : cluster.state);

function lines(found) {
  const list = make("ul", undefined, "lines");
  for (const each of found) {
    const item = make("li", `${each.line}: ${each.found} of ${each.required}, `);
    item.append(make("span", each.holds ? "holds" : "fails", "state", each.holds ? "verified" : "not-verified"));
    const bundles = each.basis === "records" ? "" : `${each.evidence.length} bundles `;
    item.append(` by ${bundles}${BASES[each.basis]}`);
    if (each.evidence.length > 0) {
      const named = make("details");
      named.append(make("summary", "SHA-256 of the bundles"), make("span", each.evidence.join(" "), "why"));
      item.append(named);
    }
    list.append(item);
  }
  return list;
}

function showClusters() {
  get("clusters").hidden = clusters.length === 0;
  get("clusters-refused").hidden = !newerRefused;
  shownAs = clusters.map(standing).join();
  const shown = clusters.map((cluster) => {
    const part = make("article");
    const state = standing(cluster);
    const title = make("h3", `${cluster.name}: `);
    title.append(make("span", state, "state", token(state)));
    const table = make("table");
    const body = make("tbody");
    for (const node of cluster.nodes) {
      const row = make("tr");
      const name = make("th", node.name ?? node.node.slice(0, 16));
      name.scope = "row";
      name.title = node.node;
      const said = node.verified ? "verified" : "not verified";
      const verdict = make("td");
      verdict.append(make("span", said, "state", token(said)));
      const held = make("td");
      held.append(lines(node.lines));
      row.append(name, verdict, make("td", node.hardware ?? "not known"), held);
      body.append(row);
    }
    const head = make("tr");
    for (const column of ["Node", "Verdict", "Hardware", "Lines of the policy"]) {
      const cell = make("th", column);
      cell.scope = "col";
      head.append(cell);
    }
    const top = make("thead");
    top.append(head);
    table.append(top, body);
    const wide = make("div", undefined, "wide");
    wide.tabIndex = 0;
    wide.setAttribute("role", "region");
    wide.setAttribute("aria-label", `nodes of ${cluster.name}`);
    wide.append(table);
    const when = `by the policy ${cluster.policy}, about ${cluster.from} to ${cluster.made}, until ${cluster.until}`;
    part.append(title, make("p", `${when}, signed by ${cluster.signer}`, "why"), lines(cluster.lines), wide);
    return part;
  });
  get("clusters-list").replaceChildren(...shown);
}

// -- answers ----------------------------------------------------------------------------------------------
function takeAnswer(answer) {
  answers.set(answer.answer, answer);
  if (answers.size > MOST) {
    const oldest = [...answers.values()].reduce((a, b) => (a.when <= b.when ? a : b));
    answers.delete(oldest.answer);
  }
}

function showAnswers() {
  const focused = document.activeElement?.dataset?.answer;
  const sorted = [...answers.values()].sort((a, b) => b.when - a.when);
  const rows = sorted.map((answer) => {
    const row = make("tr");
    if (answer.answer === chosen) row.setAttribute("aria-current", "true");
    const first = make("th");
    first.scope = "row";
    const button = make("button", answer.answer.slice(0, 8));
    button.type = "button";
    button.dataset.answer = answer.answer;
    button.setAttribute("aria-label", `show answer ${answer.answer.slice(0, 8)}`);
    first.append(button);
    const level = make("td");
    level.append(make("span", answer.level, "state", token(answer.level)));
    row.append(first, level, make("td", answer.node_name), make("td", answer.time.slice(11, 19)));
    return row;
  });
  get("answers").replaceChildren(...rows);
  if (focused) document.querySelector(`[data-answer="${CSS.escape(focused)}"]`)?.focus();
  showAnswer();
}

function showAnswer() {
  const answer = answers.get(chosen);
  if (answer === undefined) return;
  get("answer-title").textContent = `Answer ${answer.answer}`;
  const worst = answer.choices.find((c) => c.level === "contradicted") ?? answer.choices[0];
  const failed = worst?.audit?.failed ?? null;
  get("says").textContent =
    `${answer.level}, by ${answer.node_name}` + (answer.contradiction === null ? "" : `: ${answer.contradiction}`);
  const grid = get("grid");
  grid.hidden = get("legend").hidden = worst === undefined;
  const facts = {
    model: answer.model,
    "model id": answer.model_id,
    node: answer.node,
    nonce: `${answer.nonce} (by the ${answer.nonce_by})`,
    time: answer.time,
  };
  get("cells").textContent = "";
  if (worst !== undefined) {
    grid.setAttribute("aria-label", words(worst, failed));
    draw(grid, worst, failed);
    const cells = worst.audit?.cells ?? [];
    const listed = cells.slice(0, 40).map((c) => `layer ${c[0]}, ${span(c)}`).join("; ");
    get("cells").textContent = words(worst, failed) + (listed ? ` Audited: ${listed}` : "") + (cells.length > 40 ? "; …" : "");
    facts["request digest"] = worst.request_digest;
    facts["receipt digest"] = worst.receipt_digest;
    facts["output digest"] = worst.output_digest;
    facts.arithmetic = `version ${worst.numerics}`;
    facts.took = worst.seconds === null ? "not measured" : `${worst.seconds.toFixed(2)} s, measured by the gateway`;
    facts.parameters = JSON.stringify(worst.parameters);
  }
  for (const tried of answer.tried) facts[`asked ${tried.node} before`] = tried.why;
  const shown = Object.entries(facts).flatMap(([name, value]) => [make("dt", name), make("dd", value)]);
  if (answer.evidence !== null) {
    const kept = make("dd");
    kept.append(evidence(answer.evidence));
    shown.push(make("dt", "evidence"), kept);
  }
  get("facts").replaceChildren(...shown);
}

get("answers").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button === null) return;
  chosen = button.dataset.answer;
  showAnswers();
});

// -- verdicts ---------------------------------------------------------------------------------------------
function takeVerdict(verdict) {
  const item = make("li", `${verdict.time.slice(11, 19)} ${verdict.node}: `);
  item.append(make("span", verdict.level, "state", token(verdict.level)));
  item.append(` by ${verdict.by} in ${verdict.seconds.toFixed(2)} s, answer ${verdict.answer.slice(0, 8)}`);
  if (verdict.error) item.append(make("span", verdict.error, "why"));
  get("verdicts").prepend(item);
  get("quiet").hidden = true;
  while (get("verdicts").children.length > MOST) get("verdicts").lastChild.remove();
}

// -- following --------------------------------------------------------------------------------------------
let waiting = false;
function show() {
  if (waiting) return;
  waiting = true; // many events, one drawing
  requestAnimationFrame(() => {
    waiting = false;
    showNodes();
    showAnswers();
    const bad = [...nodes.values()].filter((n) => n.state === "quarantined").length;
    get("line").textContent = `Live. ${nodes.size} nodes, ${bad} quarantined.`;
  });
}

function takeClusters(said) {
  clusters = said.clusters;
  newerRefused = said.refused;
  showClusters();
}

const take = { node: takeNode, answer: takeAnswer, verdict: takeVerdict, clusters: takeClusters };

function event(text) {
  const fields = { event: "", data: "" };
  for (const row of text.split("\n")) {
    const at = row.indexOf(": ");
    if (at > 0) fields[row.slice(0, at)] = row.slice(at + 2);
  }
  if (fields.event in take) {
    take[fields.event](JSON.parse(fields.data));
    show();
  }
}

async function follow() {
  const response = await ask("/v1/fleet/events");
  // the state is read after the connection stands, so that nothing between the two is missed
  for (const node of (await (await ask("/v1/fleet")).json()).nodes) takeNode(node);
  takeClusters(await (await ask("/v1/fleet/clusters")).json());
  for (const answer of (await (await ask("/v1/fleet/answers")).json()).answers) takeAnswer(answer);
  if (get("verdicts").children.length === 0) {
    const audits = [...answers.values()].flatMap((answer) =>
      answer.choices.filter((c) => c.audit !== null).map((c) => ({ ...c.audit, answer: answer.answer, node: answer.node_name })),
    );
    audits.sort((a, b) => a.time.localeCompare(b.time)).forEach(takeVerdict);
  }
  show();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    parts.forEach(event);
  }
}

get("door").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  key = get("key").value;
  sessionStorage.setItem("key", key);
  get("door").hidden = true;
});

addEventListener("resize", show);
setInterval(() => clusters.map(standing).join() === shownAs || showClusters(), 10_000);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);

for (;;) {
  try {
    await follow();
    get("line").textContent = "The gateway ended the connection; trying again.";
  } catch (error) {
    get("line").textContent = `Not connected (${error.message}); trying again.`;
  }
  await new Promise((done) => setTimeout(done, AGAIN));
}
