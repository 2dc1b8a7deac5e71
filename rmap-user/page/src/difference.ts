// Two reports: what grew and what shrank, by call path and by segment. Red: more in the second one.

import { base, clean, fill, h, name } from "./dom";
import { exact, figure, share, size, unitOf, type Unit } from "./format";
import type { Change, Difference, Sizes } from "./report";

const FIRST = 20;
const ROW = 22;

interface Node {
  name: string;
  /** Σ of what grew and of what shrank below it: a change of 0 may be much of both. */
  up: number;
  down: number;
  children: Map<string, Node>;
}

type Measure = "rss_bytes" | "dirty_bytes";

const change = (sizes: Sizes): number => sizes.b - sizes.a;

function signed(bytes: number): string {
  return bytes > 0 ? `+${size(bytes)}` : bytes < 0 ? `−${size(-bytes)}` : "0";
}

/** The elements of the page. */
export function differencePage(difference: Difference, names: [string, string], buttons: HTMLElement[]): HTMLElement[] {
  const [a, b] = names;
  document.title = `rmap diff: ${clean(base(a))} → ${clean(base(b))}`;
  const whole = (what: string, sizes: Sizes): HTMLElement =>
    h(
      "span",
      {},
      `${what} `,
      h("strong", { class: tone(change(sizes)), title: exact(change(sizes)), data: { change: change(sizes) } }, signed(change(sizes))),
      h("small", { class: "quiet" }, ` (${size(sizes.a)} → ${size(sizes.b)}${Math.abs(change(sizes)) <= 10 * sizes.a ? `, ${share(Math.abs(change(sizes)), sizes.a)}` : ""})`),
    );
  const flame = new DifferenceFlame(difference);
  return [
    h(
      "header",
      { class: "head" },
      h("span", { class: "brand", aria: { hidden: true } }, "rmap"),
      h("h1", {}, "diff ", name(a), " → ", name(b)),
      h("span", { class: "facts" }),
      h("span", { class: "buttons" }, ...buttons),
    ),
    h(
      "main",
      {},
      h(
        "section",
        { class: "verdict", aria: { label: "Answer" } },
        h("p", { class: "answer" }, whole("RSS", difference.rss_bytes), ", ", whole("Dirty", difference.dirty_bytes)),
      ),
      rows("Call paths", "the innermost function first", difference.paths),
      flame.element,
      rows("Segments", "matched by name, permissions and who mapped them", difference.segments),
    ),
  ];
}

function tone(bytes: number): string {
  return bytes > 0 ? "delta-up" : bytes < 0 ? "delta-down" : "";
}

function rows(title: string, note: string, changes: Change[]): HTMLElement {
  const section = h("section", { class: "panel" });
  const largest = Math.max(...changes.map((row) => Math.max(Math.abs(change(row.rss_bytes)), Math.abs(change(row.dirty_bytes)))), 0);
  const unit = unitOf(largest);
  let all = false;
  const draw = (): void => {
    const shown = all ? changes : changes.slice(0, FIRST);
    fill(
      section,
      h("h2", {}, `${title} `, h("small", {}, changes.length === 0 ? "no difference" : note)),
      changes.length > 0 &&
        h(
          "div",
          { class: "scroll" },
          h(
            "table",
            { class: "rows" },
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                ...["ΔRSS", "ΔDirty", "RSS before", "RSS after"].map((head) =>
                  h("th", { scope: "col", class: "number" }, head, " ", h("small", {}, unit.name)),
                ),
                h("th", { scope: "col" }, title === "Segments" ? "Segment" : "Call path"),
              ),
            ),
            h("tbody", {}, ...shown.map((row) => line(row, unit))),
          ),
        ),
      changes.length > shown.length &&
        h("button", { type: "button", class: "link", on: { click: () => ((all = true), draw()) } }, `${changes.length - shown.length} more`),
    );
  };
  draw();
  return section;
}

function line(row: Change, unit: Unit): HTMLElement {
  const delta = (bytes: number): HTMLElement =>
    h(
      "td",
      { class: `number ${tone(bytes)}`, title: exact(bytes), data: { change: bytes } },
      bytes > 0 ? `+${figure(bytes, unit)}` : bytes < 0 ? `−${figure(-bytes, unit)}` : "0",
    );
  const plain = (bytes: number): HTMLElement => h("td", { class: "number quiet", title: exact(bytes) }, figure(bytes, unit));
  const chain = row.names.slice(0, 7);
  return h(
    "tr",
    {},
    delta(change(row.rss_bytes)),
    delta(change(row.dirty_bytes)),
    plain(row.rss_bytes.a),
    plain(row.rss_bytes.b),
    h(
      "td",
      { class: "chain", title: clean(row.names.join(" ← ")) },
      ...chain.flatMap((of, at) => [at > 0 ? " ← " : null, name(of.startsWith("/") ? base(of) : of)]),
      row.names.length > chain.length ? " ← …" : null,
      h("span", { class: "details" }, name(row.kind), " in ", name(base(row.program)), row.mapped_by.length > 0 ? h("span", {}, ", by ", name(row.mapped_by.slice(0, 3).join(" ← "))) : null),
    ),
  );
}

/** Boxes as wide as what changed; red grew, blue shrank, pale is both. */
class DifferenceFlame {
  readonly element = h("section", { class: "flame panel" });
  private readonly canvas = h("div", { class: "boxes" });
  private readonly info = h("p", { class: "info", aria: { live: "polite" } });
  private readonly boxes = new Map<Element, Node>();
  private zoom: Node | null = null;
  private measure: Measure = "rss_bytes";

  constructor(private readonly difference: Difference) {
    const pick = h("span", { class: "segmented", role: "group", aria: { label: "Size" } });
    const buttons = (["rss_bytes", "dirty_bytes"] as const).map((measure) => {
      const button = h("button", { type: "button", aria: { pressed: measure === this.measure } }, measure === "rss_bytes" ? "Resident" : "Dirty");
      button.addEventListener("click", () => {
        this.measure = measure;
        this.zoom = null;
        for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
        this.draw();
      });
      return button;
    });
    pick.append(...buttons);
    this.element.append(
      h("div", { class: "title" }, h("h2", {}, "Flame graph of the change ", h("small", {}, "red: more, blue: less")), pick),
      this.canvas,
      this.info,
    );
    const of = (event: Event): Node | undefined => {
      const box = event.target instanceof Element ? event.target.closest(".box") : null;
      return box ? this.boxes.get(box) : undefined;
    };
    this.canvas.addEventListener("click", (event) => {
      const node = of(event);
      if (!node) return;
      this.zoom = this.zoom === node ? null : node;
      this.draw();
    });
    this.canvas.addEventListener("mouseover", (event) => this.tell(of(event)));
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  private tree(): Node {
    const root: Node = { name: "all", up: 0, down: 0, children: new Map() };
    for (const row of this.difference.paths) {
      const bytes = change(row[this.measure]);
      if (bytes === 0) continue;
      let at = root;
      const add = (): void => {
        if (bytes > 0) at.up += bytes;
        else at.down -= bytes;
      };
      add();
      for (const step of [...row.names].reverse().concat(`[${row.kind}]`)) {
        let next = at.children.get(step);
        if (!next) {
          next = { name: step, up: 0, down: 0, children: new Map() };
          at.children.set(step, next);
        }
        at = next;
        add();
      }
    }
    return root;
  }

  private draw(): void {
    const width = this.canvas.clientWidth;
    if (width === 0) return;
    const top = this.zoom ?? this.tree();
    this.boxes.clear();
    fill(this.canvas);
    let deepest = 0;
    const place = (node: Node, left: number, room: number, depth: number): void => {
      if (room < 0.8) return;
      deepest = Math.max(deepest, depth);
      const all = node.up + node.down;
      const part = all > 0 ? Math.round(20 + (Math.abs(node.up - node.down) / all) * 80) : 0;
      const box = h(
        "div",
        {
          class: `box ${depth === 0 ? "c-root" : node.up >= node.down ? "c-up" : "c-down"}`,
          tabindex: depth === 0 ? 0 : -1,
          data: { change: node.up - node.down },
          style: {
            left: `${left.toFixed(2)}px`,
            top: `${depth * ROW}px`,
            width: `${Math.max(room - 0.6, 0.5).toFixed(2)}px`,
            "--part": `${part}%`,
          },
        },
        room > 24 && name(depth === 0 && !this.zoom ? `${signed(node.up - node.down)} in all` : node.name),
      );
      this.boxes.set(box, node);
      this.canvas.append(box);
      let at = left;
      for (const child of [...node.children.values()].sort((x, y) => y.up + y.down - x.up - x.down)) {
        const of = all > 0 ? ((child.up + child.down) / all) * room : 0;
        place(child, at, of, depth + 1);
        at += of;
      }
    };
    if (top.up + top.down > 0) place(top, 0, width, 0);
    else fill(this.canvas, h("p", { class: "quiet" }, "Nothing differs."));
    this.canvas.style.setProperty("height", `${(deepest + 1) * ROW}px`);
    this.tell(undefined);
  }

  private tell(node: Node | undefined): void {
    if (!node) {
      fill(this.info, this.zoom ? "Click the topmost box to go back." : "Click a box to zoom.");
      return;
    }
    fill(this.info, name(node.name, "strong"), `: ${signed(node.up - node.down)} (+${size(node.up)}, −${size(node.down)})`);
  }
}
