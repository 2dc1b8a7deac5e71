// The flame graph: call paths as boxes whose widths are bytes, callers above callees.

import { base, clean, fill, h, name } from "./dom";
import { exact, share, size } from "./format";
import { tree, type Node } from "./calltree";
import type { Store } from "./model";

const ROW = 22;
/** Narrower boxes are not drawn; their place stays empty. */
const NARROWEST = 0.8;
const MOST = 6000;

export class Flame {
  readonly element = h("section", { class: "flame panel", aria: { labelledby: "flame" } });
  private readonly canvas = h("div", { class: "boxes", role: "tree", aria: { label: "Call paths as boxes; arrow keys move, Enter zooms, Escape goes back" } });
  private readonly info = h("p", { class: "info", aria: { live: "polite" } });
  private readonly trail = h("p", { class: "trail" });
  private root: Node | null = null;
  private zoom: string[] = [];
  private boxes = new Map<HTMLElement, Node>();
  private width = 0;

  constructor(
    private readonly store: Store,
    controls: HTMLElement[],
  ) {
    this.element.append(
      h("div", { class: "title" }, h("h2", { id: "flame" }, "Flame graph"), ...controls),
      this.trail,
      this.canvas,
      this.info,
    );
    this.canvas.addEventListener("click", (event) => this.pick(event.target));
    this.canvas.addEventListener("mouseover", (event) => this.tell(event.target));
    this.canvas.addEventListener("focusin", (event) => this.tell(event.target));
    this.canvas.addEventListener("mouseleave", () => this.tell(null));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    store.listen(() => this.render());
    new ResizeObserver(() => {
      if (this.canvas.clientWidth !== this.width) this.draw();
    }).observe(this.canvas);
    this.render();
  }

  private weight(node: Node): number {
    return Math.max(0, node.bytes[this.store.choice.measure]);
  }

  private render(): void {
    const { store } = this;
    this.root = tree(store.state, store.parts(), store.choice);
    this.draw();
  }

  /** The node that is zoomed to, or the root where it is no longer there. */
  private top(): Node | null {
    let at = this.root;
    for (const step of this.zoom) {
      const next: Node | undefined = at?.children.find((child) => child.name === step);
      if (!next || this.weight(next) === 0) return at;
      at = next;
    }
    return at;
  }

  private draw(): void {
    this.width = this.canvas.clientWidth || 1000;
    const top = this.top();
    this.boxes.clear();
    if (!top || this.weight(top) === 0) {
      this.canvas.style.setProperty("height", `${2 * ROW}px`);
      fill(this.canvas, h("p", { class: "quiet" }, "Nothing of what is chosen has such bytes."));
      return;
    }
    const found = this.store.found();
    const boxes = document.createDocumentFragment();
    let deepest = 0;
    let many = 0;
    const place = (node: Node, left: number, width: number, depth: number): void => {
      if (width < NARROWEST || many >= MOST) return;
      many++;
      deepest = Math.max(deepest, depth);
      boxes.append(this.box(node, left, width, depth, found));
      const weights = node.children.map((child) => this.weight(child));
      const all = weights.reduce((a, b) => a + b, 0);
      const mine = this.weight(node);
      if (all === 0 || mine === 0) return;
      // Where a residual is negative, the children are more than the node: then they share its width.
      const scale = width / Math.max(all, mine);
      const order = node.children.map((_, at) => at).sort((a, b) => (weights[b] ?? 0) - (weights[a] ?? 0));
      let at = left;
      for (const child of order) {
        const of = (weights[child] ?? 0) * scale;
        place(node.children[child] as Node, at, of, depth + 1);
        at += of;
      }
    };
    place(top, 0, this.width, 0);
    this.canvas.style.setProperty("height", `${(deepest + 1) * ROW}px`);
    fill(this.canvas, boxes);
    this.path(top);
    this.tell(null);
  }

  private box(node: Node, left: number, width: number, depth: number, found: boolean[] | null): HTMLElement {
    const fn = this.store.state.functions[node.fn];
    const label = depth === 0 && node === this.root ? this.all() : node.name;
    const classes = ["box", this.colour(node)];
    if (found) classes.push(node.fn >= 0 && found[node.fn] ? "found" : "unfound");
    const box = h(
      "div",
      {
        class: classes.join(" "),
        role: "treeitem",
        tabindex: depth === 0 ? 0 : -1,
        data: { rss: node.bytes.rss, dirty: node.bytes.dirty, touched: node.bytes.touched, depth },
        aria: { level: depth + 1, label: `${clean(label)}, ${size(node.bytes[this.store.choice.measure])}` },
        style: {
          left: `${left.toFixed(2)}px`,
          top: `${depth * ROW}px`,
          width: `${Math.max(width - 0.6, 0.5).toFixed(2)}px`,
          ...(this.store.choice.colour === "module" ? { "--hue": String(hue(fn?.module ?? node.name)) } : {}),
          ...(this.store.choice.colour === "dirty" ? { "--part": dirtyShare(node) } : {}),
        },
      },
      width > 24 && name(label),
    );
    this.boxes.set(box, node);
    return box;
  }

  private all(): string {
    const { choice } = this.store;
    const what = { rss: "resident", dirty: "dirty", touched: "touched in all" }[choice.measure];
    return `${size(this.root?.bytes[choice.measure] ?? 0)} ${what}`;
  }

  private colour(node: Node): string {
    const { choice, state } = this.store;
    if (node.parent === null) return "c-root";
    if (node.residual) return "c-residual";
    if (choice.colour === "module") return "c-module";
    if (choice.colour === "dirty") return "c-share";
    const fn = state.functions[node.fn];
    return fn ? `c-${fn.class ?? "marker"}` : "c-kernel";
  }

  /** Where the zoom is, each step a way back. */
  private path(top: Node): void {
    const steps: Node[] = [];
    for (let at: Node | null = top; at; at = at.parent) steps.unshift(at);
    if (steps.length < 2) {
      this.trail.replaceChildren();
      return;
    }
    fill(
      this.trail,
      ...steps.flatMap((step, at) => [
        at > 0 ? " › " : null,
        h("button", { type: "button", class: "link", on: { click: () => this.zoomTo(step) } }, name(at === 0 ? "all" : step.name)),
      ]),
    );
  }

  private zoomTo(node: Node): void {
    const steps: string[] = [];
    for (let at: Node | null = node; at?.parent; at = at.parent) steps.unshift(at.name);
    this.zoom = steps;
    this.draw();
    this.canvas.querySelector<HTMLElement>(".box")?.focus({ preventScroll: true });
  }

  private pick(target: EventTarget | null): void {
    const node = this.of(target);
    if (!node) return;
    this.zoomTo(node === this.top() && node.parent ? node.parent : node);
  }

  private of(target: EventTarget | null): Node | null {
    const box = target instanceof Element ? target.closest<HTMLElement>(".box") : null;
    return (box && this.boxes.get(box)) ?? null;
  }

  private tell(target: EventTarget | null): void {
    const node = this.of(target);
    const { measure } = this.store.choice;
    const whole = this.root?.bytes[measure] ?? 0;
    if (!node) {
      const negative = this.negative();
      const hidden = [...this.store.choice.hidden];
      const notes = [
        hidden.length > 0 ? `Frames of ${hidden.join(", ")} are hidden.` : "",
        negative < 0 ? `Negative residuals of ${size(-negative)} are not drawn.` : "",
        "Click a box to zoom.",
      ];
      fill(this.info, notes.join(" "));
      return;
    }
    const fn = this.store.state.functions[node.fn];
    fill(
      this.info,
      name(node === this.root ? "all" : node.name, "strong"),
      fn ? h("span", {}, " in ", name(fn.file ? `${base(fn.file)}, ${base(fn.module)}` : base(fn.module))) : null,
      h(
        "span",
        { title: exact(node.bytes[measure]) },
        `: RSS ${size(node.bytes.rss)}, Dirty ${size(node.bytes.dirty)}, ${share(node.bytes[measure], whole)} of what is chosen`,
        node.own[measure] > 0 && node.children.length > 0 ? `; itself ${size(node.own[measure])}` : "",
      ),
    );
  }

  /** Residuals below nothing, which a width cannot show. */
  private negative(): number {
    const { measure } = this.store.choice;
    const below = (this.root?.children ?? []).map((child) => child.bytes[measure]).filter((of) => of < 0);
    return below.reduce((a, b) => a + b, 0);
  }

  private key(event: KeyboardEvent): void {
    const box = document.activeElement;
    const node = this.of(box);
    if (!node || !(box instanceof HTMLElement)) return;
    const go = (to: Node | null | undefined): void => {
      if (!to) return;
      for (const [element, known] of this.boxes) {
        if (known === to) element.focus({ preventScroll: false });
      }
    };
    const shown = (nodes: Node[]): Node[] => {
      const drawn = new Set(this.boxes.values());
      return nodes.filter((known) => drawn.has(known)).sort((a, b) => this.weight(b) - this.weight(a));
    };
    const beside = shown(node.parent?.children ?? []);
    switch (event.key) {
      case "ArrowDown":
        go(shown(node.children)[0]);
        break;
      case "ArrowUp":
        if (node !== this.top()) go(node.parent);
        break;
      case "ArrowRight":
        go(beside[beside.indexOf(node) + 1]);
        break;
      case "ArrowLeft":
        go(beside[beside.indexOf(node) - 1]);
        break;
      case "Enter":
        this.pick(box);
        break;
      case "Escape": {
        const top = this.top();
        if (!top?.parent) return;
        this.zoomTo(top.parent);
        break;
      }
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}

function hue(text: string): number {
  let hash = 7;
  for (const c of base(text)) hash = (hash * 31 + (c.codePointAt(0) ?? 0)) % 360;
  return hash;
}

function dirtyShare(node: Node): string {
  const part = node.bytes.rss > 0 ? Math.min(1, Math.max(0, node.bytes.dirty / node.bytes.rss)) : 0;
  return `${Math.round(part * 100)}%`;
}
