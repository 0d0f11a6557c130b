// Draws the plots of the page from the data beside it; each again when its width changes, and for print.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const styles = ["choreography", "orchestration", "sync"];
  const colour = (style) => `var(--${style})`;
  const outcomes = ["confirmed", "cancelled", "refused", "stuck", "lost"];
  const paper = 660; // what fits on a page in print
  const least = 280; // a browser that prints may measure less on the way, where nothing could be drawn

  const time = (ms) => (ms >= 1000 ? `${+(ms / 1000).toFixed(1)} s` : `${+ms.toFixed(1)} ms`);
  const powers = (low, high) => {
    const ticks = [];
    for (let tick = 1; tick <= high; tick *= 10) if (tick >= low) ticks.push(tick);
    return ticks;
  };
  const domain = (values) => {
    const low = Math.min(...values), high = Math.max(...values);
    return [Math.min(10, Math.max(1, low * 0.8)), Math.max(100, high * 1.3)];
  };

  // Before, during or after which trouble: medians don't reach across.
  const spell = (broken, at) => broken.findIndex(([from, to]) => at < to) * 2 + (broken.some(([from, to]) => at >= from && at < to) ? 1 : 0);

  // The checkouts of a scenario over time: a facet for each style, beside each other where there is room.
  function latency(scenario, width) {
    const beside = width >= 620;
    const facet = beside ? "fx" : "fy";
    const all = scenario.traces.flatMap(({ style, broken, points }) =>
      points.map(([at, ms, refused]) => ({ style, at, ms: Math.max(ms, 1), refused, spell: style + spell(broken, at) })));
    const bands = scenario.broken
      ? scenario.traces.flatMap(({ style, broken }) => broken.map(([from, to]) => ({ style, from, to })))
      : [];
    const y = domain(all.map((point) => point.ms));
    const accepted = all.filter((point) => !point.refused);
    const refused = all.filter((point) => point.refused);
    return Plot.plot({
      width,
      height: beside ? 300 : 480,
      marginLeft: 48,
      marginRight: beside ? 12 : 24,
      marginTop: beside ? 28 : 20,
      marginBottom: 42,
      x: { label: "seconds", nice: false, domain: [0, Math.max(...scenario.traces.map(({ end }) => end))], ticks: 5, labelOffset: 38 },
      y: { type: "log", domain: y, label: null, ticks: powers(...y), tickFormat: time, grid: true },
      [facet]: { domain: styles, label: null, padding: beside ? 0.06 : 0.12, axis: null },
      marks: [
        Plot.rect(bands, { x1: "from", x2: "to", [facet]: "style", fill: "currentColor", fillOpacity: 0.08 }),
        Plot.dot(accepted, { x: "at", y: "ms", [facet]: "style", r: 1.6, fill: (d) => colour(d.style), fillOpacity: 0.55 }),
        Plot.dot(refused, { x: "at", y: "ms", [facet]: "style", r: 2.6, symbol: "times", stroke: "var(--lost)", strokeWidth: 1.2 }),
        Plot.line(accepted, Plot.windowY({ k: 15, reduce: "median" },
          { x: "at", y: "ms", z: "spell", [facet]: "style", stroke: (d) => colour(d.style), strokeWidth: 1.8 })),
        Plot.text(styles, { [facet]: (d) => d, text: (d) => d, frameAnchor: "top-left", dy: -14, fontWeight: 600, fill: colour }),
      ],
    });
  }

  // What became of the orders of a scenario: a bar for each style.
  function fates(scenario, width) {
    const rows = scenario.styles.flatMap(({ style, outcomes: counts }) =>
      outcomes.map((outcome) => ({ style, outcome, count: counts[outcome] })).filter(({ count }) => count > 0));
    const most = Math.max(...styles.map((style) => d3.sum(rows.filter((row) => row.style === style), (row) => row.count)));
    const room = (row) => (row.count / most) * (width - 120) > 8 + 7 * String(row.count).length;
    return Plot.plot({
      width,
      height: 142,
      marginLeft: 98,
      marginRight: 16,
      marginBottom: 42,
      x: { label: "checkouts", labelOffset: 38, ticks: width < 500 ? 4 : 8, grid: true },
      y: { domain: styles, label: null, tickSize: 0 },
      color: { domain: outcomes, range: outcomes.map(colour) },
      marks: [
        Plot.barX(rows, Plot.stackX({ order: outcomes, x: "count", y: "style", fill: "outcome", insetRight: 0.5 })),
        Plot.textX(rows, Plot.stackX({
          order: outcomes, x: "count", y: "style", z: "outcome", text: (d) => (room(d) ? d.count : ""),
          fill: (d) => (d.outcome === "refused" ? "var(--on-refused)" : "var(--on-bar)"), fontWeight: 600,
        })),
      ],
    });
  }

  // From p50 to p99 of each style in each scenario.
  function overview(_, width) {
    const narrow = width < 620;
    const rows = data.scenarios.flatMap(({ short, styles: all }) => all.map(({ style, latency, checkouts }) =>
      ({ short, style, p50: latency?.p50, p99: latency?.p99, refused: !latency && checkouts > 0 })));
    const answered = rows.filter(({ p50 }) => p50);
    const x = domain(answered.flatMap(({ p50, p99 }) => [p50, p99]));
    return Plot.plot({
      width,
      height: 40 + data.scenarios.length * 50,
      marginLeft: narrow ? 104 : 162,
      marginRight: 24,
      marginTop: 24,
      x: { type: "log", domain: x, label: null, axis: "top", ticks: powers(...x), tickFormat: time, grid: true },
      y: { domain: styles, axis: null, padding: 0.6 },
      fy: { domain: data.scenarios.map(({ short }) => short), label: null, axis: null, padding: 0.16 },
      marks: [
        Plot.frame({ stroke: "currentColor", strokeOpacity: 0.12 }),
        Plot.link(answered, { x1: "p50", x2: "p99", y1: "style", y2: "style", fy: "short", stroke: (d) => colour(d.style), strokeWidth: 3, strokeOpacity: 0.6 }),
        Plot.dot(answered, { x: "p50", y: "style", fy: "short", r: 4, fill: (d) => colour(d.style) }),
        Plot.dot(answered, { x: "p99", y: "style", fy: "short", r: 4, fill: "var(--back)", stroke: (d) => colour(d.style), strokeWidth: 2 }),
        Plot.text(rows.filter(({ refused }) => refused), {
          y: "style", fy: "short", frameAnchor: "left", dx: 6, textAnchor: "start", fill: (d) => colour(d.style), text: () => "× refused every checkout",
        }),
        Plot.text(data.scenarios, { fy: "short", text: "short", frameAnchor: "left", dx: -8, textAnchor: "end", lineWidth: narrow ? 7 : 14, fontSize: narrow ? 11 : 12, fontWeight: 600 }),
      ],
    });
  }

  const kinds = { latency, fates, overview };

  function draw(figure, width) {
    const scenario = data.scenarios.find(({ scenario: name }) => name === figure.dataset.scenario);
    const svg = kinds[figure.dataset.plot](scenario, Math.max(least, Math.floor(width)));
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    title.textContent = figure.dataset.title;
    svg.prepend(title);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", figure.dataset.title);
    const place = figure.querySelector(".place");
    place.replaceChildren(svg);
    figure.dataset.marks = svg.querySelectorAll("circle, rect, path, line").length;
  }

  const figures = [...document.querySelectorAll("figure[data-plot]")];
  const widths = new Map();
  const observer = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const figure = target.closest("figure");
      const width = Math.floor(contentRect.width);
      if (width > 0 && widths.get(figure) !== width) {
        widths.set(figure, width);
        draw(figure, width);
      }
    }
  });
  for (const figure of figures) {
    const place = figure.querySelector(".place");
    const width = Math.floor(place.clientWidth);
    widths.set(figure, width);
    draw(figure, width);
    observer.observe(place);
  }
  addEventListener("beforeprint", () => figures.forEach((figure) => draw(figure, paper)));
  addEventListener("afterprint", () => figures.forEach((figure) => draw(figure, widths.get(figure))));
})();
