// Read values off a chart: a line at the step nearest to the pointer. Without this script the page lacks only that.
"use strict";
for (const svg of document.querySelectorAll("svg[data-hover]")) {
  const plot = JSON.parse(svg.dataset.hover);
  const columns = new Map();
  for (const run of plot.runs) {
    run.steps.forEach((step, at) => columns.set(step, run.x[at]));
  }
  const steps = [...columns.keys()];
  const shape = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const marks = shape("g", {});
  svg.append(marks);
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  svg.parentElement.append(tip);

  const row = (text, colour) => {
    const line = document.createElement("div");
    if (colour) {
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = colour;
      line.append(swatch);
    }
    line.append(text);
    return line;
  };
  const leave = () => { tip.hidden = true; marks.replaceChildren(); };
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const scale = plot.width / box.width;
    const x = (event.clientX - box.left) * scale;
    const y = (event.clientY - box.top) * scale;
    if (x < plot.left - 8 || x > plot.right + 8 || y < plot.top || y > plot.bottom) return leave();
    const step = steps.reduce((best, one) =>
      Math.abs(columns.get(one) - x) < Math.abs(columns.get(best) - x) ? one : best);
    const at = columns.get(step);
    marks.replaceChildren(shape("line", { class: "cursor", x1: at, x2: at, y1: plot.top, y2: plot.bottom }));
    const rows = [row(`step ${step}`)];
    for (const run of plot.runs) {
      // Long curves are thinned, so a run's nearest point may lie a few pixels beside the line; then say where.
      const index = run.x.reduce((best, one, here) => (Math.abs(one - at) <= Math.abs(run.x[best] - at) ? here : best), 0);
      if (Math.abs(run.x[index] - at) > 6) continue;
      const where = run.steps[index] === step ? "" : ` (step ${run.steps[index]})`;
      marks.append(shape("circle", { cx: run.x[index], cy: run.y[index], r: 4, fill: run.colour }));
      rows.push(row(`${run.values[index]}${where} ${run.name}`, run.colour));
    }
    tip.replaceChildren(...rows);
    tip.hidden = false;
    const figure = svg.parentElement.getBoundingClientRect();
    const inset = { left: box.left - figure.left, top: box.top - figure.top };
    const right = at / scale + 14 + inset.left;
    tip.style.top = `${plot.top / scale + inset.top}px`;
    tip.style.left = `${right}px`;
    const over = right + tip.offsetWidth > svg.parentElement.clientWidth;
    if (over) tip.style.left = `${Math.max(0, right - 28 - tip.offsetWidth)}px`;
  });
}
