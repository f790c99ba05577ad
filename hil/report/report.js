// Read a chart's values under the pointer. The report says everything without this too.
"use strict";
for (const chart of document.querySelectorAll("svg.chart")) {
  const out = document.createElement("p");
  out.className = "readout";
  out.textContent = "\u00a0";
  chart.after(out);
  const d = chart.dataset, x0 = +d.x0, x1 = +d.x1, y0 = +d.y0, y1 = +d.y1;
  const plot = chart.querySelector("svg"), cursor = chart.querySelector(".cursor");
  const size = plot.viewBox.baseVal;
  const nearest = (points, x) => {
    let low = 0, high = points.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (points[middle].x < x) low = middle; else high = middle;
    }
    return x - points[low].x < points[high].x - x ? points[low] : points[high];
  };
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const at = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const texts = [...plot.querySelectorAll("polyline")].map((line) => {
      const y = nearest([...line.points], at * size.width).y;
      const value = y1 - y / size.height * (y1 - y0);
      return `${line.dataset.name} ${value.toFixed(+d.decimals)} ${d.unit}`;
    });
    const x = x0 + at * (x1 - x0);
    out.textContent = `${d.x}: ${x.toFixed(2)}; ${texts.join(", ")}`;
    cursor.setAttribute("x1", `${100 * at}%`);
    cursor.setAttribute("x2", `${100 * at}%`);
    cursor.style.visibility = "visible";
  });
  chart.addEventListener("pointerleave", () => {
    out.textContent = "\u00a0";
    cursor.style.visibility = "hidden";
  });
}
