// What the report does not know: residuals with their reasons, losses, stacks that end early, probes that
// are missing. And what was freed, which no table of what is held can show.

import { fill, h, name } from "./dom";
import { count, exact, figure, size, unitOf } from "./format";
import { sum, type Part, type Store } from "./model";

export class Limits {
  readonly element = h("section", { class: "limits panel", aria: { labelledby: "limits" } });

  constructor(private readonly store: Store) {
    store.listen(() => this.render());
    this.render();
  }

  private render(): void {
    const { store } = this;
    const { state } = store;
    const { coverage } = state.report;
    const { lost, unwind, probes } = coverage;
    fill(
      this.element,
      h("h2", { id: "limits" }, "What no call path explains, and what was lost"),
      this.residuals(state.parts.filter((part) => part.residual)),
      h(
        "ul",
        {},
        h(
          "li",
          { class: lost.events + lost.stacks + lost.snapshots > 0 ? "bad" : "" },
          `Lost: ${count(lost.events, "event")}, ${count(lost.stacks, "stack")}, ${count(lost.snapshots, "snapshot")}.`,
        ),
        h(
          "li",
          {},
          `Stacks of ${count(unwind.complete, "fault")} were walked to their outermost frame, of ${count(unwind.incomplete, "fault")} not`,
          unwind.incomplete > 0
            ? `: ${Object.entries(unwind.reasons)
                .map(([reason, faults]) => `${reason} ${faults}`)
                .join(", ")}.`
            : ".",
        ),
        ...probes
          .filter((probe) => !probe.attached)
          .map((probe) => h("li", { class: "bad" }, name(probe.name), ": ", name(probe.why_not ?? "not attached"))),
        h("li", {}, `${probes.filter((probe) => probe.attached).length} of ${count(probes.length, "probe")} attached.`),
      ),
      this.freed(),
    );
  }

  private residuals(parts: Part[]): HTMLElement {
    if (parts.length === 0) {
      return h("p", {}, "Unattributed: 0. Call paths explain every resident and every dirty byte.");
    }
    const { state } = this.store;
    const reasons = new Map<string, Part[]>();
    for (const part of parts) reasons.set(part.why, [...(reasons.get(part.why) ?? []), part]);
    return h(
      "table",
      { class: "rows" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col", class: "number" }, "RSS"),
          h("th", { scope: "col", class: "number" }, "Dirty"),
          h("th", { scope: "col" }, "Reason"),
          h("th", { scope: "col" }, "Where"),
        ),
      ),
      h(
        "tbody",
        {},
        ...[...reasons].map(([reason, of]) => {
          const bytes = sum(of);
          const places = [...new Set(of.map((part) => state.places[part.segment]?.name ?? ""))];
          return h(
            "tr",
            { class: "residual", data: { reason, rss: bytes.rss, dirty: bytes.dirty } },
            h("td", { class: "number", title: exact(bytes.rss) }, size(bytes.rss)),
            h("td", { class: "number", title: exact(bytes.dirty) }, size(bytes.dirty)),
            h("td", {}, name(reason)),
            h("td", {}, name(places.slice(0, 5).join(", ") + (places.length > 5 ? ` and ${places.length - 5} more` : ""))),
          );
        }),
      ),
    );
  }

  private freed(): HTMLElement | null {
    const { state, choice } = this.store;
    const rows = state.processes
      .filter((process) => choice.process === null || process.pid === choice.process)
      .flatMap((process) => process.released)
      .filter((released) => released.how !== "exit");
    if (rows.length === 0) return null;
    const found = new Map<string, { how: string; who: string; bytes: number }>();
    for (const row of rows) {
      const chain = state.functionsOf(row.stack);
      const who = chain.find((fn) => fn.class === "application")?.name ?? chain[0]?.name ?? "[kernel]";
      const key = `${row.how}\u0000${who}`;
      const known = found.get(key);
      if (known) known.bytes += row.rss_bytes;
      else found.set(key, { how: row.how, who, bytes: row.rss_bytes });
    }
    const all = [...found.values()].sort((a, b) => b.bytes - a.bytes);
    const unit = unitOf(all.reduce((bytes, row) => bytes + row.bytes, 0));
    return h(
      "div",
      {},
      h("h3", {}, "Freed during the session"),
      h(
        "table",
        { class: "rows" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col", class: "number" }, "RSS ", h("small", {}, unit.name)),
            h("th", { scope: "col" }, "How"),
            h("th", { scope: "col" }, "By"),
          ),
        ),
        h(
          "tbody",
          {},
          ...all.slice(0, 12).map((row) =>
            h(
              "tr",
              {},
              h("td", { class: "number", title: exact(row.bytes) }, figure(row.bytes, unit)),
              h("td", {}, name(row.how)),
              h("td", {}, name(row.who)),
            ),
          ),
          all.length > 12 &&
            h(
              "tr",
              { class: "more" },
              h("td", { class: "number" }, figure(all.slice(12).reduce((bytes, row) => bytes + row.bytes, 0), unit)),
              h("td", { colspan: 2 }, `${all.length - 12} more`),
            ),
        ),
      ),
    );
  }
}
