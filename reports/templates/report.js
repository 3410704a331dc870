
// Enhancements only: everything can be read without this. No less-than and no ampersand: the page is
// well-formed XML.
"use strict";
const tables = Array.from(document.querySelectorAll("table.series:not(.folds)"));
const config = (element) => new Map(
  (element.dataset.config || "").split(",").map((pair) => {
    const at = pair.indexOf("=");
    return at === -1 ? [pair, ""] : [pair.slice(0, at), pair.slice(at + 1)];
  }));
const filters = document.createElement("div");
const wanted = new Map();
const labelled = (text, control) => {
  const label = document.createElement("label");
  label.className = "filter";
  label.append(text + " ", control);
  filters.append(label);
};
const shown = document.createElement("span");
const visible = ":not([hidden])";
const filter = () => {
  const name = wanted.get("").toLowerCase();
  const axes = Array.from(wanted).filter(([axis, value]) => axis !== "" ? value !== "" : false);
  const fits = (element) => {
    const of = config(element);
    return axes.every(([axis, value]) => !of.has(axis) || of.get(axis) === value);
  };
  const isNamed = (element) => (element.dataset.name || "").toLowerCase().includes(name);
  const isAsked = name !== "" || axes.length > 0;
  let of = 0, left = 0;
  for (const body of document.querySelectorAll("table.series:not(.folds) > tbody")) {
    body.hidden = !fits(body) || !isNamed(body);
    if (body.closest(".grid")) continue;
    of += 1;
    left += body.hidden ? 0 : 1;
  }
  for (const item of document.querySelectorAll(".cases > li")) {
    item.hidden = !fits(item) || !isNamed(item);
  }
  // A fold of an axis goes where none of its cases is left.
  for (const body of document.querySelectorAll(".folds > tbody")) {
    const isEmpty = !body.querySelector(".cases > li" + visible);
    body.hidden = isEmpty || (body.dataset.config ? !fits(body) : false);
  }
  // What a fold hides is not found: folds that hold something asked for open, and close afterwards.
  for (const fold of document.querySelectorAll("details.rows, details.more-rows")) {
    const holds = Boolean(fold.querySelector(".series > tbody" + visible));
    if (fold.classList.contains("more-rows")) fold.hidden = !holds;
    if (isAsked) {
      if (fold.dataset.before === undefined) fold.dataset.before = fold.open ? "open" : "";
      fold.open = holds ? !fold.classList.contains("matrix") || fold.open : false;
    } else if (fold.dataset.before !== undefined) {
      fold.open = fold.dataset.before === "open";
      delete fold.dataset.before;
    }
  }
  shown.textContent = isAsked ? left + " of " + of + " rows" : "";
};
if (tables.length) {
  filters.className = "filters";
  const values = new Map();
  for (const element of document.querySelectorAll("[data-config]")) {
    for (const [axis, value] of config(element)) {
      if (axis === "" || value === "") continue;
      values.set(axis, (values.get(axis) || new Set()).add(value));
    }
  }
  for (const [axis, of] of Array.from(values).sort()) {
    if (of.size === 1) continue;
    const select = document.createElement("select");
    const sorted = Array.from(of).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    for (const value of ["", ...sorted]) select.append(new Option(value || "any", value));
    select.addEventListener("change", () => { wanted.set(axis, select.value); filter(); });
    labelled(axis, select);
  }
  const input = document.createElement("input");
  input.type = "search";
  wanted.set("", "");
  input.addEventListener("input", () => { wanted.set("", input.value); filter(); });
  labelled("Filter by case, metric or host", input);
  shown.setAttribute("role", "status");
  shown.className = "note";
  filters.append(shown);
  document.querySelector(".tiles").after(filters);
}
// Numbers are sorted by size, names as people sort them; what has no value comes last either way.
const number = (text) => {
  const plain = text.replace(/[,\s]/g, "").replace("\u2212", "-");
  const units = { ns: 1, "µs": 1e3, ms: 1e6, s: 1e9, B: 1, KiB: 1024, MiB: 1048576, GiB: 1073741824 };
  const parts = /^([+-]?[\d.]+)([A-Za-zµ]*)/.exec(plain.replace(/^\u003c/, ""));
  return parts ? Number(parts[1]) * (units[parts[2]] || 1) : NaN;
};
const key = (body, column) => {
  const cell = body.rows[0].cells[column];
  return cell.dataset.sort === undefined ? cell.textContent.trim() : cell.dataset.sort;
};
const sorted = (bodies, column, up) => {
  const keys = new Map(bodies.map((body) => [body, key(body, column)]));
  const isNumber = (body) => !Number.isNaN(number(keys.get(body)));
  const numbers = bodies.filter(isNumber);
  const isName = bodies[0].rows[0].cells[column].tagName === "TH";
  const byNumber = !isName ? numbers.length > 0 : false;
  const hasValue = byNumber ? isNumber : (body) => keys.get(body) !== "–";
  const order = byNumber
    ? (a, b) => number(keys.get(a)) - number(keys.get(b))
    : (a, b) => keys.get(a).localeCompare(keys.get(b), "en", { numeric: true });
  const ordered = bodies.filter(hasValue).sort(order);
  if (!up) ordered.reverse();
  return ordered.concat(bodies.filter((body) => !hasValue(body)));
};
for (const table of tables) {
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      table.append(...sorted(Array.from(table.tBodies), column, up));
    });
  });
}
// The metrics of the table of cases: the first three, and which others one likes.
for (const grid of document.querySelectorAll(".grid")) {
  const chooser = document.createElement("fieldset");
  chooser.className = "chooser";
  const legend = document.createElement("legend");
  legend.textContent = "Metrics";
  chooser.append(legend);
  for (const head of grid.querySelectorAll("thead th[data-metric]")) {
    const column = head.dataset.metric;
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = !(Number(column) > 3);
    const show = () => {
      for (const cell of grid.querySelectorAll("[data-metric='" + column + "']")) cell.hidden = !box.checked;
    };
    box.addEventListener("change", show);
    show();
    const label = document.createElement("label");
    label.append(box, " " + head.textContent);
    chooser.append(label);
  }
  grid.closest(".scroll").before(chooser);
}
// A link to a section opens what is folded there, and one to a row what hides it.
const reveal = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (!target) return;
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  if (target.tagName === "H2") {
    const fold = target.parentElement.querySelector(":scope > details");
    if (fold) fold.open = true;
  }
  target.scrollIntoView();
};
addEventListener("hashchange", reveal);
reveal();
