// One chart: a uPlot canvas, a legend that follows the pointer, and nothing drawn before it is looked at.
"use strict";
class Chart {
  constructor(element, data, state) {
    this.element = element;
    this.data = data;
    this.state = state;
    // By number: a name with characters that HTML cannot hold would not come back as it was.
    const at = Number(element.dataset.at);
    this.metric = data.metrics[at];
    this.isRate = data.rates[at];
    this.curves = data.curves[at];
    this.last = data.last[at];
    this.canvas = element.querySelector(".plot");
    this.readout = element.querySelector(".readout");
    this.legend = element.querySelector(".legend");
    this.stale = true;
    this.seen = false;
    this.keys = this.curves.map((curve) => this.key(curve.run));
    this.legend.replaceChildren(...this.keys.map(({ button }) => button));
  }

  key(run) {
    const { name, colour, dash } = this.data.runs[run];
    const button = document.createElement("button");
    button.type = "button";
    button.className = "key";
    button.dataset.run = run;
    const line = document.createElement("i");
    line.className = "stroke";
    line.style.borderTop = `3px ${dash ? (dash.startsWith("2") ? "dotted" : "dashed") : "solid"} ${colour}`;
    const label = document.createElement("span");
    label.textContent = name;
    label.title = name;
    const value = document.createElement("b");
    button.append(line, label, value);
    return { button, value };
  }

  invalidate() {
    this.stale = true;
    if (this.seen) this.draw();
  }

  // Draw anew; a change of theme, scale or width takes the same way, which is fast enough and has no leftovers.
  draw(width = this.canvas.clientWidth) {
    if (!this.stale || !width) return;
    this.stale = false;
    this.plot?.destroy();
    this.canvas.replaceChildren();
    const columns = this.columns();
    const table = Curves.table(columns.map(({ x, y }) => ({ x, y })));
    this.faint = this.state.smoothing > 0 ? this.curves.length : 0;
    const data = this.faint
      ? Curves.table([...columns.map(({ x, raw }) => ({ x, y: raw })), ...columns.map(({ x, y }) => ({ x, y }))])
      : table;
    this.bounds = this.range(data);
    this.extent = extent(data[0]);
    if (this.bounds) {
      this.plot = new uPlot(this.options(width, columns), data, this.canvas);
      this.plot.over.addEventListener("dblclick", () => this.state.zoom(null));
    } else {
      this.plot = null;
      this.canvas.textContent = this.data.words.nothing;
    }
    this.toggle();
    this.rest();
  }

  columns() {
    const { log, smoothing, byTime } = this.state;
    return this.curves.map((curve) => {
      const axis = this.data.axes[curve.axis];
      const x = (byTime && Curves.times(axis)) || Curves.steps(axis);
      const fit = log ? Curves.positive : (list) => list;
      const raw = Curves.values(curve);
      return { x, raw: fit(raw), y: fit(Curves.smooth(raw, smoothing)) };
    });
  }

  // Lowest and highest value to show, or null where there is none; without outliers, the middle 98 %.
  range([x, ...series]) {
    const [from, to] = this.state.window ?? [-Infinity, Infinity];
    const all = [];
    series.forEach((list, at) => {
      if (this.state.hidden.has(this.curves[at % this.curves.length].run)) return;
      for (let row = 0; row < list.length; row++) {
        if (list[row] != null && x[row] >= from && x[row] <= to) all.push(list[row]);
      }
    });
    if (!all.length) return series.some((list) => list.some((value) => value != null)) ? [0, 1] : null;
    const sorted = Float64Array.from(all).sort();
    const cut = this.state.robust ? Math.floor(sorted.length / 100) : 0;
    return [sorted[cut], sorted[sorted.length - 1 - cut]];
  }

  options(width, columns) {
    const style = getComputedStyle(document.documentElement);
    const [ink, line] = ["--muted", "--line"].map((name) => style.getPropertyValue(name).trim());
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 }, font };
    const runs = this.curves.map(({ run }) => this.data.runs[run]);
    const lines = runs.map(({ colour, dash }, at) => ({
      stroke: colour, width: 1.6, dash: dash ? dash.split(" ").map(Number) : undefined,
      points: columns[at].x.length <= 40 ? { show: true, size: 5, fill: colour } : { size: 4, fill: colour },
    }));
    const pale = lines.length > 8 ? "18" : "38";  // opacity, as two hexadecimal digits
    const faint = lines.map((one) => ({ ...one, stroke: `${one.stroke}${pale}`, width: 1, dash: undefined, points: { show: false } }));
    const [low, high] = this.bounds;
    return {
      width, height: 218, legend: { show: false }, padding: [10, 10, 0, 0],
      cursor: {
        sync: { key: "runs" }, y: false, drag: { x: true, y: false, setScale: false },
        points: { size: (plot, at) => (at > this.faint ? 7 : 0) },
        dataIdx: (plot, at, row) => nearest(plot.data, at, row),
      },
      scales: {
        x: { time: false, range: () => this.state.window ?? this.extent },
        y: this.state.log
          ? { distr: 3, range: () => (low === high ? [low / 2, high * 2] : uPlot.rangeLog(low, high, 10, false)) }
          : { range: () => (this.isRate && low >= 0 && high <= 1 ? paddedRate(low, high) : padded(low, high)) },
      },
      axes: [
        { ...axis, size: 30, space: 60, ...(this.state.byTime ? clock : { values: (plot, ticks) => ticks.map(brief), incrs: whole }) },
        { ...axis, size: 58, values: (plot, ticks) => ticks.map((tick) => (tick == null ? "" : digits(tick, 6))) },
      ],
      series: [{}, ...(this.faint ? faint : []), ...lines],
      hooks: { setCursor: [(plot) => this.follow(plot)], setSelect: [(plot) => this.select(plot)] },
    };
  }

  select(plot) {
    const { left, width } = plot.select;
    if (width > 4) this.state.zoom([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
  }

  follow(plot) {
    const { idx, left, top } = plot.cursor;
    if (idx == null || left < 0) return this.rest();
    const x = plot.data[0][idx];
    let closest = null;
    this.keys.forEach(({ button, value }, at) => {
      const row = nearest(plot.data, at + 1 + this.faint, idx);
      const shown = row == null ? null : plot.data[at + 1 + this.faint][row];
      const away = Math.abs(plot.valToPos(plot.data[0][row ?? idx], "x") - left);
      const text = shown == null || away > 40 ? "–" : digits(shown, 4);
      if (value.textContent !== text) value.textContent = text;
      button.classList.remove("near");
      if (text === "–" || this.state.hidden.has(this.curves[at].run)) return;
      const distance = Math.abs(plot.valToPos(shown, "y") - (top >= 0 ? top : plot.over.clientHeight / 2));
      if (closest === null || distance < closest.distance) closest = { at, distance };
    });
    if (closest && this.keys.length > 1) this.keys[closest.at].button.classList.add("near");
    this.readout.textContent = this.state.byTime ? duration(x) : `${this.data.words.step} ${x.toLocaleString("en")}`;
  }

  // Without a pointer the legend shows each run's last value.
  rest() {
    this.readout.textContent = "";
    this.curves.forEach((curve, at) => {
      const last = this.last[curve.run];
      this.keys[at].value.textContent = last == null ? "–" : digits(last, 4);
      this.keys[at].button.classList.remove("near");
    });
  }

  toggle() {
    this.keys.forEach(({ button }, at) => {
      const off = this.state.hidden.has(this.curves[at].run);
      button.classList.toggle("off", off);
      button.setAttribute("aria-pressed", String(!off));
      this.plot?.setSeries(at + 1, { show: !off });
      if (this.faint) this.plot?.setSeries(at + 1 + this.faint, { show: !off });
    });
  }
}

const font = '11.5px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';
const whole = [1, 2, 5].flatMap((one) => Array.from({ length: 12 }, (_, power) => one * 10 ** power)).sort((a, b) => a - b);
const minute = 60, hour = 3600, day = 86400;
const clock = {
  incrs: [1, 2, 5, 10, 15, 30, ...[1, 2, 5, 10, 15, 30].map((one) => one * minute), ...[1, 2, 3, 6, 12].map((one) => one * hour),
    ...[1, 2, 5, 10, 20, 50, 100, 200].map((one) => one * day)],
  values: (plot, ticks) => ticks.map(duration),
};

// The row nearest to `row` that has a value or a gap in this series, or null.
function nearest(data, series, row) {
  const [x, list] = [data[0], data[series]];
  if (row == null || list[row] !== undefined) return row;
  let [below, above] = [row, row];
  while (below >= 0 && list[below] === undefined) below--;
  while (above < list.length && list[above] === undefined) above++;
  if (below < 0) return above < list.length ? above : null;
  if (above >= list.length) return below;
  return x[row] - x[below] <= x[above] - x[row] ? below : above;
}

function padded(low, high) {
  const pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low - pad, high + pad];
}

// A rate stays between 0 and 1; where all values are equal, the whole of that is shown.
function paddedRate(low, high) {
  if (low === high) return [0, 1];
  const [from, to] = padded(low, high);
  return [Math.max(0, from), Math.min(1, to)];
}

// From the first to the last step; from 0 where there is one (uPlot would show twice as much).
function extent(x) {
  const [first, last] = [x[0], x[x.length - 1]];
  return first === last ? [Math.min(0, first), Math.max(1, last)] : [first, last];
}

// %.4g as the tables print it.
function digits(value, count) {
  if (value === 0) return "0";
  const power = Math.floor(Math.log10(Math.abs(Number(value.toPrecision(count)))));
  if (power >= -5 && power < Math.max(count, 5)) return String(Number(value.toPrecision(count)));
  const [mantissa, exponent] = value.toExponential(count - 1).split("e");
  return `${Number(mantissa)}e${exponent}`;
}

function brief(step) {
  if (step == null) return "";
  for (const [size, mark] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(step) >= size) return `${Number((step / size).toPrecision(6))}${mark}`;
  }
  return String(step);
}

function duration(seconds) {
  const all = Math.round(seconds);
  const parts = [[day, "d"], [hour, "h"], [minute, "min"], [1, "s"]];
  const at = parts.findIndex(([size]) => Math.abs(all) >= size);
  if (at < 0) return "0 s";
  const [size, mark] = parts[at];
  const rest = Math.floor((all % size) / (parts[at + 1]?.[0] ?? 1));
  return `${Math.trunc(all / size)} ${mark}${rest ? ` ${rest} ${parts[at + 1][1]}` : ""}`;
}
