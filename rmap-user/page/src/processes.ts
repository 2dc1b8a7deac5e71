// Processes: those of one program and role together, with their lives in time.

import { base, clean, fill, h, name } from "./dom";
import { count, duration, exact, figure, unitOf } from "./format";
import type { State, Store } from "./model";
import type { Group, Process } from "./report";
import { bar } from "./owners";

const MEMBERS = 50;
/** Groups of no more than this show their members at first. */
const FEW = 8;

export class Processes {
  readonly element = h("section", { class: "processes panel", aria: { labelledby: "processes" } });
  private readonly open = new Map<string, boolean>();

  constructor(private readonly store: Store) {
    store.listen(() => this.render());
    this.render();
  }

  private render(): void {
    const { store } = this;
    const { state } = store;
    const { groups } = state.report;
    const unit = unitOf(Math.max(...state.processes.map((process) => process.rss_bytes.after), 0));
    const most = Math.max(...groups.map((group) => group.rss_bytes.max), 1);
    const many = groups.some((group) => group.pids.length > 1);
    const rows: HTMLElement[] = [];
    for (const group of groups) {
      const key = `${group.program}\u0000${group.role}`;
      const members = group.pids
        .map((pid) => state.processes.find((process) => process.pid === pid))
        .filter((process): process is Process => process !== undefined);
      const only = members.length === 1 ? members[0] : undefined;
      if (only) {
        rows.push(this.member(state, only, unit, most, many, 0));
        continue;
      }
      const open = this.open.get(key) ?? members.length <= FEW;
      rows.push(this.group(group, key, unit, most, open));
      if (!open) continue;
      members.sort((a, b) => b.rss_bytes.after - a.rss_bytes.after);
      for (const process of members.slice(0, MEMBERS)) rows.push(this.member(state, process, unit, most, many, 1));
      if (members.length > MEMBERS) {
        rows.push(h("tr", { class: "more" }, h("td", { colspan: many ? 7 : 5 }, `and ${members.length - MEMBERS} more`)));
      }
    }
    fill(
      this.element,
      h(
        "h2",
        { id: "processes" },
        "Processes ",
        h(
          "small",
          {},
          state.processes.length > 1
            ? `${state.processes.length}; what processes share counts in each`
            : "1",
        ),
      ),
      h(
        "div",
        { class: "scroll" },
        h(
          "table",
          { class: "rows wide" },
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              h("th", { scope: "col", class: "number" }, "RSS ", h("small", {}, unit.name)),
              many && h("th", { scope: "col", class: "number" }, "least"),
              many && h("th", { scope: "col", class: "number" }, "most"),
              h("th", { scope: "col", class: "number" }, "Dirty"),
              h("th", { scope: "col", class: "bar-head" }, h("span", { class: "hidden" }, "Bar")),
              h("th", { scope: "col" }, "Process"),
              h("th", { scope: "col", class: "life-head" }, "Life"),
            ),
          ),
          h("tbody", {}, ...rows),
        ),
      ),
    );
  }

  private group(group: Group, key: string, unit: ReturnType<typeof unitOf>, most: number, open: boolean): HTMLElement {
    const number = (bytes: number, extra = ""): HTMLElement =>
      h("td", { class: `number ${extra}`, title: exact(bytes) }, figure(bytes, unit));
    const toggle = (): void => {
      this.open.set(key, !open);
      this.render();
    };
    return h(
      "tr",
      { class: "pick group", data: { rss: group.rss_bytes.sum }, on: { click: toggle } },
      number(group.rss_bytes.sum),
      number(group.rss_bytes.min, "quiet"),
      number(group.rss_bytes.max, "quiet"),
      number(group.dirty_bytes.sum, "dirty"),
      h("td", { class: "bar-cell" }, bar({ rss: group.rss_bytes.max, dirty: group.dirty_bytes.max, touched: 0 }, most)),
      h(
        "td",
        {},
        h(
          "button",
          {
            type: "button",
            class: "plain",
            aria: { expanded: open },
            on: { click: (event: Event) => (event.stopPropagation(), toggle()) },
          },
          h("span", { class: "arrow", aria: { hidden: true } }, open ? "▾" : "▸"),
          name(`${base(group.program)} ${group.role}`.trim(), "owner"),
        ),
        h("span", { class: "details" }, count(group.pids.length, "process", "processes"), ", median ", figure(group.rss_bytes.median, unit)),
      ),
      h("td", {}),
    );
  }

  private member(
    state: State,
    process: Process,
    unit: ReturnType<typeof unitOf>,
    most: number,
    many: boolean,
    depth: number,
  ): HTMLElement {
    const { store } = this;
    const choose = (): void => store.toggle("process", process.pid);
    const chosen = store.choice.process === process.pid;
    const { after } = process.rss_bytes;
    const dirty = process.dirty_bytes.after;
    const whole = Math.max(this.store.end.report.session.duration_ns, 1);
    const percent = (ns: number): string => `${Math.min(100, (ns / whole) * 100).toFixed(2)}%`;
    const ended = process.ended_ns ?? state.report.session.duration_ns;
    return h(
      "tr",
      {
        class: `pick ${chosen ? "chosen" : ""}`,
        data: { pid: process.pid, rss: after, dirty },
        on: { click: choose },
      },
      h("td", { class: "number", title: exact(after) }, figure(after, unit)),
      many && h("td", {}),
      many && h("td", {}),
      h("td", { class: `number ${dirty > 0 ? "dirty" : "zero"}`, title: exact(dirty) }, figure(dirty, unit)),
      h("td", { class: "bar-cell" }, bar({ rss: after, dirty, touched: 0 }, most)),
      h(
        "td",
        { style: { "padding-left": `${0.6 + depth * 1.4}em` } },
        h(
          "button",
          {
            type: "button",
            class: "plain",
            aria: { pressed: chosen },
            on: { click: (event: Event) => (event.stopPropagation(), choose()) },
          },
          h("span", { class: "pid" }, String(process.pid)),
          " ",
          name(process.command || base(process.exe), "command"),
        ),
        h("span", { class: "details" }, clean(process.snapshot), ", parent ", String(process.parent_pid)),
      ),
      h(
        "td",
        { class: "life", title: `from ${duration(process.started_ns)} to ${duration(ended)}` },
        h("i", { style: { left: percent(process.started_ns), width: percent(Math.max(ended - process.started_ns, whole / 300)) } }),
      ),
    );
  }
}
