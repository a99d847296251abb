(() => {
"use strict";
const root = document.documentElement;
root.classList.add("js");
const PAGE = 100, INSIDE = [1.386, 4.605]; // rows at once; 50 % and 90 % of chi-squared with two degrees of freedom
const make = (tag, text, attributes = {}) => {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};
const charts = [];
let linked = null; // the table of samples

// --- tables: sort, search, filter

class Rows {
  constructor(table) {
    this.table = table;
    this.body = table.tBodies[0];
    this.all = [...this.body.rows];
    this.all.forEach((row, i) => { row.at = i; });
    this.heads = [...table.tHead.rows[0].cells];
    this.number = this.heads.map(head => head.classList.contains("n"));
    this.tips = this.heads.flatMap((head, i) => "tip" in head.dataset ? [[i, head.textContent]] : []);
    this.order = this.all;
    this.filters = [];
    this.limit = PAGE;
    this.chosen = null;
    this.heads.forEach((head, column) => {
      const button = make("button", head.textContent, { type: "button" });
      head.replaceChildren(button);
      button.addEventListener("click", () => this.sort(column));
    });
    if (this.all.length > 5) this.addControls();
    if (table.classList.contains("linked")) {
      linked = this;
      this.body.addEventListener("click", event => {
        const row = event.target.closest("tr");
        if (row && String(getSelection()) === "") this.choose(row.at, false);
      });
    }
    this.show();
  }

  addControls() {
    const controls = this.table.parentNode.previousElementSibling;
    const label = make("label", "Search ");
    this.search = make("input", "", { type: "search", autocomplete: "off", spellcheck: "false" });
    label.append(this.search);
    this.search.addEventListener("input", () => this.show(PAGE));
    controls.append(label);
    this.heads.forEach((head, column) => { if ("filtered" in head.dataset) this.addFilter(controls, head, column); });
    this.count = make("span", "", { class: "count", role: "status" });
    controls.append(this.count);
    controls.hidden = false;
    this.more = make("button", "", { type: "button", class: "more" });
    this.more.addEventListener("click", () => this.show(this.limit + 5 * PAGE));
    const below = make("p");
    below.append(this.more);
    this.table.parentNode.after(below);
  }

  addFilter(controls, head, column) {
    const values = new Map();
    for (const row of this.all) for (const value of this.parts(row, column)) values.set(value, (values.get(value) || 0) + 1);
    if (values.size < 2 || values.size > 60) return;
    const select = make("select");
    select.append(new Option("all", "*"));
    for (const value of [...values.keys()].sort()) select.append(new Option(`${value || "none"} (${values.get(value)})`, value));
    const label = make("label", `${head.textContent} `);
    label.append(select);
    controls.append(label);
    this.filters.push([select, column]);
    select.addEventListener("change", () => this.show(PAGE));
  }

  parts(row, column) { return row.cells[column].textContent.split(", "); }

  sort(column) {
    const head = this.heads[column];
    const down = head.getAttribute("aria-sort") === "ascending";
    this.heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    const keyed = this.all.map(row => {
      const text = row.cells[column].textContent;
      const value = parseFloat(text.replace(/[,%\s]/g, ""));
      return { row, text, value, missing: this.number[column] ? Number.isNaN(value) : text === "" };
    });
    const compare = this.number[column]
      ? (a, b) => a.value - b.value
      : (collator => (a, b) => collator.compare(a.text, b.text))(new Intl.Collator(undefined, { numeric: true }));
    keyed.sort((a, b) => a.missing - b.missing || (a.missing ? 0 : sign * compare(a, b)) || a.row.at - b.row.at);
    this.order = keyed.map(found => found.row);
    this.show();
  }

  show(limit = this.limit) {
    const wanted = this.search ? this.search.value.trim().toLowerCase() : "";
    const asked = this.filters.filter(([select]) => select.value !== "*").map(([select, column]) => [select.value, column]);
    this.shown = this.order.filter(row => {
      if (wanted) row.text ??= row.textContent.toLowerCase();
      return (!wanted || row.text.includes(wanted)) && asked.every(([value, column]) => this.parts(row, column).includes(value));
    });
    this.limit = limit;
    this.body.replaceChildren(...this.shown.slice(0, limit));
    this.table.classList.remove("long"); // rows are here now only if they are shown
    if (this.count) {
      const all = this.all.length.toLocaleString("en"), some = this.shown.length.toLocaleString("en");
      this.count.textContent = this.shown.length === this.all.length ? `${all} rows` : `${some} of ${all} rows`;
      const left = this.shown.length - limit;
      this.more.hidden = left <= 0;
      this.more.textContent = `Show ${Math.min(left, 5 * PAGE)} more of ${left.toLocaleString("en")}`;
    }
    if (linked === this) charts.forEach(chart => chart.draw());
  }

  choose(at, scroll) {
    if (this.chosen !== null) this.all[this.chosen].classList.remove("chosen");
    this.chosen = this.chosen === at ? null : at;
    if (this.chosen !== null) {
      const row = this.all[at], place = this.shown.indexOf(row);
      row.classList.add("chosen");
      if (scroll && place >= 0) {
        if (place >= this.limit) this.show(place + PAGE);
        row.scrollIntoView({ block: "center" });
      }
    }
    charts.forEach(chart => chart.draw());
  }

  lines(at) {
    const { cells } = this.all[at];
    return [cells[0].textContent, ...this.tips.flatMap(([i, name]) => cells[i].textContent ? [`${name}: ${cells[i].textContent}`] : [])];
  }
}

// --- charts

const tip = { show(event, lines) {
  const box = document.getElementById("tip");
  box.hidden = lines === null;
  if (!lines) return;
  box.replaceChildren(make("b", lines[0]), ...lines.slice(1).map(line => make("span", line)));
  const { width, height } = box.getBoundingClientRect();
  box.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
  box.style.top = `${Math.max(4, event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18)}px`;
} };

class Chart {
  constructor(section) {
    this.canvas = section.querySelector("canvas");
    this.controls = section.querySelector(".controls");
    this.data = JSON.parse(section.querySelector("script").textContent);
    this.pen = this.canvas.getContext("2d");
    this.hovered = null;
    this.canvas.addEventListener("mousemove", event => this.hover(event));
    this.canvas.addEventListener("mouseleave", () => { this.point(null); tip.show(null, null); });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    charts.push(this);
  }

  draw() { // with the next frame, however often it is asked for
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.paint(); });
  }

  button(text, told, act) {
    const made = make("button", text, { type: "button", "aria-label": told, title: told });
    made.addEventListener("click", act);
    this.controls.append(made);
    this.controls.hidden = false;
  }

  // The canvas cleared, with a pen that counts in CSS pixels.
  begin(height) {
    const ratio = devicePixelRatio || 1;
    if (height) this.canvas.style.height = `${height}px`;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    const [wide, high] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    if (this.canvas.width !== wide || this.canvas.height !== high) Object.assign(this.canvas, { width: wide, height: high });
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.pen.clearRect(0, 0, this.width, this.height);
    const style = getComputedStyle(root);
    [this.ink, this.quiet, this.line, this.paper] = ["--ink", "--quiet", "--line", "--paper"].map(name => style.getPropertyValue(name).trim());
    this.pen.font = "12px system-ui, sans-serif";
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  point(at) {
    if (this.hovered === at) return;
    this.hovered = at;
    this.draw();
  }
}

class SampleMap extends Chart {
  constructor(section) {
    super(section);
    this.paths = this.data.paths.map(path => new Path2D(path));
    this.shown = [0, Math.min(1, this.data.axes.length - 1)];
    ["x", "y"].forEach((name, which) => {
      const label = make("label", `${name} axis `), select = make("select");
      this.data.axes.forEach((axis, i) => select.append(new Option(axis, i, false, i === this.shown[which])));
      select.addEventListener("change", () => { this.shown[which] = Number(select.value); this.reset(); });
      label.append(select);
      this.controls.append(label);
    });
    this.button("+", "Zoom in", () => this.zoom(0.6));
    this.button("−", "Zoom out", () => this.zoom(1 / 0.6));
    this.button("Reset", "Show everything", () => this.reset());
    this.canvas.addEventListener("mousedown", event => this.drag(event));
    this.canvas.addEventListener("wheel", event => {
      if (!event.ctrlKey && !event.metaKey) return; // the wheel alone scrolls the page
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.place(event));
    }, { passive: false });
    this.canvas.addEventListener("dblclick", event => this.zoom(0.5, this.place(event)));
    this.canvas.addEventListener("keydown", event => this.key(event));
    this.reset();
  }

  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (step) step.forEach((way, i) => this.shift(i, way * 0.1 * (this.view[i][1] - this.view[i][0])));
    else if (event.key === "+") this.zoom(0.6);
    else if (event.key === "-") this.zoom(1 / 0.6);
    else if (event.key === "0") this.reset();
    else return;
    event.preventDefault();
    this.draw();
  }

  reset() {
    this.view = this.shown.map(axis => {
      const values = this.data.points[axis].filter(value => value !== null);
      for (const group of this.data.groups) {
        const reach = group.spread ? Math.sqrt(INSIDE[1] * group.spread[axis][axis]) : 0;
        values.push(group.centre[axis] - reach, group.centre[axis] + reach);
      }
      let low = Infinity, high = -Infinity;
      for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
      const room = 0.05 * (high - low) || 1;
      return values.length ? [low - room, high + room] : [-1, 1];
    });
    this.draw();
  }

  shift(i, by) { this.view[i] = this.view[i].map(end => end + by); }

  zoom(factor, at = [this.width / 2, this.height / 2]) {
    const fixed = [this.value(0, at[0]), this.value(1, at[1])];
    this.view = this.view.map((ends, i) => ends.map(end => fixed[i] + factor * (end - fixed[i])));
    this.draw();
  }

  drag(event) {
    const from = [event.clientX, event.clientY], view = this.view.map(ends => [...ends]);
    let moved = false;
    const move = now => {
      const by = [now.clientX - from[0], now.clientY - from[1]];
      moved ||= Math.hypot(...by) > 3;
      if (!moved) return;
      const share = [-by[0] / (this.width - this.margin), by[1] / (this.height - this.margin)];
      this.view = view.map((ends, i) => ends.map(end => end + share[i] * (ends[1] - ends[0])));
      this.draw();
    };
    const end = now => {
      removeEventListener("mousemove", move);
      removeEventListener("mouseup", end);
      const at = moved ? null : this.nearest(now);
      if (at !== null && linked) linked.choose(at, true);
    };
    addEventListener("mousemove", move);
    addEventListener("mouseup", end);
  }

  get margin() { return 34; }
  x(value) { return this.margin + (value - this.view[0][0]) / (this.view[0][1] - this.view[0][0]) * (this.width - this.margin); }
  y(value) { return (this.height - this.margin) * (1 - (value - this.view[1][0]) / (this.view[1][1] - this.view[1][0])); }
  value(i, at) {
    const [low, high] = this.view[i];
    return i === 0 ? low + (at - this.margin) / (this.width - this.margin) * (high - low)
      : low + (1 - at / (this.height - this.margin)) * (high - low);
  }

  visible() {
    const [i, j] = this.shown, { points } = this.data;
    const rows = linked ? linked.shown.map(row => row.at) : points[0].map((_, at) => at);
    return rows.filter(at => points[i][at] !== null && points[j][at] !== null);
  }

  paint() {
    this.begin();
    const { pen, data } = this, [i, j] = this.shown;
    this.frame();
    pen.save();
    pen.beginPath();
    pen.rect(this.margin, 0, this.width - this.margin, this.height - this.margin);
    pen.clip();
    for (const group of data.groups) if (group.spread) this.ellipses(group, i, j);
    const chosen = linked ? linked.chosen : null;
    const visible = this.visible();
    if (visible.length < 400) pen.lineWidth = 1.2;
    for (const at of visible) this.mark(at, i, j, visible.length < 400 ? 1 : 0.7, false);
    this.names(i, j);
    for (const at of [chosen, this.hovered]) if (at !== null && data.points[i][at] !== null) this.mark(at, i, j, 1.6, true);
    pen.restore();
  }

  frame() {
    const { pen, data } = this, [i, j] = this.shown;
    pen.strokeStyle = this.line;
    pen.fillStyle = this.quiet;
    pen.lineWidth = 1;
    pen.textAlign = "center";
    for (const which of [0, 1]) for (const tick of ticks(this.view[which], which ? 6 : 9)) {
      pen.beginPath();
      if (which) { pen.moveTo(this.margin, this.y(tick)); pen.lineTo(this.width, this.y(tick)); }
      else { pen.moveTo(this.x(tick), 0); pen.lineTo(this.x(tick), this.height - this.margin); }
      pen.globalAlpha = 0.6;
      pen.stroke();
      pen.globalAlpha = 1;
      const text = String(Number(tick.toPrecision(6)));
      if (!which) pen.fillText(text, Math.min(this.x(tick), this.width - 16), this.height - this.margin + 14);
      else { pen.save(); pen.translate(this.margin - 5, this.y(tick)); pen.rotate(-Math.PI / 2); pen.fillText(text, 0, 0); pen.restore(); }
    }
    pen.fillStyle = this.ink;
    pen.fillText(data.axes[i], (this.width + this.margin) / 2, this.height - 5);
    pen.save();
    pen.translate(12, (this.height - this.margin) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(data.axes[j], 0, 0);
    pen.restore();
  }

  ellipses(group, i, j) {
    const { pen } = this, { spread, centre } = group;
    const down = Math.sqrt(spread[i][i]), side = spread[i][j] / down;
    const rest = Math.sqrt(Math.max(0, spread[j][j] - side * side)); // Cholesky's factor of the two axes
    pen.strokeStyle = pen.fillStyle = this.data.colours[group.colour];
    for (const inside of INSIDE) {
      pen.beginPath();
      for (let step = 0; step <= 60; step++) {
        const turn = step / 30 * Math.PI, r = Math.sqrt(inside), u = r * Math.cos(turn), v = r * Math.sin(turn);
        pen.lineTo(this.x(centre[i] + down * u), this.y(centre[j] + side * u + rest * v));
      }
      pen.globalAlpha = 0.09;
      pen.fill();
      pen.globalAlpha = 0.55;
      pen.lineWidth = 1;
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  names(i, j) {
    const { pen } = this, taken = [];
    pen.textAlign = "center";
    pen.lineWidth = 3;
    pen.lineJoin = "round";
    for (const group of this.data.groups) {
      const x = this.x(group.centre[i]), y = this.y(group.centre[j]) + 4, half = pen.measureText(group.name).width / 2 + 2;
      if (taken.some(([a, b, c]) => Math.abs(a - x) < half + c && Math.abs(b - y) < 13)) continue;
      taken.push([x, y, half]);
      pen.strokeStyle = this.paper;
      pen.strokeText(group.name, x, y);
      pen.fillStyle = this.ink;
      pen.fillText(group.name, x, y);
    }
  }

  mark(at, i, j, size, ringed) {
    const { pen, data } = this, kind = data.kinds[at];
    pen.save();
    pen.translate(this.x(data.points[i][at]), this.y(data.points[j][at]));
    pen.scale(size, size);
    pen.fillStyle = kind < 0 ? this.quiet : data.colours[kind];
    pen.globalAlpha = ringed ? 1 : 0.85;
    const path = this.paths[kind < 0 ? this.paths.length - 1 : kind];
    pen.fill(path);
    if (ringed || data.flagged[at]) {
      pen.strokeStyle = this.ink;
      pen.lineWidth = ringed ? 1.6 : 1;
      pen.stroke(path);
    }
    pen.restore();
  }

  nearest(event) {
    const [x, y] = this.place(event), [i, j] = this.shown;
    let found = null, least = 144;
    for (const at of this.visible()) {
      const far = (this.x(this.data.points[i][at]) - x) ** 2 + (this.y(this.data.points[j][at]) - y) ** 2;
      if (far < least) [found, least] = [at, far];
    }
    return found;
  }

  hover(event) {
    const at = this.nearest(event);
    this.point(at);
    tip.show(event, at === null || !linked ? null : linked.lines(at));
  }
}

function ticks([low, high], count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(of => of * power).find(of => of >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) found.push(Math.abs(tick) < step / 1e6 ? 0 : tick);
  return found;
}

class Bars extends Chart {
  constructor(section) {
    super(section);
    const label = make("label", "order "), select = make("select");
    select.append(new Option("by label", "label"), new Option("as in the table", "table"));
    select.addEventListener("change", () => this.draw());
    label.append(select);
    this.controls.append(label);
    this.controls.hidden = false;
    this.by = select;
    this.canvas.addEventListener("click", event => {
      const at = this.under(event);
      if (at !== null && linked) linked.choose(at, true);
    });
    this.draw();
  }

  rows() {
    const { values } = this.data;
    const all = (linked ? linked.shown.map(row => row.at) : values[0].map((_, at) => at)).filter(at => values[0][at] !== null);
    if (this.by.value === "table") return all;
    const top = new Map(all.map(at => {
      let most = 0;
      values.forEach((of, k) => { if (of[at] > values[most][at]) most = k; });
      return [at, most];
    }));
    return all.sort((a, b) => top.get(a) - top.get(b) || values[top.get(b)][b] - values[top.get(a)][a] || a - b);
  }

  paint() {
    const order = this.order = this.rows();
    this.named = order.length <= 25;
    this.begin(this.named ? Math.max(40, 26 * order.length + 8) : 190);
    const { pen, data } = this;
    this.left = this.named ? Math.min(180, this.width * 0.35) : 0;
    this.step = this.named ? 26 : this.width / Math.max(1, order.length);
    order.forEach((at, place) => {
      let from = 0;
      data.values.forEach((of, k) => {
        pen.fillStyle = data.colours[k];
        if (this.named) {
          const wide = (this.width - this.left - 8) * of[at];
          pen.fillRect(this.left + from, place * 26 + 5, wide, 20);
          from += wide;
        } else {
          const gap = this.step > 5 ? 1 : 0, high = this.height * of[at];
          pen.fillRect(place * this.step, from, this.step - gap + (gap ? 0 : 0.4), high);
          from += high;
        }
      });
      if (this.named) this.name(at, place);
      if (at === this.hovered || (linked && at === linked.chosen)) this.box(place);
    });
  }

  name(at, place) {
    const { pen } = this;
    let text = linked ? linked.all[at].cells[0].textContent : String(at + 1);
    pen.fillStyle = this.ink;
    pen.textAlign = "right";
    while (text.length > 1 && pen.measureText(text).width > this.left - 12) text = `${text.slice(0, -2)}…`;
    pen.fillText(text, this.left - 8, place * 26 + 19);
  }

  box(place) {
    const { pen } = this;
    pen.strokeStyle = this.ink;
    pen.lineWidth = 2;
    if (this.named) pen.strokeRect(this.left - 1, place * 26 + 4, this.width - this.left - 6, 22);
    else pen.strokeRect(place * this.step - 1, 1, Math.max(3, this.step + 1), this.height - 2);
  }

  under(event) {
    const [x, y] = this.place(event);
    const place = Math.floor(this.named ? (y - 2) / 26 : x / this.step);
    return this.order && place in this.order ? this.order[place] : null;
  }

  hover(event) {
    const at = this.under(event);
    this.point(at);
    const shares = at === null ? [] : this.data.labels.map((label, k) => [label, this.data.values[k][at]]);
    const told = shares.filter(([, share]) => share >= 0.005).map(([label, share]) => `${label}: ${(100 * share).toFixed(1)} %`);
    tip.show(event, at === null ? null : [linked ? linked.all[at].cells[0].textContent : "", ...told]);
  }
}

// --- the page

function theme() {
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
  const redraw = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    charts.forEach(chart => chart.paint()); // at once: paper does not wait for a frame
  };
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; redraw(); });
  dark.addEventListener("change", redraw);
  let kept;
  addEventListener("beforeprint", () => { // on paper everything is light, and all rows are there
    kept = root.dataset.theme;
    root.dataset.theme = "light";
    tables.forEach(rows => { rows.kept = rows.limit; rows.show(Infinity); });
    redraw();
  });
  addEventListener("afterprint", () => {
    if (kept) root.dataset.theme = kept; else delete root.dataset.theme;
    tables.forEach(rows => rows.show(rows.kept));
    redraw();
  });
  button.hidden = false;
  redraw();
}

const tables = [];
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.rows")) tables.push(new Rows(table));
  for (const chart of document.querySelectorAll(".chart")) new (chart.classList.contains("map") ? SampleMap : Bars)(chart.parentNode);
  theme();
  requestAnimationFrame(() => { root.dataset.ready = Math.round(performance.now()); }); // milliseconds since it was opened
});
})();
