// Call paths as a table that folds: the same tree as the flame graph, for keyboards and screen readers.

import { base, fill, h, name } from "./dom";
import { tree, sorted, type Node } from "./calltree";
import { unitOf } from "./format";
import { sum, type Store } from "./model";
import { figures } from "./owners";

/** Rows that are open at first, down to this share of the whole. */
const OPEN_SHARE = 0.1;
const CHILDREN = 40;

export class TreeTable {
  readonly element = h("section", { class: "tree panel", aria: { labelledby: "tree" } });
  private readonly open = new Map<string, boolean>();
  private readonly full = new Set<string>();
  private root: Node | null = null;

  constructor(private readonly store: Store) {
    store.listen(() => this.render());
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.render();
  }

  private render(): void {
    const { store } = this;
    this.root = tree(store.state, store.parts(), store.choice);
    this.draw(null);
  }

  private draw(focus: string | null): void {
    const { store, root } = this;
    if (!root) return;
    const { choice } = store;
    const total = sum(store.parts());
    const unit = unitOf(Math.max(total.rss, total.dirty, choice.measure === "touched" ? total.touched : 0));
    const most = Math.max(total[choice.measure], total.rss, 1);
    const rows: HTMLElement[] = [];
    const found = store.found();
    const list = (node: Node, key: string, depth: number): void => {
      const children = sorted(node, (bytes) => bytes[choice.measure]).filter(
        (child) => child.bytes[choice.measure] !== 0 || child.bytes.rss !== 0 || child.bytes.dirty !== 0,
      );
      const shown = this.full.has(key) ? children : children.slice(0, CHILDREN);
      for (const child of shown) {
        const path = `${key}\u0000${child.name}`;
        const heavy = Math.abs(child.bytes[choice.measure]) >= most * OPEN_SHARE;
        const leaf = child.children.length === 0;
        const open = !leaf && (this.open.get(path) ?? heavy);
        const fn = store.state.functions[child.fn];
        rows.push(
          h(
            "tr",
            {
              class: `${child.residual ? "residual" : ""} ${found && child.fn >= 0 && found[child.fn] ? "found" : ""}`,
              role: "row",
              aria: { level: depth, ...(leaf ? {} : { expanded: open }) },
              data: { rss: child.bytes.rss, dirty: child.bytes.dirty },
            },
            ...figures(child.bytes, unit, total, most, choice.measure),
            h(
              "td",
              { class: "node", style: { "padding-left": `${Math.min(depth, 40) * 0.9}em` } },
              h(
                "button",
                {
                  type: "button",
                  class: "plain fold",
                  disabled: leaf,
                  data: { path },
                  aria: leaf ? {} : { expanded: open },
                  on: { click: () => this.toggle(path, open) },
                },
                h("span", { class: "arrow", aria: { hidden: true } }, leaf ? "·" : open ? "▾" : "▸"),
                name(child.name, fn ? `f-${fn.class ?? "marker"}` : ""),
              ),
              fn && name(fn.file ? base(fn.file) : base(fn.module), "place"),
            ),
          ),
        );
        if (open) list(child, path, depth + 1);
      }
      if (shown.length < children.length) {
        rows.push(
          h(
            "tr",
            { class: "more" },
            h("td", { colspan: choice.measure === "touched" ? 5 : 4 }),
            h(
              "td",
              { style: { "padding-left": `${depth * 0.9}em` } },
              h(
                "button",
                { type: "button", class: "link", on: { click: () => (this.full.add(key), this.draw(null)) } },
                `${children.length - shown.length} more`,
              ),
            ),
          ),
        );
      }
    };
    list(root, "", 1);
    fill(
      this.element,
      h("h2", { id: "tree" }, "Call tree ", h("small", {}, choice.reverse ? "callees above callers" : "callers above callees")),
      h(
        "table",
        { class: "rows treegrid", role: "treegrid", aria: { label: "Call tree" } },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col", class: "number" }, "RSS ", h("small", {}, unit.name)),
            h("th", { scope: "col", class: "number" }, "Dirty"),
            choice.measure === "touched" && h("th", { scope: "col", class: "number" }, "Touched"),
            h("th", { scope: "col", class: "number" }, "Share"),
            h("th", { scope: "col", class: "bar-head" }, h("span", { class: "hidden" }, "Bar")),
            h("th", { scope: "col" }, "Function"),
          ),
        ),
        h("tbody", {}, ...rows),
      ),
    );
    if (focus !== null) {
      for (const button of this.element.querySelectorAll<HTMLElement>("button.fold")) {
        if (button.getAttribute("data-path") === focus) button.focus({ preventScroll: true });
      }
    }
  }

  private toggle(path: string, open: boolean): void {
    this.open.set(path, !open);
    this.draw(path);
  }

  private key(event: KeyboardEvent): void {
    const button = document.activeElement;
    const path = button?.getAttribute("data-path");
    if (!(button instanceof HTMLElement) || path === null || path === undefined) return;
    const buttons = [...this.element.querySelectorAll<HTMLElement>("button.fold:not(:disabled)")];
    const at = buttons.indexOf(button);
    const open = button.getAttribute("aria-expanded") === "true";
    if (event.key === "ArrowDown") buttons[at + 1]?.focus();
    else if (event.key === "ArrowUp") buttons[at - 1]?.focus();
    else if (event.key === "ArrowRight" && !open) this.toggle(path, false);
    else if (event.key === "ArrowLeft" && open) this.toggle(path, true);
    else return;
    event.preventDefault();
  }
}
