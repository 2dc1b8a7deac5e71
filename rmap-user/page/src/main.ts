// The page: reads its data, builds the views, and connects keys and buttons.

import { differencePage } from "./difference";
import { clean, h } from "./dom";
import { Flame } from "./flame";
import { Limits } from "./limits";
import { Store } from "./model";
import { AdviceList, head, Verdict } from "./overview";
import { Kinds, Owners } from "./owners";
import { Processes } from "./processes";
import { read } from "./report";
import { Segments } from "./segments";
import { Timeline } from "./timeline";
import { Toolbar, treeControls } from "./toolbar";
import { TreeTable } from "./treetable";

const KEYS: [string, string][] = [
  ["/", "search by a regular expression"],
  ["r, d, t", "resident, dirty, touched bytes"],
  ["m", "the next moment"],
  ["v", "call paths from the root or from the leaf"],
  ["Esc", "let go of everything that is chosen"],
  ["arrows, Enter, Esc", "in the flame graph: move, zoom, back"],
  ["arrows", "in the tree: move, unfold, fold"],
  ["c", "copy the command"],
  ["?", "this list"],
];

async function start(): Promise<void> {
  const page = document.getElementById("page");
  if (!page) return;
  const data = await read();
  const help = keys();
  if (data.difference) {
    page.append(...differencePage(data.difference, data.names ?? ["A", "B"], themeButtons(() => undefined)));
    document.documentElement.dataset["ready"] = "true";
    return;
  }
  const store = new Store(data);
  const said = h("p", { class: "toast", role: "status", aria: { live: "polite" } });
  let timer = 0;
  const say = (text: string): void => {
    said.textContent = text;
    said.classList.add("shown");
    clearTimeout(timer);
    timer = window.setTimeout(() => said.classList.remove("shown"), 4000);
  };
  const copied = (text: string): void => {
    const done = (): void => say(`Copied: ${text}`);
    // Pages from disk may have no clipboard: then the text can be taken from the line below.
    navigator.clipboard?.writeText(text).then(done, () => say(text)) ?? say(text);
  };
  const toolbar = new Toolbar(store, copied);
  const timeline = new Timeline(store);
  const question = h("button", { type: "button", title: "Keys", aria: { label: "Keys" }, on: { click: () => help.showModal() } }, "?");

  page.append(
    head(store, [...themeButtons(() => timeline.repaint()), question]),
    h(
      "main",
      {},
      h("div", { class: "first" }, new Verdict(store).element, timeline.element),
      toolbar.element,
      h(
        "div",
        { class: "columns" },
        new Owners(store).element,
        h("div", { class: "side" }, new AdviceList(store).element, new Kinds(store).element),
      ),
    ),
  );
  const main = page.querySelector("main") as HTMLElement;
  const views: HTMLElement[] = [new Processes(store).element];
  const flame = new Flame(store, treeControls(store));
  const segments = new Segments(store).element;
  if (store.state.processes.length > 1) main.append(...views.splice(0));
  main.append(flame.element, new TreeTable(store).element, segments, ...views, new Limits(store).element);
  page.append(said, help);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const target = event.target;
    if (target === toolbar.search && event.key === "Escape") {
      toolbar.search.value = "";
      toolbar.search.blur();
      store.set({ search: "" });
      return;
    }
    if (target instanceof HTMLInputElement || target instanceof HTMLSelectElement) return;
    const { choice } = store;
    switch (event.key) {
      case "/":
        toolbar.search.focus();
        toolbar.search.select();
        break;
      case "r":
        store.set({ measure: "rss" });
        break;
      case "d":
        store.set({ measure: "dirty" });
        break;
      case "t":
        store.set({ measure: "touched" });
        break;
      case "m":
        store.set({ state: next(store) });
        break;
      case "v":
        store.set({ reverse: !choice.reverse });
        break;
      case "c":
        (toolbar.element.querySelector(".copy") as HTMLElement | null)?.click();
        break;
      case "Escape":
        store.set({ process: null, owner: null, segment: null, kind: null, since: null, search: "" });
        toolbar.search.value = "";
        break;
      case "?":
        help.showModal();
        break;
      default:
        return;
    }
    event.preventDefault();
  });
  document.documentElement.dataset["ready"] = "true";
}

/** The next moment in time; behind the last one the first. */
function next(store: Store): number {
  const order = store.inTime();
  return order[(order.indexOf(store.choice.state) + 1) % order.length] ?? 0;
}

/** Buttons that every page has. */
function themeButtons(repaint: () => void): HTMLElement[] {
  const theme = h("button", { type: "button", title: "Light or dark", aria: { label: "Light or dark" } }, "◐");
  theme.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset["theme"] ? root.dataset["theme"] === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset["theme"] = dark ? "light" : "dark";
    repaint();
  });
  return [theme, h("button", { type: "button", title: "Print, or save as PDF", on: { click: () => window.print() } }, "Print")];
}

function keys(): HTMLDialogElement {
  const close = h("button", { type: "button" }, "Close");
  const dialog = h(
    "dialog",
    { class: "keys", aria: { label: "Keys" } },
    h("h2", {}, "Keys"),
    h("dl", {}, ...KEYS.map(([key, what]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)))),
    close,
  );
  close.addEventListener("click", () => dialog.close());
  return dialog;
}

start().catch((error: unknown) => {
  const page = document.getElementById("page");
  const text = error instanceof Error ? error.message : String(error);
  page?.append(h("p", { class: "broken" }, `This page cannot be shown: ${clean(text)}`));
});
