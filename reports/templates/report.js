
// Enhancements only: everything can be read without this.
"use strict";
const tables = Array.from(document.querySelectorAll("table.series"));
if (tables.length) {
  const label = document.createElement("label");
  label.className = "filter";
  label.textContent = "Filter by case, metric or host";
  const input = document.createElement("input");
  input.type = "search";
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const body of document.querySelectorAll("table.series tbody")) {
      body.hidden = !body.dataset.name.toLowerCase().includes(wanted);
    }
  });
  label.append(" ", input);
  document.querySelector(".tiles").after(label);
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
