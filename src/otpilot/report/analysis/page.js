// The page's controls. Tables, findings and pictures are plain HTML and need none of this; curves do.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const pick = (name) => document.getElementById(name);
  const state = { smoothing: 0, log: false, robust: false, byTime: false, window: null, hidden: new Set(), zoom };
  const charts = [...document.querySelectorAll(".curve")].map((element) => new Chart(element, data, state));
  const byElement = new Map(charts.map((chart) => [chart.element, chart]));
  const chips = [...document.querySelectorAll("#chips .chip")];

  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const chart = byElement.get(target);
      chart.seen = isIntersecting;
      if (isIntersecting) chart.draw();
    }
  }, { rootMargin: "200px" });
  charts.forEach((chart) => observer.observe(chart.element));

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      charts.forEach((chart) => chart.invalidate());
    });
  }
  function zoom(window) {
    state.window = window;
    pick("unzoom").hidden = window === null;
    redraw();
  }

  function showRuns() {
    for (const chip of chips) chip.setAttribute("aria-pressed", String(!state.hidden.has(Number(chip.dataset.run))));
    redraw();
  }
  function toggle(run) {
    if (!state.hidden.delete(run)) state.hidden.add(run);
    showRuns();
  }
  function only(run) {
    const others = data.runs.map((_, at) => at).filter((at) => at !== run);
    const alone = !state.hidden.has(run) && others.every((at) => state.hidden.has(at));
    state.hidden = new Set(alone ? [] : others);
    showRuns();
  }
  document.addEventListener("click", (event) => {
    const key = event.target.closest("[data-run]");
    if (!key || !key.matches(".chip, .key")) return;
    (event.shiftKey || event.altKey ? only : toggle)(Number(key.dataset.run));
  });
  pick("all")?.addEventListener("click", () => { state.hidden = new Set(); showRuns(); });
  pick("none")?.addEventListener("click", () => { state.hidden = new Set(data.runs.keys()); showRuns(); });

  pick("smoothing")?.addEventListener("input", (event) => {
    // Squared, so that the slider's upper half is not all the same: 0, .44, .75, .94, .99.
    const turn = Number(event.target.value) / 100;
    state.smoothing = turn === 0 ? 0 : Math.min(0.995, 1 - (1 - turn) ** 2);
    pick("smoothed").textContent = state.smoothing.toFixed(2);
    redraw();
  });
  for (const name of ["log", "robust"]) {
    pick(name)?.addEventListener("change", (event) => { state[name] = event.target.checked; redraw(); });
  }
  for (const radio of document.querySelectorAll("input[name=align]")) {
    radio.addEventListener("change", () => { state.byTime = pick("by-time").checked; zoom(null); });
  }
  pick("unzoom")?.addEventListener("click", () => zoom(null));
  pick("filter")?.addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { element, metric } of charts) {
      element.hidden = !wanted.every((word) => metric.toLowerCase().includes(word));
    }
    for (const group of document.querySelectorAll("details.more")) group.open = wanted.length > 0 || group.dataset.open === "1";
  });
  for (const group of document.querySelectorAll("details.more")) {
    group.querySelector("summary").addEventListener("click", () => { group.dataset.open = group.open ? "0" : "1"; });
  }

  pick("theme").addEventListener("click", () => {
    const dark = getComputedStyle(root).getPropertyValue("--is-dark").trim() === "1";
    root.dataset.theme = dark ? "light" : "dark";
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) redraw();
    width = window.innerWidth;
  });

  // On paper every chart is there, on white, as wide as two beside each other fit.
  let before;
  window.addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    for (const chart of charts) {
      chart.stale = true;
      if (!chart.element.hidden && chart.element.offsetParent !== null) chart.draw(330);
    }
  });
  window.addEventListener("afterprint", () => {
    if (before === undefined) delete root.dataset.theme;
    else root.dataset.theme = before;
    redraw();
  });
  root.dataset.ready = "1";
})();
