// The head of the page and the answer in a sentence: what was traced, how much it held, what is missing.

import { append, base, clean, h, name } from "./dom";
import { count, duration, exact, size } from "./format";
import type { State, Store } from "./model";
import type { Process } from "./report";

/** The bar on top: what was traced, when, how it ended. */
export function head(store: Store, buttons: HTMLElement[]): HTMLElement {
  const { session, host, rmap_version } = store.end.report;
  const command = session.command?.join(" ") ?? `attached to ${session.pids.join(", ")}`;
  document.title = `rmap: ${clean(session.command?.[0] ? base(session.command[0]) : command)}`;
  const exit = session.exit;
  const how =
    exit === null
      ? session.mode === "attach"
        ? "attached"
        : "goes on"
      : "code" in exit
        ? `exit ${exit.code}`
        : clean(exit.signal);
  const facts = [
    how,
    duration(session.duration_ns),
    clean(session.started_at.replace("T", " ").replace(/\.\d+/, "")),
    `Linux ${clean(host.kernel)} ${clean(host.arch)}`,
    `rmap ${clean(rmap_version)}`,
  ];
  return h(
    "header",
    { class: "head" },
    h("span", { class: "brand", aria: { hidden: true } }, "rmap"),
    h("h1", { title: clean(command) }, name(command)),
    h("span", { class: "facts" }, facts.join(" · ")),
    h("span", { class: "buttons" }, ...buttons),
  );
}

/** What it held at a moment, in words. */
export function sentence(state: State): string {
  const { session } = state.report;
  const many = state.processes.length;
  const whose = many === 1 ? "it held" : `${many} processes held`;
  if (session.window) return `From ${duration(session.window.from_ns)} to ${duration(session.window.to_ns)} ${whose} more by`;
  if (state.name === "peak") return `At its peak, ${duration(state.atNs)}, ${whose}`;
  if (session.at_ns !== undefined) return `At ${duration(session.at_ns)} ${whose}`;
  const exits = state.processes.every((process) => process.snapshot === "at-exit");
  return exits ? (many === 1 ? "At its exit it held" : `At their exits ${many} processes held`) : `At the end ${whose}`;
}

/** What the processes hold that go on, or what the last one held at its exit: those before it are gone. */
function left(state: State, chip: (label: string, bytes: number, title: string) => void): void {
  const ended = (process: Process): number => process.ended_ns ?? Number.POSITIVE_INFINITY;
  const last = Math.max(...state.processes.map(ended));
  const held = state.processes.filter((process) => ended(process) === last);
  const rss = held.reduce((all, process) => all + process.rss_bytes.after, 0);
  const when = Number.isFinite(last) ? "at exit" : "at the end";
  chip(held.length < state.processes.length ? `${when}, of the last process` : when, rss, `RSS ${when}`);
}

export class Verdict {
  readonly element = h("section", { class: "verdict", aria: { label: "Answer" } });

  constructor(private readonly store: Store) {
    store.listen(() => this.render());
    this.render();
  }

  private render(): void {
    const { state } = this.store;
    const { totals, coverage, session } = state.report;
    this.element.replaceChildren();
    this.element.setAttribute("data-moment", state.name);
    append(this.element, [
      h(
        "p",
        { class: "answer" },
        h("span", {}, `${sentence(state)} `),
        h("strong", { title: exact(totals.rss_bytes), data: { rss: totals.rss_bytes } }, size(totals.rss_bytes)),
        h("span", {}, ", "),
        h(
          "strong",
          { class: "dirty", title: exact(totals.dirty_bytes), data: { dirty: totals.dirty_bytes } },
          `${size(totals.dirty_bytes)} dirty`,
        ),
        h("span", {}, "."),
      ),
      this.facts(state),
      ...(session.notes ?? []).map((note) => h("p", { class: "note" }, name(note))),
      coverage.probes.some((probe) => !probe.attached)
        ? h(
            "p",
            { class: "note" },
            h("a", { href: "#limits" }, `${count(coverage.probes.filter((p) => !p.attached).length, "probe")} not attached`),
          )
        : null,
    ]);
  }

  private facts(state: State): HTMLElement {
    const { totals, coverage } = state.report;
    const chips: HTMLElement[] = [];
    const chip = (label: string, bytes: number | undefined, title: string): void => {
      if (bytes === undefined) return;
      chips.push(h("span", { class: "fact", title: `${title}: ${exact(bytes)}` }, `${label} `, h("b", {}, size(bytes))));
    };
    for (const other of this.store.states) {
      if (other === state) continue;
      if (other.name !== "peak" && other.name !== "end") continue;
      if (other.name === "peak") chip(`peak (${duration(other.atNs)})`, other.report.totals.rss_bytes, "RSS at the peak");
      else left(other, chip);
    }
    const both = (a?: number, b?: number): number | undefined => (a === undefined || b === undefined ? undefined : a + b);
    chip("private", both(totals.private_clean_bytes, totals.private_dirty_bytes), "Private pages");
    chip("shared", both(totals.shared_clean_bytes, totals.shared_dirty_bytes), "Pages that other processes map too");
    chip("PSS", totals.pss_bytes, "Each page divided by the number of processes that map it");
    if (totals.swap_bytes > 0) chip("swap", totals.swap_bytes, "In swap");
    if (totals.lazyfree_bytes) chip("given up by MADV_FREE", totals.lazyfree_bytes, "Still resident");

    const rest = { rss: 0, dirty: 0, any: false };
    for (const part of state.parts) {
      if (!part.residual) continue;
      rest.rss += part.rss;
      rest.dirty += part.dirty;
      rest.any = true;
    }
    const { events, stacks, snapshots } = coverage.lost;
    const lost = events + stacks + snapshots;
    chips.push(
      h(
        "a",
        {
          class: rest.any ? "fact bad" : "fact good",
          href: "#limits",
          title: `What no call path explains: RSS ${exact(rest.rss)}, Dirty ${exact(rest.dirty)}`,
          data: { unattributed: rest.rss },
        },
        "unattributed ",
        h("b", {}, rest.any ? `RSS ${size(rest.rss)}, Dirty ${size(rest.dirty)}` : "0"),
      ),
      h(
        "a",
        {
          class: lost > 0 ? "fact bad" : "fact good",
          href: "#limits",
          title: `Lost: ${count(events, "event")}, ${count(stacks, "stack")}, ${count(snapshots, "snapshot")}`,
          data: { lost },
        },
        "lost ",
        h("b", {}, String(lost)),
      ),
    );
    return h("p", { class: "facts-row" }, ...chips);
  }
}

/** What can be done, with its evidence. */
export class AdviceList {
  readonly element = h("section", { class: "advice panel", aria: { labelledby: "advice" } });

  constructor(private readonly store: Store) {
    store.listen(() => this.render());
    this.render();
  }

  private render(): void {
    const { advice } = this.store.state.report;
    this.element.replaceChildren(h("h2", { id: "advice" }, "Advice"));
    if (advice.length === 0) {
      this.element.append(h("p", { class: "quiet" }, "No rule found memory that a known change would give back."));
      return;
    }
    for (const found of advice) {
      this.element.append(
        h(
          "article",
          { data: { rule: found.rule, bytes: found.bytes } },
          h("h3", {}, h("span", { class: "bytes", title: exact(found.bytes) }, size(found.bytes)), " ", name(found.remedy)),
          h("p", {}, name(found.evidence)),
          h("p", { class: "quiet" }, "Harmless when ", name(found.harmless_when), "."),
        ),
      );
    }
  }
}
