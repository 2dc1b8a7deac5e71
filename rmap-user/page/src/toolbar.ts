// What is chosen: the moment, the size, the process, the search, and the chips of the rest.

import { clean, fill, h, name } from "./dom";
import { duration, size } from "./format";
import type { Choice, Measure, Store } from "./model";

const MEASURES: [Measure, string, string][] = [
  ["rss", "Resident", "Bytes that are resident (r)"],
  ["dirty", "Dirty", "Bytes that are dirty (d)"],
  ["touched", "Touched", "Bytes that were made resident or dirty, freed ones included (t)"],
];

export const CLASSES = ["application", "runtime", "interpreter", "allocator", "string", "syscall", "loader", "start-up"];

/** Buttons of which one is pressed. */
function segmented<T>(
  label: string,
  options: { value: T; text: string; title?: string }[],
  chosen: T,
  choose: (value: T) => void,
): HTMLElement {
  return h(
    "span",
    { class: "segmented", role: "group", aria: { label } },
    ...options.map((option) =>
      h(
        "button",
        {
          type: "button",
          title: option.title,
          aria: { pressed: option.value === chosen },
          on: { click: () => choose(option.value) },
        },
        option.text,
      ),
    ),
  );
}

export class Toolbar {
  readonly element = h("nav", { class: "toolbar", aria: { label: "What is shown" } });
  readonly search: HTMLInputElement;
  private readonly start = h("span", { class: "controls" });
  private readonly chips = h("span", { class: "chips" });
  private timer = 0;

  constructor(
    private readonly store: Store,
    private readonly copied: (text: string) => void,
  ) {
    this.search = h("input", {
      type: "search",
      placeholder: "Search: functions, files, segments",
      title: "A regular expression (/)",
      aria: { label: "Search by a regular expression" },
    });
    this.search.spellcheck = false;
    this.search.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = window.setTimeout(() => store.set({ search: this.search.value }), 120);
    });
    this.element.append(
      this.start,
      this.search,
      this.chips,
      h("button", { type: "button", class: "copy", title: "The rmap command that shows the same", on: { click: () => this.copy() } }, "Copy command"),
    );
    store.listen(() => this.render());
    this.render();
  }

  private render(): void {
    const { store } = this;
    const { choice, states } = store;
    const focused = this.start.contains(document.activeElement)
      ? [...this.start.querySelectorAll("button, select")].indexOf(document.activeElement as Element)
      : -1;
    fill(
      this.start,
      states.length > 1 && this.moment(),
      states.length > 1 && this.since(),
      segmented(
        "Size",
        MEASURES.map(([value, text, title]) => ({ value, text, title })),
        choice.measure,
        (measure) => store.set({ measure }),
      ),
      store.state.processes.length > 1 && this.process(),
    );
    const again = this.start.querySelectorAll<HTMLElement>("button, select")[focused];
    again?.focus();
    if (this.search.value !== choice.search && document.activeElement !== this.search) this.search.value = choice.search;
    this.chips.replaceChildren();
    const chip = (label: string, text: string, change: Partial<Choice>): void => {
      this.chips.append(
        h(
          "button",
          { type: "button", class: "chip", title: `Let go of this ${label}`, on: { click: () => store.set(change) } },
          h("span", { class: "quiet" }, `${label} `),
          name(text),
          h("span", { class: "close", aria: { hidden: true } }, "×"),
        ),
      );
    };
    if (choice.owner !== null) chip("owner", choice.owner.split("\n")[0] ?? "", { owner: null });
    if (choice.kind !== null) chip("kind", choice.kind, { kind: null });
    if (choice.segment !== null) chip("segment", choice.segment.split(" ")[1] ?? "", { segment: null });
    if (choice.process !== null) chip("process", String(choice.process), { process: null });
  }

  /** The peak, the end, or any other moment that the page has a report of. */
  private moment(): HTMLElement {
    const { store } = this;
    const { states, choice } = store;
    if (states.length <= 3) {
      return segmented(
        "Moment",
        store.inTime().map((value) => ({
          value,
          text: momentName(store, value),
          title: "The moment that everything below is of (m)",
        })),
        choice.state,
        (state) => store.set({ state }),
      );
    }
    const step = (by: number): void => {
      const order = store.inTime();
      const next = order[order.indexOf(store.choice.state) + by];
      if (next !== undefined) store.set({ state: next });
    };
    const select = this.moments("Moment", choice.state, null);
    select.addEventListener("change", () => store.set({ state: Number(select.value) }));
    return h(
      "span",
      { class: "stepper" },
      h("button", { type: "button", title: "The moment before", aria: { label: "The moment before" }, on: { click: () => step(-1) } }, "‹"),
      select,
      h("button", { type: "button", title: "The next moment (m)", aria: { label: "The next moment" }, on: { click: () => step(1) } }, "›"),
    );
  }

  /** The moment that changes are counted from. */
  private since(): HTMLElement {
    const { store } = this;
    const select = this.moments("Compare with", store.since ? store.choice.since : null, "change since …");
    select.addEventListener("change", () => store.set({ since: select.value === "" ? null : Number(select.value) }));
    return select;
  }

  private moments(label: string, chosen: number | null, none: string | null): HTMLSelectElement {
    const { store } = this;
    return h(
      "select",
      { aria: { label }, title: none === null ? "The moment that everything below is of" : "Owners: what changed since that moment" },
      none !== null && h("option", { value: "", selected: chosen === null }, none),
      ...store
        .inTime()
        .filter((at) => none === null || at !== store.choice.state)
        .map((at) =>
          h(
            "option",
            { value: String(at), selected: at === chosen },
            `${none === null ? "" : "since "}${momentName(store, at)}, ${size(store.states[at]?.report.totals.rss_bytes ?? 0)}`,
          ),
        ),
    );
  }

  private process(): HTMLElement {
    const { store } = this;
    const { state, choice } = store;
    const sorted = [...state.processes].sort((a, b) => b.rss_bytes.after - a.rss_bytes.after).slice(0, 500);
    const select = h(
      "select",
      { aria: { label: "Process" } },
      h("option", { value: "", selected: choice.process === null }, `All ${state.processes.length} processes`),
      ...sorted.map((process) =>
        h(
          "option",
          { value: String(process.pid), selected: process.pid === choice.process },
          `${process.pid} ${clean(process.command).slice(0, 40)}, ${size(process.rss_bytes.after)}`,
        ),
      ),
    );
    select.addEventListener("change", () => store.set({ process: select.value === "" ? null : Number(select.value) }));
    return select;
  }

  private copy(): void {
    const text = command(this.store);
    this.copied(text);
  }
}

/** What a moment is called. */
export function momentName(store: Store, at: number): string {
  const state = store.states[at];
  if (!state) return "";
  const when = duration(state.atNs);
  return state.name === "peak" ? `Peak ${when}` : state.name === "end" ? "End" : when;
}

/** The command that shows the same. */
export function command(store: Store): string {
  const { choice, state, source } = store;
  const words = ["rmap", "report", source ?? "FILE"];
  if (state.name === "peak") words.push("--at", "peak");
  else if (state.name !== "end") words.push("--at", String(state.atNs / 1e9));
  else if (store.states.length > 1) words.push("--at", "end");
  if (choice.process !== null) words.push("--process", String(choice.process));
  if (choice.segment !== null) words.push("--segment", choice.segment.split(" ")[1] ?? "");
  if (choice.owner !== null || choice.search !== "" || choice.measure === "touched") words.push("--tree");
  if (choice.reverse) words.push("--reverse");
  if (choice.measure === "dirty") words.push("--sort", "dirty");
  return words.map(quoted).join(" ");
}

/** A word as a shell takes it; what could be a control character is left out. */
function quoted(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  // biome-ignore lint: controls are what is looked for.
  return `'${word.replace(/[\u0000-\u001f\u007f-\u009f]/g, "?").replaceAll("'", "'\\''")}'`;
}

/** Of the flame graph and the tree: direction, colours, classes of frames. */
export function treeControls(store: Store): HTMLElement[] {
  const direction = h("span", {});
  const colours = h("span", {});
  const classes = h("details", { class: "menu" });
  const render = (): void => {
    const { choice } = store;
    fill(
      direction,
      segmented(
        "Direction",
        [
          { value: false, text: "From root", title: "Callers above callees" },
          { value: true, text: "From leaf", title: "What touched the pages first (v)" },
        ],
        choice.reverse,
        (reverse) => store.set({ reverse }),
      ),
    );
    fill(
      colours,
      segmented(
        "Colour",
        [
          { value: "class" as const, text: "Class", title: "Colour by the class of the frame" },
          { value: "module" as const, text: "Module", title: "Colour by the file of the code" },
          { value: "dirty" as const, text: "Dirty", title: "Colour by the dirty share" },
        ],
        choice.colour,
        (colour) => store.set({ colour }),
      ),
    );
    const used = new Set(store.state.functions.map((fn) => fn.class));
    const open = classes.open;
    fill(
      classes,
      h("summary", {}, `Frames${choice.hidden.size > 0 ? ` (${choice.hidden.size} classes hidden)` : ""}`),
      h(
        "div",
        { class: "menu-body" },
        ...CLASSES.filter((name) => used.has(name)).map((name) => {
          const box = h("input", { type: "checkbox", checked: !choice.hidden.has(name) });
          box.addEventListener("change", () => {
            const hidden = new Set(store.choice.hidden);
            if (box.checked) hidden.delete(name);
            else hidden.add(name);
            store.set({ hidden });
          });
          return h("label", {}, box, h("i", { class: `swatch c-${name}` }), name);
        }),
      ),
    );
    classes.open = open;
  };
  store.listen(render);
  render();
  return [direction, colours, classes];
}
