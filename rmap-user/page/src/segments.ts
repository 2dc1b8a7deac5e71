// The segments: a map of the address space, and the table of `pmap -x` with owner and kind.

import { clean, fill, h, name } from "./dom";
import { duration, exact, figure, size, unitOf } from "./format";
import { kindOf, segmentKey, sum, type Bytes, type Part, type Place, type State, type Store } from "./model";
import { bar, colourOfKind } from "./owners";

const FIRST = 30;

interface Row {
  at: number;
  place: Place;
  key: string;
  bytes: Bytes;
  owner: string;
}

type Sort = "address" | "size" | "rss" | "dirty" | "kind" | "name" | "owner";

export class Segments {
  readonly element = h("section", { class: "segments panel", aria: { labelledby: "segments" } });
  private sort: Sort = "rss";
  private all = false;

  constructor(private readonly store: Store) {
    store.listen(() => this.render());
    this.render();
  }

  private rows(): Row[] {
    const { store } = this;
    const { state, choice } = store;
    const parts = new Map<number, Part[]>();
    for (const part of store.parts("segment")) {
      const known = parts.get(part.segment);
      if (known) known.push(part);
      else parts.set(part.segment, [part]);
    }
    // A search or an owner leaves out what has none of its pages; else every mapping is there.
    const some = choice.search !== "" || choice.owner !== null;
    const rows: Row[] = [];
    state.places.forEach((place, at) => {
      const of = parts.get(at) ?? [];
      if (some && of.length === 0) return;
      if (choice.process !== null && state.processes[place.process]?.pid !== choice.process) return;
      if (choice.kind !== null && kindOf(place.segment) !== choice.kind) return;
      const bytes = some
        ? sum(of)
        : { rss: place.segment.rss_bytes.after, dirty: place.segment.dirty_bytes.after, touched: sum(of).touched };
      rows.push({ at, place, key: segmentKey(state, place), bytes, owner: ownerOf(state, of) });
    });
    return rows;
  }

  private render(): void {
    const { store } = this;
    const { state, choice } = store;
    const rows = this.rows();
    const sorted = [...rows].sort(this.order());
    const shown = this.all || sorted.length <= FIRST + 3 ? sorted : sorted.slice(0, FIRST);
    const total = rows.reduce(
      (all, row) => ({ rss: all.rss + row.bytes.rss, dirty: all.dirty + row.bytes.dirty, touched: 0 }),
      { rss: 0, dirty: 0, touched: 0 },
    );
    const virtual = rows.reduce((all, row) => all + row.place.segment.size_bytes, 0);
    const unit = unitOf(0);
    const most = Math.max(...rows.map((row) => row.bytes.rss), 1);
    const many = state.processes.length > 1 && choice.process === null;
    const chosen = rows.find((row) => row.key === choice.segment);
    const head = (sort: Sort, text: string, extra = ""): HTMLElement =>
      h(
        "th",
        { scope: "col", class: extra, aria: this.sort === sort ? { sort: sort === "address" || sort === "name" ? "ascending" : "descending" } : {} },
        h("button", { type: "button", class: "sort", on: { click: () => ((this.sort = sort), this.render()) } }, text),
      );
    fill(
      this.element,
      h("h2", { id: "segments" }, "Segments ", h("small", {}, `${rows.length}, in KiB as pmap -x has them`)),
      this.map(rows),
      chosen && this.details(chosen),
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
              many && h("th", { scope: "col", class: "number" }, "PID"),
              head("address", "Address"),
              head("size", "Kbytes", "number"),
              head("rss", "RSS", "number"),
              head("dirty", "Dirty", "number"),
              h("th", { scope: "col" }, "Mode"),
              h("th", { scope: "col", class: "bar-head" }, h("span", { class: "hidden" }, "Bar")),
              head("kind", "Kind"),
              head("name", "Mapping"),
              head("owner", "Owner of most"),
            ),
          ),
          h(
            "tbody",
            {},
            ...shown.map((row) => this.row(row, most, many)),
            sorted.length > shown.length &&
              h(
                "tr",
                { class: "more" },
                h(
                  "td",
                  { colspan: many ? 10 : 9 },
                  h(
                    "button",
                    { type: "button", class: "link", on: { click: () => ((this.all = true), this.render()) } },
                    `${sorted.length - shown.length} more segments: RSS ${size(
                      sorted.slice(shown.length).reduce((bytes, row) => bytes + row.bytes.rss, 0),
                    )}`,
                  ),
                ),
              ),
          ),
          h(
            "tfoot",
            {},
            h(
              "tr",
              { class: "total" },
              many && h("td", {}),
              h("th", { scope: "row" }, "total kB"),
              h("td", { class: "number", title: exact(virtual) }, figure(virtual, unit)),
              h("td", { class: "number", title: exact(total.rss), data: { rss: total.rss } }, figure(total.rss, unit)),
              h("td", { class: "number", title: exact(total.dirty), data: { dirty: total.dirty } }, figure(total.dirty, unit)),
              h("td", { colspan: 5 }),
            ),
          ),
        ),
      ),
    );
  }

  private order(): (a: Row, b: Row) => number {
    const address = (a: Row, b: Row): number => {
      const [x, y] = [BigInt(a.place.segment.start), BigInt(b.place.segment.start)];
      return a.place.process - b.place.process || (x < y ? -1 : x > y ? 1 : 0);
    };
    const text = (of: (row: Row) => string) => (a: Row, b: Row) => of(a).localeCompare(of(b)) || b.bytes.rss - a.bytes.rss;
    switch (this.sort) {
      case "address":
        return address;
      case "size":
        return (a, b) => b.place.segment.size_bytes - a.place.segment.size_bytes;
      case "rss":
        return (a, b) => b.bytes.rss - a.bytes.rss || b.bytes.dirty - a.bytes.dirty || address(a, b);
      case "dirty":
        return (a, b) => b.bytes.dirty - a.bytes.dirty || b.bytes.rss - a.bytes.rss;
      case "kind":
        return text((row) => kindOf(row.place.segment));
      case "name":
        return text((row) => row.place.name);
      case "owner":
        return text((row) => row.owner || "\uffff");
    }
  }

  private row(row: Row, most: number, many: boolean): HTMLElement {
    const { store } = this;
    const { segment, process } = row.place;
    const kib = unitOf(0);
    const number = (bytes: number, extra = ""): HTMLElement =>
      h("td", { class: `number ${extra}`, title: exact(bytes) }, figure(bytes, kib));
    const choose = (): void => store.toggle("segment", row.key);
    const chosen = store.choice.segment === row.key;
    const kind = kindOf(segment);
    return h(
      "tr",
      {
        class: `pick ${chosen ? "chosen" : ""}`,
        data: { start: segment.start, rss: row.bytes.rss, dirty: row.bytes.dirty },
        on: { click: choose },
      },
      many && h("td", { class: "number quiet" }, store.state.processes[process]?.pid ?? ""),
      h(
        "td",
        { class: "address" },
        h(
          "button",
          {
            type: "button",
            class: "plain",
            aria: { pressed: chosen },
            on: { click: (event: Event) => (event.stopPropagation(), choose()) },
          },
          clean(segment.start.replace(/^0x/, "").padStart(12, "0")),
        ),
      ),
      number(segment.size_bytes, "quiet"),
      number(row.bytes.rss),
      number(row.bytes.dirty, row.bytes.dirty > 0 ? "dirty" : "zero"),
      h("td", { class: "mode" }, clean(segment.perms)),
      h("td", { class: "bar-cell" }, bar(row.bytes, most)),
      h("td", { class: "kind" }, h("i", { class: `swatch ${colourOfKind(kind)}` }), name(segment.inferred ? `${kind}?` : kind)),
      h(
        "td",
        { class: "mapping", title: clean(segment.name) },
        name(row.place.name),
        segment.pattern ? h("span", { class: "pattern" }, clean(segment.pattern)) : null,
      ),
      h("td", { class: "owner-cell" }, row.owner ? name(row.owner) : null),
    );
  }

  /** The address space from low to high addresses: each segment a box that fills up. */
  private map(rows: Row[]): HTMLElement | null {
    const { store } = this;
    const { state, choice } = store;
    const weights = new Map<number, number>();
    for (const row of rows) weights.set(row.place.process, (weights.get(row.place.process) ?? 0) + row.bytes.rss);
    const [largest] = [...weights].sort((a, b) => b[1] - a[1]);
    if (!largest) return null;
    const process = state.processes[largest[0]];
    const own = rows.filter((row) => row.place.process === largest[0]);
    own.sort((a, b) => (BigInt(a.place.segment.start) < BigInt(b.place.segment.start) ? -1 : 1));
    const boxes: HTMLElement[] = [];
    let before: bigint | null = null;
    for (const row of own.slice(0, 3000)) {
      const { segment } = row.place;
      const start = BigInt(segment.start);
      if (before !== null && start - before > 1n << 20n) {
        const gap = Number(start - before);
        boxes.push(h("span", { class: "gap", title: `nothing mapped: ${size(gap)}` }, "⋯"));
      }
      before = BigInt(segment.end);
      boxes.push(this.mapBox(row, choice.segment === row.key));
    }
    const many = state.processes.length > 1;
    return h(
      "figure",
      { class: "map" },
      h(
        "figcaption",
        {},
        many && process ? `Addresses of ${process.pid}, low to high. ` : "Addresses, low to high. ",
        "Width: size (by its logarithm); filled: resident, red: dirty.",
      ),
      h("div", { class: "map-boxes" }, ...boxes),
    );
  }

  private mapBox(row: Row, chosen: boolean): HTMLElement {
    const { segment } = row.place;
    const pages = Math.max(1, segment.size_bytes / 4096);
    const width = Math.round(5 + 7 * Math.log2(pages));
    const part = (bytes: number): string =>
      segment.size_bytes > 0 ? `${Math.min(100, Math.max(bytes > 0 ? 8 : 0, (bytes / segment.size_bytes) * 100)).toFixed(1)}%` : "0";
    const kind = kindOf(segment);
    return h(
      "button",
      {
        type: "button",
        class: `map-box ${chosen ? "chosen" : ""}`,
        style: { width: `${width}px` },
        title: `${clean(segment.start)} ${clean(segment.perms)} ${clean(row.place.name)}\n${size(segment.size_bytes)}, RSS ${size(
          row.bytes.rss,
        )}, Dirty ${size(row.bytes.dirty)}${row.owner ? `\n${clean(row.owner)}` : ""}`,
        aria: { label: `${clean(row.place.name)}, ${kind}, RSS ${size(row.bytes.rss)}, Dirty ${size(row.bytes.dirty)}` },
        on: { click: () => this.store.toggle("segment", row.key) },
      },
      h("i", { class: `fill ${colourOfKind(kind)}`, style: { height: part(row.bytes.rss) } }),
      h("i", { class: "fill dirty-fill", style: { height: part(Math.min(row.bytes.dirty, row.bytes.rss)) } }),
      width > 62 && h("span", {}, clean(row.place.name)),
    );
  }

  /** What else is known of the chosen segment. */
  private details(row: Row): HTMLElement {
    const { state } = this.store;
    const { segment } = row.place;
    const facts: [string, string][] = [
      ["range", `${segment.start} – ${segment.end}`],
      ["name", segment.name || "none"],
    ];
    const by = segment.mapped_by;
    if (by) {
      const chain = state.functionsOf(by.stack).map((fn) => fn.name);
      facts.push(["mapped by", `${by.call}${chain.length ? ` in ${chain.slice(0, 8).join(" ← ")}` : ""}, after ${duration(by.at_ns)}`]);
    }
    const add = (label: string, bytes: number | undefined): void => {
      if (bytes !== undefined && bytes > 0) facts.push([label, size(bytes)]);
    };
    add("size", segment.size_bytes);
    add("PSS", segment.pss_bytes);
    add("private dirty", segment.private_dirty_bytes);
    add("private clean", segment.private_clean_bytes);
    add("shared dirty", segment.shared_dirty_bytes);
    add("shared clean", segment.shared_clean_bytes);
    add("anonymous", segment.anonymous_bytes);
    add("in huge pages", segment.anonhuge_bytes);
    add("given up by MADV_FREE", segment.lazyfree_bytes);
    add("locked", segment.locked_bytes);
    add("in swap", segment.swap_bytes.after);
    if (segment.vm_flags) facts.push(["flags", segment.vm_flags]);
    if (segment.inode) facts.push(["file", `${segment.device}, inode ${segment.inode}, offset ${segment.offset}`]);
    for (const rest of segment.unexplained) {
      facts.push([`unattributed: ${rest.reason}`, `RSS ${size(rest.rss_bytes)}, Dirty ${size(rest.dirty_bytes)}`]);
    }
    return h(
      "dl",
      { class: "details-list", aria: { label: "The chosen segment" } },
      ...facts.map(([label, text]) => h("div", {}, h("dt", {}, name(label)), h("dd", {}, name(text)))),
    );
  }
}

/** The owner that holds most of some parts, and how many others there are. */
function ownerOf(state: State, parts: Part[]): string {
  const held = new Map<number, number>();
  for (const part of parts) {
    const weight = Math.abs(part.rss) + Math.abs(part.dirty);
    if (weight > 0) held.set(part.owner, (held.get(part.owner) ?? 0) + weight);
  }
  const [first] = [...held].sort((a, b) => b[1] - a[1]);
  if (!first) return "";
  const owner = state.owners[first[0]];
  return `${owner?.name ?? ""}${held.size > 1 ? ` +${held.size - 1}` : ""}`;
}

