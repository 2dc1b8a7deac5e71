// Who holds it: one row an owner, with what lies between it and the page, and where the bytes are.

import { fill, h, name } from "./dom";
import { duration, exact, figure, share, size, unitOf, type Unit } from "./format";
import { kindOf, ownerKey, sum, type Bytes, type Measure, type Part, type State, type Store } from "./model";

const FIRST = 8;

interface Row {
  key: string;
  owner: number;
  parts: Part[];
  bytes: Bytes;
  /** What it held before, where moments are compared. */
  before: Bytes;
}

const none = (): Bytes => ({ rss: 0, dirty: 0, touched: 0 });

/** The room that a row deserves. Who dirties what others made resident is no less than those. */
function weight(bytes: Bytes, measure: Measure): number {
  return Math.max(Math.abs(bytes[measure]), measure === "rss" ? Math.abs(bytes.dirty) : 0);
}

export class Owners {
  readonly element = h("section", { class: "owners panel", aria: { labelledby: "owners" } });
  private all = false;

  constructor(private readonly store: Store) {
    store.listen(() => this.render());
    this.render();
  }

  private rows(parts: Part[], measure: Measure): Row[] {
    const rows = new Map<number, Row>();
    const { state } = this.store;
    for (const part of parts) {
      if (part.rss === 0 && part.dirty === 0 && measure !== "touched") continue;
      let row = rows.get(part.owner);
      if (!row) {
        const owner = state.owners[part.owner];
        row = { key: owner ? ownerKey(owner) : "", owner: part.owner, parts: [], bytes: none(), before: none() };
        rows.set(part.owner, row);
      }
      row.parts.push(part);
      row.bytes.rss += part.rss;
      row.bytes.dirty += part.dirty;
      row.bytes.touched += part.touched;
    }
    const rank = (row: Row): number => {
      const owner = state.owners[row.owner];
      return !owner ? 2 : owner.residual ? 1 : owner.background ? 1 : 0;
    };
    return [...rows.values()].sort(
      (a, b) => rank(a) - rank(b) || weight(b.bytes, measure) - weight(a.bytes, measure) || b.bytes.rss - a.bytes.rss,
    );
  }

  /** Says of each row what it held before, and puts what grew most first. What the others held that hold nothing now. */
  private compare(rows: Row[], since: State): { whole: Bytes; gone: Bytes; many: number } {
    const held = new Map<string, Bytes>();
    const all = none();
    const add = (to: Bytes, part: Part): void => {
      to.rss += part.rss;
      to.dirty += part.dirty;
    };
    for (const part of this.store.partsOf(since, "owner")) {
      const owner = since.owners[part.owner];
      const key = owner ? ownerKey(owner) : "";
      const known = held.get(key) ?? none();
      add(known, part);
      held.set(key, known);
      add(all, part);
    }
    for (const row of rows) {
      row.before = held.get(row.key) ?? none();
      held.delete(row.key);
    }
    const grown = (row: Row): number => Math.abs(row.bytes.rss - row.before.rss) + Math.abs(row.bytes.dirty - row.before.dirty);
    rows.sort((a, b) => grown(b) - grown(a));
    const gone = none();
    for (const bytes of held.values()) {
      gone.rss += bytes.rss;
      gone.dirty += bytes.dirty;
    }
    return { whole: all, gone, many: held.size };
  }

  private render(): void {
    const { store } = this;
    const { state, choice } = store;
    const { measure } = choice;
    const parts = store.parts("owner");
    const rows = this.rows(parts, measure).filter((row) => row.bytes[measure] !== 0 || row.bytes.rss !== 0 || row.bytes.dirty !== 0);
    const since = store.since;
    const before = since ? this.compare(rows, since) : null;
    const total = sum(parts);
    const whole = sum(state.parts);
    const unit = unitOf(Math.max(total.rss, total.dirty, measure === "touched" ? total.touched : 0));
    const most = Math.max(...rows.map((row) => Math.max(row.bytes[measure], row.bytes.rss, row.bytes.dirty)), 1);
    const own = rows.filter((row) => state.owners[row.owner]?.background !== true && state.owners[row.owner]?.residual !== true);
    const rest = rows.filter((row) => !own.includes(row));
    const shown = this.all || own.length <= FIRST + 1 ? own : own.slice(0, FIRST);
    const more = own.slice(shown.length);
    const touched = measure === "touched";
    const body = h("tbody", {}, ...shown.map((row) => this.row(row, unit, most, total)));
    if (more.length > 0) {
      const bytes = sum(more.flatMap((row) => row.parts));
      const was = more.reduce((all, row) => ({ ...all, rss: all.rss + row.before.rss, dirty: all.dirty + row.before.dirty }), none());
      body.append(
        h(
          "tr",
          { class: "more" },
          ...figures(bytes, unit, total, most, measure),
          ...(since ? changes(bytes, was, unit) : []),
          h(
            "td",
            {},
            h("button", { type: "button", class: "link", on: { click: () => this.expand() } }, `${more.length} more owners`),
          ),
        ),
      );
    }
    for (const row of rest) body.append(this.row(row, unit, most, total));
    if (before && before.many > 0) {
      body.append(
        h(
          "tr",
          { class: "background" },
          ...figures(none(), unit, total, 0, measure),
          ...changes(none(), before.gone, unit),
          h("td", {}, `${before.many} owners that hold nothing any more`),
        ),
      );
    }
    fill(
      this.element,
      h(
        "h2",
        { id: "owners" },
        "Who holds it ",
        h("small", {}, store.narrowed ? `${size(total.rss)} of ${size(whole.rss)}` : "by owner frame"),
      ),
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
            h("th", { scope: "col", class: "number" }, "Dirty"),
            touched && h("th", { scope: "col", class: "number" }, "Touched"),
            h("th", { scope: "col", class: "number" }, "Share"),
            h("th", { scope: "col", class: "bar-head" }, h("span", { class: "hidden" }, "Bar")),
            since && h("th", { scope: "col", class: "number" }, "ΔRSS"),
            since && h("th", { scope: "col", class: "number" }, "ΔDirty"),
            h("th", { scope: "col" }, "Owner"),
          ),
        ),
        body,
        h(
          "tfoot",
          {},
          h(
            "tr",
            { class: "total" },
            ...figures(total, unit, total, 0, measure),
            ...(before ? changes(total, before.whole, unit) : []),
            h("th", { scope: "row" }, before ? `total, ${size(before.whole.rss)} before` : "total"),
          ),
        ),
      ),
    );
  }

  private expand(): void {
    this.all = true;
    this.render();
  }

  private row(row: Row, unit: Unit, most: number, total: Bytes): HTMLElement {
    const { store } = this;
    const { state, choice } = store;
    const owner = state.owners[row.owner];
    const chosen = choice.owner !== null && choice.owner === row.key;
    const label = owner?.name ?? "freed since, owner holds nothing";
    const choose = (): void => store.toggle("owner", row.key);
    const kind = !owner || owner.background ? "background" : owner.residual ? "residual" : "";
    return h(
      "tr",
      {
        class: `${kind} pick ${chosen ? "chosen" : ""}`,
        data: { owner: label, rss: row.bytes.rss, dirty: row.bytes.dirty },
        on: { click: choose },
      },
      ...figures(row.bytes, unit, total, most, choice.measure),
      ...(store.since ? changes(row.bytes, row.before, unit) : []),
      h(
        "td",
        { class: "who" },
        h(
          "button",
          { type: "button", class: "plain", aria: { pressed: chosen }, on: { click: (event: Event) => (event.stopPropagation(), choose()) } },
          name(label, "owner"),
        ),
        owner?.place ? name(owner.place, "place") : null,
        growth(row.parts),
        owner && !owner.residual ? details(state, row.parts) : null,
      ),
    );
  }
}

/** How fast the call paths of a row grow together. */
function growth(parts: Part[]): HTMLElement | null {
  const seen = new Map<string, number>();
  let since = Number.POSITIVE_INFINITY;
  for (const part of parts) {
    if (!part.growth) continue;
    // The growth of a call path is that of all its segments together.
    seen.set(`${part.process} ${part.stack} ${part.why}`, part.growth.bytes_per_s);
    since = Math.min(since, part.growth.since_ns);
  }
  if (seen.size === 0) return null;
  const speed = [...seen.values()].reduce((a, b) => a + b, 0);
  return h("span", { class: "growing", title: `since ${duration(since)}` }, `growing ${size(speed)}/s`);
}

/** What lies between owner and page, the cause, and where the bytes are. */
function details(state: State, parts: Part[]): HTMLElement {
  const tally = (of: (part: Part) => string): string => {
    const found = new Map<string, number>();
    for (const part of parts) found.set(of(part), (found.get(of(part)) ?? 0) + Math.abs(part.rss) + Math.abs(part.dirty));
    const [first] = [...found].sort((a, b) => b[1] - a[1]);
    return first ? first[0] + (found.size > 1 ? ` +${found.size - 1}` : "") : "";
  };
  const largest = parts.reduce((a, b) => (Math.abs(b.rss) > Math.abs(a.rss) ? b : a));
  const via = largest.stack >= 0 ? (state.via[largest.stack] ?? []).slice(0, 2) : [];
  return h(
    "span",
    { class: "details" },
    via.length > 0 && h("span", {}, "via ", name(via.join(", "))),
    name(tally((part) => part.why), "cause"),
    name(tally((part) => state.places[part.segment]?.name ?? "[freed]")),
  );
}

/** The cells of figures: RSS, Dirty, share, and a bar of both. */
export function figures(bytes: Bytes, unit: Unit, total: Bytes, most: number, measure: Measure): HTMLElement[] {
  const cell = (of: number, extra: string): HTMLElement =>
    h("td", { class: `number ${extra}`, title: exact(of) }, figure(of, unit));
  const cells = [cell(bytes.rss, "rss"), cell(bytes.dirty, bytes.dirty > 0 ? "dirty" : "zero")];
  if (measure === "touched") cells.push(cell(bytes.touched, ""));
  cells.push(h("td", { class: "number share" }, share(bytes[measure], total[measure])));
  cells.push(h("td", { class: "bar-cell" }, most > 0 && bar(bytes, most, measure)));
  return cells;
}

/** The cells of what changed. */
function changes(now: Bytes, before: Bytes, unit: Unit): HTMLElement[] {
  return [now.rss - before.rss, now.dirty - before.dirty].map((by) =>
    h(
      "td",
      { class: `number ${by > 0 ? "delta-up" : by < 0 ? "delta-down" : "zero"}`, title: exact(by), data: { change: by } },
      by > 0 ? `+${figure(by, unit)}` : by < 0 ? `−${figure(-by, unit)}` : "0",
    ),
  );
}

/** RSS as a bar, the dirty part of it strong. */
export function bar(bytes: Bytes, most: number, measure: Measure = "rss"): HTMLElement {
  const width = (of: number): string => `${Math.min(100, Math.max(0, (of / most) * 100)).toFixed(2)}%`;
  return h(
    "span",
    { class: "bar", aria: { hidden: true } },
    measure === "touched" && h("i", { class: "touched", style: { width: width(bytes.touched) } }),
    h("i", { class: "rss", style: { width: width(bytes.rss) } }),
    h("i", { class: "dirty", style: { width: width(bytes.dirty) } }),
  );
}

/** The kinds of memory, each a choice. */
export class Kinds {
  readonly element = h("section", { class: "kinds panel", aria: { labelledby: "kinds" } });

  constructor(private readonly store: Store) {
    store.listen(() => this.render());
    this.render();
  }

  private render(): void {
    const { store } = this;
    const { state, choice } = store;
    const kinds = new Map<string, Part[]>();
    const parts = store.parts("kind");
    for (const part of parts) {
      const place = state.places[part.segment];
      if (!place || (part.rss === 0 && part.dirty === 0)) continue;
      const kind = kindOf(place.segment);
      const known = kinds.get(kind);
      if (known) known.push(part);
      else kinds.set(kind, [part]);
    }
    const rows = [...kinds].map(([kind, of]) => ({ kind, bytes: sum(of) })).sort((a, b) => b.bytes.rss - a.bytes.rss);
    const total = sum(parts);
    const unit = unitOf(Math.max(total.rss, total.dirty));
    const most = Math.max(...rows.map((row) => row.bytes.rss), 1);
    fill(
      this.element,
      h("h2", { id: "kinds" }, "Kinds of memory"),
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
            h("th", { scope: "col", class: "number" }, "Dirty"),
            h("th", { scope: "col", class: "bar-head" }, h("span", { class: "hidden" }, "Bar")),
            h("th", { scope: "col" }, "Kind"),
          ),
        ),
        h(
          "tbody",
          {},
          ...rows.map(({ kind, bytes }) => {
            const choose = (): void => store.toggle("kind", kind);
            const cells = figures(bytes, unit, total, most, "rss");
            cells.splice(2, 1);
            return h(
              "tr",
              {
                class: `pick ${choice.kind === kind ? "chosen" : ""}`,
                data: { kind, rss: bytes.rss, dirty: bytes.dirty },
                on: { click: choose },
              },
              ...cells,
              h(
                "td",
                {},
                h(
                  "button",
                  {
                    type: "button",
                    class: "plain",
                    aria: { pressed: choice.kind === kind },
                    on: { click: (event: Event) => (event.stopPropagation(), choose()) },
                  },
                  h("i", { class: `swatch ${colourOfKind(kind)}` }),
                  name(kind),
                ),
              ),
            );
          }),
        ),
      ),
    );
  }
}

/** The class of colour of a kind, the same in the map and in the timeline. */
export function colourOfKind(kind: string): string {
  if (kind === "heap") return "k-heap";
  if (kind.includes("stack")) return "k-stack";
  if (kind.startsWith("shared") || kind === "memfd") return "k-shared";
  if (kind.startsWith("file") || kind === "relro" || kind === "bss") return "k-file";
  if (kind === "no access" || kind === "vdso" || kind === "device") return "k-none";
  return "k-anonymous";
}
