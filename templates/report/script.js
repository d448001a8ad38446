// Sorting, filtering and folding. The page is complete without it.
(() => {
  "use strict";
  const make = (tag, props, ...children) => {
    const e = Object.assign(document.createElement(tag), props);
    e.append(...children);
    return e;
  };
  const table = document.querySelector("#gradients table");
  const body = table && table.tBodies[0];
  if (body) {
    const rows = [...body.rows];
    // The first figure of a cell sorts as a number, "unbounded" above all numbers, and what isn't there last.
    const key = (row, i) => {
      const text = row.cells[i].firstChild?.textContent ?? "";
      const number = parseFloat(text.replace(/^≥ |\u202f/g, ""));
      return Number.isNaN(number) ? (text.startsWith("unbounded") ? Infinity : null) : number;
    };
    const words = new Set([1, 2, table.tHead.rows[0].cells.length - 1]);
    const compare = (i, sign) => (a, b) => {
      if (words.has(i)) {
        return sign * a.cells[i].textContent.localeCompare(b.cells[i].textContent, "en", { numeric: true });
      }
      const x = key(a, i), y = key(b, i);
      if (x === null || y === null) return (x === null) - (y === null);
      return x === y ? 0 : sign * (x < y ? -1 : 1);
    };
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((th, i) => {
      const button = make("button", { type: "button", title: "Sort by this column" }, ...th.firstChild ? [th.firstChild] : []);
      th.prepend(button);
      button.addEventListener("click", () => {
        const up = th.getAttribute("aria-sort") !== "ascending";
        heads.forEach((h) => h.removeAttribute("aria-sort"));
        th.setAttribute("aria-sort", up ? "ascending" : "descending");
        body.append(...rows.sort(compare(i, up ? 1 : -1)));
      });
    });
    const status = make("span", { role: "status" });
    const select = make("select", { id: "verdict-filter" });
    for (const [value, text] of [["", "all"], ["pass", "pass"], ["fail", "fail"], ["open", "undecided"]]) {
      select.append(make("option", { value }, text));
    }
    const text = make("input", { id: "name-filter", type: "search" });
    const show = () => {
      let shown = 0;
      for (const row of rows) {
        const verdict = row.cells[row.cells.length - 1].classList;
        const name = (row.cells[1].textContent + " " + row.cells[2].textContent).toLowerCase();
        row.hidden = (select.value !== "" && !verdict.contains(select.value)) || !name.includes(text.value.toLowerCase());
        shown += !row.hidden;
      }
      status.textContent = shown === rows.length ? "" : shown + " of " + rows.length + " shown";
    };
    select.addEventListener("change", show);
    text.addEventListener("input", show);
    const tools = make("div", { className: "tools" },
      make("label", {}, "Verdict ", select), make("label", {}, "Name contains ", text), status);
    table.closest(".scroll").before(tools);
  }
  const details = [...document.querySelectorAll("section:not(.unprinted) > details")];
  const layers = [...document.querySelectorAll("#layers > details")];
  if (layers.length) {
    const fold = (open, text) => {
      const b = make("button", { type: "button" }, text);
      b.addEventListener("click", () => layers.forEach((d) => { d.open = open; }));
      return b;
    };
    layers[0].before(make("div", { className: "tools" }, fold(true, "Unfold all"), fold(false, "Fold all")));
  }
  // A link to a folded layer unfolds it, and what is printed is unfolded.
  const reveal = () => {
    const d = document.getElementById(location.hash.slice(1) || "main");
    if (d instanceof HTMLDetailsElement) d.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = details.filter((d) => !d.open);
    folded.forEach((d) => { d.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((d) => { d.open = false; }));
})();
