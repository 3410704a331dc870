
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
const filter = () => {
  const name = wanted.get("").toLowerCase();
  const axes = Array.from(wanted).filter(([axis, value]) => axis !== "" ? value !== "" : false);
  const fits = (element) => {
    const of = config(element);
    return axes.every(([axis, value]) => !of.has(axis) || of.get(axis) === value);
  };
  const isAsked = name !== "" || axes.length > 0;
  let of = 0, left = 0;
  for (const body of document.querySelectorAll("table.series:not(.folds) > tbody")) {
    body.hidden = !fits(body) || !body.dataset.name.toLowerCase().includes(name);
    of += 1;
    left += body.hidden ? 0 : 1;
  }
  for (const element of document.querySelectorAll(".folds > tbody[data-config], .cases > li")) {
    element.hidden = !fits(element);
  }
  // What a fold hides is not found: folds that hold something asked for open, the others go.
  for (const fold of document.querySelectorAll("details.more-rows")) {
    fold.hidden = !fold.querySelector(".series > tbody:not([hidden])");
    fold.open = isAsked ? !fold.hidden : false;
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
const number = (text) => {
  const plain = text.replace(/[,\s]/g, "").replace("\u2212", "-");
  const units = { ns: 1, "µs": 1e3, ms: 1e6, s: 1e9, B: 1, KiB: 1024, MiB: 1048576, GiB: 1073741824 };
  const parts = /^([+-]?[\d.]+)([A-Za-zµ]*)/.exec(plain.replace(/^\u003c/, ""));
  return parts ? Number(parts[1]) * (units[parts[2]] || 1) : NaN;
};
const compare = (a, b) => {
  const [x, y] = [number(a), number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
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
      const text = (body) => body.rows[0].cells[column].textContent.trim();
      const bodies = Array.from(table.tBodies).sort((a, b) => compare(text(a), text(b)));
      if (!up) bodies.reverse();
      table.append(...bodies);
    });
  });
}
