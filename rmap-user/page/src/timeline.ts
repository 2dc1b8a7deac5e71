// Sizes in time: RSS by kind stacked, Dirty as a line, moments and processes marked.

import uPlot from "uplot";

import { clean, fill, h } from "./dom";
import { duration, exact, figure, size, unitOf } from "./format";
import type { State, Store } from "./model";
import type { TimelinePoint } from "./report";

/** From the bottom up. */
const KINDS = [
  ["stack_bytes", "stack", "stack"],
  ["file_bytes", "file", "file pages"],
  ["shared_bytes", "shared", "shared memory"],
  ["heap_bytes", "heap", "heap"],
  ["anonymous_bytes", "anonymous", "anonymous"],
] as const;

type Sums = Omit<TimelinePoint, "at_ns">;

const NONE: Sums = {
  heap_bytes: 0,
  anonymous_bytes: 0,
  file_bytes: 0,
  shared_bytes: 0,
  stack_bytes: 0,
  dirty_bytes: 0,
};

/** The sums over processes at each time that any of them has. */
export function sums(timelines: TimelinePoint[][]): { times: number[]; points: Sums[] } {
  const all = new Map<number, Sums>();
  for (const timeline of timelines) {
    for (const point of timeline) {
      const known = all.get(point.at_ns) ?? { ...NONE };
      for (const key of Object.keys(NONE) as (keyof Sums)[]) known[key] += point[key];
      all.set(point.at_ns, known);
    }
  }
  const times = [...all.keys()].sort((a, b) => a - b);
  return { times, points: times.map((at) => all.get(at) as Sums) };
}

/** The sizes of a moment of which there is a report. */
function pointOf(state: State, pid: number | null): TimelinePoint {
  const point = { at_ns: state.atNs, ...NONE };
  for (const { process, segment } of state.places) {
    if (pid !== null && state.processes[process]?.pid !== pid) continue;
    const rss = segment.rss_bytes.after;
    const dirty = Math.min(segment.dirty_bytes.after, rss);
    point.dirty_bytes += segment.dirty_bytes.after;
    const kind = segment.kind ?? "";
    if (kind === "heap") point.heap_bytes += rss;
    else if (kind === "stack") point.stack_bytes += rss;
    else if (kind.startsWith("shared") || kind === "memfd") point.shared_bytes += rss;
    else if (kind === "file shared") point.file_bytes += rss;
    else if (segment.inode !== 0) {
      // Private copies of a file's pages are no file's any more.
      point.file_bytes += rss - dirty;
      point.anonymous_bytes += dirty;
    } else point.anonymous_bytes += rss;
  }
  return point;
}

export class Timeline {
  readonly element = h("section", { class: "timeline panel", aria: { labelledby: "timeline" } });
  private readonly legend = h("p", { class: "legend" });
  private readonly chart = h("div", { class: "chart" });
  private plot: uPlot | null = null;
  private drawn = "";
  private times: number[] = [];
  private points: Sums[] = [];

  constructor(private readonly store: Store) {
    this.element.append(h("h2", { id: "timeline" }, "Memory in time"), this.legend, this.chart);
    store.listen(() => this.render());
    new ResizeObserver(() => this.resize()).observe(this.chart);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
    this.render();
  }

  /** Draws anew in the colours of the theme. */
  repaint(): void {
    this.drawn = "";
    this.render();
  }

  private render(): void {
    const { store } = this;
    const { end, choice } = store;
    const chosen = end.processes.filter((process) => choice.process === null || process.pid === choice.process);
    const key = `${choice.process} ${choice.state} ${choice.since}`;
    if (key === this.drawn) return;
    this.drawn = key;
    const samples = chosen.map((process) => process.timeline ?? []);
    // Samples seldom meet the peak. Where one does, the point is there already.
    const met = new Set(samples.flat().map((point) => point.at_ns));
    const peaks = store.states.filter((state) => state.name === "peak" && !met.has(state.atNs));
    const { times, points } = sums([...samples, ...peaks.map((state) => [pointOf(state, choice.process)])]);
    this.plot?.destroy();
    this.plot = null;
    if (times.length < 2) {
      fill(this.chart, h("p", { class: "quiet" }, "The session was too short, or its sizes in time are not known."));
      this.legend.replaceChildren();
      return;
    }
    fill(this.chart);
    this.times = times;
    this.points = points;
    this.draw();
    this.show(null);
    const without = chosen.filter((process) => (process.timeline ?? []).length === 0).length;
    if (without > 0 && chosen.length > 1) {
      this.chart.append(h("p", { class: "quiet" }, `without ${without} of ${chosen.length} processes, whose sizes in time are not known`));
    }
  }

  private colour(name: string): string {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim() || "#888";
  }

  private draw(): void {
    const { times, points } = this;
    const totals = points.map(() => 0);
    const layers = KINDS.map(([key]) =>
      points.map((point, at) => {
        totals[at] = (totals[at] ?? 0) + point[key];
        return totals[at] ?? 0;
      }),
    );
    const dirty = points.map((point) => point.dirty_bytes);
    const seconds = times.map((at) => at / 1e9);
    // The topmost layer is drawn first, so that each one covers what is below it.
    const order = KINDS.map((_, at) => at).reverse();
    const series: uPlot.Series[] = [{}];
    for (const at of order) {
      const kind = KINDS[at]?.[1] ?? "";
      series.push({ fill: this.colour(`k-${kind}`), stroke: this.colour("panel"), width: 0.5, points: { show: false } });
    }
    series.push({ stroke: this.colour("dirty"), width: 2, points: { show: false } });
    const most = Math.max(...totals, ...dirty, 1);
    const unit = unitOf(most);
    const axis = { stroke: this.colour("quiet"), grid: { stroke: this.colour("line"), width: 1 }, ticks: { show: false } };
    const end = this.store.end.report.session.duration_ns / 1e9;
    const options: uPlot.Options = {
      width: this.chart.clientWidth || 800,
      height: 170,
      legend: { show: false },
      cursor: { y: false, drag: { x: true, y: false, setScale: false }, points: { show: false } },
      scales: { x: { time: false, range: [0, Math.max(end, seconds.at(-1) ?? 0)] }, y: { range: [0, most * 1.08] } },
      series,
      axes: [
        { ...axis, size: 26, space: 90, values: (_, splits) => splits.map((at) => (at === 0 ? "0" : duration(Math.round(at * 1e9)))) },
        {
          ...axis,
          size: 74,
          // Steps of powers of two read well in binary units.
          splits: () => steps(most),
          values: (_, splits) => splits.map((at) => `${figure(at, { ...unit, digits: at % unit.bytes === 0 ? 0 : 1 })} ${unit.name}`),
        },
      ],
      hooks: {
        draw: [(plot) => this.marks(plot)],
        setCursor: [(plot) => this.show(plot.cursor.idx ?? null)],
        setSelect: [(plot) => this.window(plot)],
      },
    };
    this.plot = new uPlot(options, [seconds, ...order.map((at) => layers[at] as number[]), dirty], this.chart);
    this.plot.over.addEventListener("click", () => this.choose());
    this.plot.over.setAttribute("title", "Click: the nearest moment of which the page has a report. Drag: what changed between two.");
    const peak = totals.reduce((best, of, at) => (of > (totals[best] ?? 0) ? at : best), 0);
    this.plot.root.setAttribute("role", "img");
    this.plot.root.setAttribute(
      "aria-label",
      `RSS by kind of memory in time, up to ${size(totals[peak] ?? 0)} after ${duration(times[peak] ?? 0)}, and Dirty, up to ${size(Math.max(...dirty))}.`,
    );
  }

  /** The moment of which there is a report that is nearest to a place on the chart. */
  private nearest(plot: uPlot, left: number): number {
    const { states } = this.store;
    const at = plot.posToVal(left, "x") * 1e9;
    let best = 0;
    states.forEach((state, number) => {
      const known = states[best];
      if (known && Math.abs(state.atNs - at) < Math.abs(known.atNs - at)) best = number;
    });
    return best;
  }

  private choose(): void {
    const { plot, store } = this;
    const left = plot?.cursor.left;
    if (!plot || left === undefined || left < 0 || plot.select.width > 4) return;
    store.set({ state: this.nearest(plot, left) });
  }

  /** A stretch was drawn: what changed from its first moment to its last one. */
  private window(plot: uPlot): void {
    const { left, width } = plot.select;
    if (width <= 4) return;
    const [since, state] = [this.nearest(plot, left), this.nearest(plot, left + width)];
    // Not inside of the chart's own event, since it is drawn anew.
    setTimeout(() => this.store.set({ since, state }));
  }

  /** Lines at the moments; ticks where processes start and end. */
  private marks(plot: uPlot): void {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    const x = (ns: number): number => Math.round(plot.valToPos(ns / 1e9, "x", true));
    ctx.save();
    const { processes } = this.store.end;
    if (processes.length > 1) {
      ctx.fillStyle = this.colour("quiet");
      for (const process of processes.slice(0, 2000)) {
        ctx.fillRect(x(process.started_ns), bbox.top + bbox.height - 5 * ratio, ratio, 5 * ratio);
      }
    }
    const { peak } = this.store.end.report.session;
    const { state: here, since } = this.store;
    const moments = this.store.states.map((state) => ({
      at: state.atNs,
      name: state.name === "peak" || state.name === "end" ? state.name : state === here || state === since ? duration(state.atNs) : "",
      chosen: state === here,
    }));
    if (since) {
      const [from, to] = [x(Math.min(since.atNs, here.atNs)), x(Math.max(since.atNs, here.atNs))];
      ctx.fillStyle = this.colour("accent");
      ctx.globalAlpha = 0.14;
      ctx.fillRect(from, bbox.top, to - from, bbox.height);
      ctx.globalAlpha = 1;
    }
    if (peak && !moments.some((moment) => moment.name === "peak")) {
      moments.push({ at: peak.at_ns, name: "peak", chosen: false });
    }
    for (const mark of this.store.end.report.session.marks ?? []) {
      moments.push({ at: mark.at_ns, name: clean(mark.name).slice(0, 24), chosen: false });
    }
    ctx.font = `600 ${11 * ratio}px system-ui, sans-serif`;
    ctx.textBaseline = "top";
    for (const { at, name, chosen } of moments) {
      if (name === "") {
        // A moment that can be chosen.
        ctx.fillStyle = this.colour("accent");
        ctx.beginPath();
        ctx.arc(x(at), bbox.top + bbox.height, 3.5 * ratio, 0, 2 * Math.PI);
        ctx.fill();
        continue;
      }
      ctx.fillStyle = this.colour(chosen ? "accent" : "text");
      ctx.fillRect(x(at) - ratio, bbox.top, (chosen ? 2 : 1) * ratio, bbox.height);
      const right = x(at) > bbox.left + bbox.width - 60 * ratio;
      ctx.textAlign = right ? "right" : "left";
      ctx.fillText(name, x(at) + (right ? -5 : 5) * ratio, bbox.top + 3 * ratio);
    }
    ctx.restore();
  }

  /** The figures at a time, or the highest ones. */
  private show(at: number | null): void {
    const point = at === null ? null : this.points[at];
    const rss = (of: Sums): number => KINDS.reduce((all, [key]) => all + of[key], 0);
    const shown = point ?? this.points.reduce((best, of) => (rss(of) > rss(best) ? of : best), this.points[0] ?? NONE);
    const when = this.times[this.points.indexOf(shown)] ?? 0;
    const entry = (kind: string, label: string, bytes: number): HTMLElement =>
      h("span", { title: exact(bytes) }, h("i", { class: `swatch ${kind}` }), `${label} `, h("b", {}, size(bytes)));
    fill(
      this.legend,
      h("span", { class: "when" }, point ? duration(when) : `highest, ${duration(when)}`),
      h("span", { title: exact(rss(shown)), data: point ? {} : { highest: rss(shown) } }, "RSS ", h("b", {}, size(rss(shown)))),
      h("span", { title: exact(shown.dirty_bytes) }, h("i", { class: "swatch line-dirty" }), "Dirty ", h("b", {}, size(shown.dirty_bytes))),
      ...[...KINDS]
        .reverse()
        .filter(([key]) => this.points.some((of) => of[key] > 0))
        .map(([key, kind, label]) => entry(`k-${kind}`, label, shown[key])),
    );
  }

  private resize(): void {
    const { plot, chart } = this;
    if (plot && chart.clientWidth > 0 && plot.width !== chart.clientWidth) {
      plot.setSize({ width: chart.clientWidth, height: 170 });
    }
  }
}

/** Some four steps up to a size, in round numbers of a binary unit. */
function steps(most: number): number[] {
  let step = 1024;
  while (most / step > 4) step *= 2;
  const all = [];
  for (let at = 0; at <= most * 1.08; at += step) all.push(at);
  return all;
}
