// Zoom charts and read their values. The report says everything without this too.
"use strict";
const KEYS = "ArrowLeft ArrowRight + - 0";
const HINT = "Drag across a chart to zoom into a stretch of it, double click to see all of it " +
  "again; with two fingers on a touch screen. With the keyboard: arrows move the cursor, with " +
  "Shift the stretch, + and \u2212 zoom, 0 shows all. Charts with the same axis move together.";
const DRAG_PX = 6, PARTS = 400, TICKS = 8;

// the smallest of 1, 2, 5 times a power of ten that cuts span into count parts at most
function niceStep(span, count) {
  const power = 10 ** Math.floor(Math.log10(span / count));
  return [1, 2, 5, 10].map((step) => step * power)
    .find((step) => step >= span / count * (1 - 1e-9));
}

function nearest(points, x) {
  let low = 0, high = points.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle].x < x) low = middle; else high = middle;
  }
  return x - points[low].x < points[high].x - x ? points[low] : points[high];
}

class Chart {
  constructor(svg) {
    this.svg = svg;
    this.data = svg.dataset;
    this.full = [+this.data.x0, +this.data.x1];
    this.view = this.full;
    this.group = [this];
    this.plot = svg.querySelector("svg");
    this.width = this.plot.viewBox.baseVal.width;
    this.height = this.plot.viewBox.baseVal.height;
    this.top = +this.plot.getAttribute("y");
    this.lines = [...this.plot.querySelectorAll("polyline")];
    this.cursor = svg.querySelector(".cursor");
    this.at = null;
    this.fingers = new Map();
    const read = (node, name) => node.hasAttribute(name) ? parseFloat(node.getAttribute(name)) : 0;
    this.placed = [...svg.querySelectorAll(".mark, .band, .phase")].map((node) => {
      const names = node.hasAttribute("x1") ? ["x1", "x2"] : ["x"];
      return {node, names, left: read(node, names[0]), width: read(node, "width")};
    });
    this.select = this.make("rect", {class: "select", y: this.top, height: this.height});
    svg.append(this.select);
    this.addBar();
    this.listen();
  }

  make(tag, attributes, text) {
    const node = document.createElementNS(this.plot.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  addBar() {
    const bar = document.createElement("div"), button = (text, label, act) => {
      const made = document.createElement("button");
      Object.assign(made, {type: "button", textContent: text, ariaLabel: label});
      made.addEventListener("click", act);
      bar.append(made);
      return made;
    };
    bar.className = "bar";
    this.out = document.createElement("p");
    this.out.className = "readout";
    bar.append(this.out);
    const name = this.svg.querySelector("title").textContent;
    this.reset = button("Show all", `Show all of ${name}`, () => {
      this.all();
      this.svg.focus();
    });
    button("+", `Zoom into ${name}`, () => this.zoom(0.5));
    button("\u2212", `Zoom out of ${name}`, () => this.zoom(2));
    this.svg.after(bar);
    this.reset.hidden = true;
    this.svg.setAttribute("tabindex", "0");
    this.svg.setAttribute("aria-keyshortcuts", KEYS);
  }

  // the stretch [from, to] of the x axis, held within the chart and not too short to be read
  held([from, to]) {
    const [low, high] = this.full;
    const span = Math.min(high - low, Math.max(to - from, (high - low) / PARTS));
    if (span >= (high - low) * (1 - 1e-9)) return this.full;
    const middle = (from + to) / 2;
    const start = Math.min(high - span, Math.max(low, middle - span / 2));
    return [start, start + span];
  }

  // show the stretch here and in all charts of the same time; those outside of it show all
  set(view) {
    const [from, to] = this.held(view);
    for (const one of this.group) {
      const part = [Math.max(from, one.full[0]), Math.min(to, one.full[1])];
      one.draw(part[1] - part[0] > (one.full[1] - one.full[0]) / PARTS / 2 ? part : one.full);
    }
  }

  all() {
    for (const one of this.group) one.draw(one.full);
  }

  zoom(factor) {
    const [from, to] = this.view, inside = this.at !== null && this.at >= from && this.at <= to;
    const middle = inside ? this.at : (from + to) / 2;
    this.set([middle - (middle - from) * factor, middle + (to - middle) * factor]);
  }

  draw(view) {
    this.view = view;
    const [low, high] = this.full, [from, to] = view, scale = this.width / (high - low);
    this.plot.setAttribute(
      "viewBox", `${(from - low) * scale} 0 ${(to - from) * scale} ${this.height}`);
    const place = (percent) => 100 * (low + percent / 100 * (high - low) - from) / (to - from);
    for (const {node, names, left, width} of this.placed) {
      const start = Math.max(place(left), width ? 0 : -Infinity);
      const end = Math.min(place(left + width), width ? 100 : Infinity);
      const seen = start >= -0.001 && start <= 100.001 && end >= start;
      node.style.display = seen ? "" : "none";
      if (!seen) continue;
      for (const name of names) node.setAttribute(name, `${start}%`);
      if (width) node.setAttribute("width", `${end - start}%`);
    }
    this.drawTicks();
    this.reset.hidden = from === low && to === high;
    this.point(null);
  }

  drawTicks() {
    const [from, to] = this.view, bottom = this.top + this.height;
    for (const old of this.svg.querySelectorAll(".xgrid, .xtick")) old.remove();
    const step = Math.max(+this.data.step || 0, niceStep(to - from, TICKS));
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    for (let index = Math.ceil(from / step - 1e-9); index * step <= to + step * 1e-9; index++) {
      const x = `${100 * (index * step - from) / (to - from)}%`;
      this.plot.before(
        this.make("line", {class: "grid xgrid", x1: x, x2: x, y1: this.top, y2: bottom + 4}),
        this.make("text", {class: "xtick", x, y: bottom + 17}, (index * step).toFixed(decimals)));
    }
  }

  // read all charts of the same time at x; null for nowhere
  point(x) {
    for (const one of this.group) one.read(x);
  }

  read(x) {
    const [from, to] = this.view, [low, high] = this.full;
    this.at = x !== null && x >= from && x <= to ? x : null;
    this.cursor.style.visibility = this.at === null ? "hidden" : "visible";
    if (this.at === null) {
      this.out.textContent = "";
      return;
    }
    const d = this.data, percent = `${100 * (x - from) / (to - from)}%`;
    this.cursor.setAttribute("x1", percent);
    this.cursor.setAttribute("x2", percent);
    const texts = this.lines.map((line) => {
      const y = nearest(line.points, (x - low) / (high - low) * this.width).y;
      const value = +d.y1 - y / this.height * (+d.y1 - +d.y0);
      return `${line.dataset.name} ${value.toFixed(+d.decimals)} ${d.unit}`;
    });
    this.out.textContent = `${d.x}: ${x.toFixed(d.step ? 0 : 2)}; ${texts.join(", ")}`;
  }

  // where a pointer is, in the units of the x axis
  xOf(event) {
    const box = this.plot.getBoundingClientRect(), [from, to] = this.view;
    const at = (event.clientX - this.svg.getBoundingClientRect().left) /
      (this.svg.clientWidth || box.width);
    return from + Math.min(1, Math.max(0, at)) * (to - from);
  }

  listen() {
    const on = (name, act) => this.svg.addEventListener(name, act);
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", (event) => this.up(event));
    on("pointercancel", (event) => this.cancel(event));
    on("pointerleave", () => this.point(null));
    on("dblclick", () => this.all());
    on("keydown", (event) => this.key(event));
  }

  down(event) {
    if (event.pointerType === "touch") {
      this.fingers.set(event.pointerId, this.xOf(event));
    } else if (event.button === 0) {
      this.svg.setPointerCapture(event.pointerId);
      this.from = {x: this.xOf(event), px: event.clientX};
    }
  }

  move(event) {
    this.out.ariaLive = "off";
    if (this.fingers.size === 2 && this.fingers.has(event.pointerId)) {
      this.pinch(event);
      return;
    }
    const x = this.xOf(event);
    this.point(x);
    if (this.from && Math.abs(event.clientX - this.from.px) > DRAG_PX) {
      const [from, to] = this.view, [a, b] = [x, this.from.x].sort((p, q) => p - q);
      this.select.setAttribute("x", `${100 * (a - from) / (to - from)}%`);
      this.select.setAttribute("width", `${100 * (b - a) / (to - from)}%`);
    }
  }

  // keep what is under each of two fingers under it
  pinch(event) {
    const [other] = [...this.fingers].filter(([id]) => id !== event.pointerId);
    const [from, to] = this.view, part = (x) => (x - from) / (to - from);
    const held = this.fingers.get(event.pointerId), now = part(this.xOf(event));
    const still = part(other[1]);
    if (Math.abs(now - still) < 0.02) return;
    const span = (held - other[1]) / (now - still);
    if (span <= 0) return;
    const start = other[1] - still * span;
    this.set([start, start + span]);
  }

  up(event) {
    const begun = this.from, x = this.xOf(event);
    this.cancel(event);
    if (begun && Math.abs(event.clientX - begun.px) > DRAG_PX) {
      this.set([Math.min(x, begun.x), Math.max(x, begun.x)]);
    }
  }

  cancel(event) {
    this.fingers.delete(event.pointerId);
    this.from = null;
    this.select.setAttribute("width", "0");
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const [from, to] = this.view, way = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (way && event.shiftKey) this.set([from + way * (to - from) / 4, to + way * (to - from) / 4]);
    else if (way) {
      this.out.ariaLive = "polite";
      const at = this.at === null ? (from + to) / 2 : this.at + way * (to - from) / 50;
      this.point(Math.min(to, Math.max(from, at)));
    } else if (event.key === "+" || event.key === "=") this.zoom(0.5);
    else if (event.key === "-") this.zoom(2);
    else if (event.key === "0" || event.key === "Escape") this.all();
    else return;
    event.preventDefault();
  }
}

const charts = [...document.querySelectorAll("svg.chart")].map((svg) => new Chart(svg));
for (const one of charts) {
  if (one.data.link) one.group = charts.filter((other) => other.data.link === one.data.link);
}
if (charts.length) {
  const hint = document.createElement("p");
  hint.className = "note hint";
  hint.textContent = HINT;
  const figure = charts[0].svg.closest("figure");
  (figure.closest(".pair") || figure).before(hint);
}
