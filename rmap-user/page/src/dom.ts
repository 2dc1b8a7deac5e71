// Elements and text. Whatever comes from the data becomes a text node here, never markup.

type Child = Node | string | number | null | undefined | false;

interface Props {
  class?: string | undefined;
  title?: string | undefined;
  id?: string;
  type?: string;
  role?: string;
  href?: string;
  value?: string;
  placeholder?: string;
  for?: string;
  scope?: string;
  colspan?: number;
  tabindex?: number;
  hidden?: boolean;
  disabled?: boolean;
  checked?: boolean;
  selected?: boolean;
  style?: Record<string, string>;
  data?: Record<string, string | number>;
  aria?: Record<string, string | number | boolean>;
  on?: Record<string, (event: never) => void>;
}

/** Makes an element. Attributes are only those above; styles go through the style object. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === false) continue;
    if (key === "style") {
      for (const [name, text] of Object.entries(value as Record<string, string>)) {
        element.style.setProperty(name, text);
      }
    } else if (key === "data" || key === "aria") {
      for (const [name, text] of Object.entries(value as Record<string, string>)) {
        element.setAttribute(`${key}-${name}`, String(text));
      }
    } else if (key === "on") {
      for (const [name, call] of Object.entries(value as Record<string, EventListener>)) {
        element.addEventListener(name, call);
      }
    } else if (value === true) {
      element.setAttribute(key, "");
    } else {
      element.setAttribute(key, String(value));
    }
  }
  append(element, children);
  return element;
}

export function append(element: Node, children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    element.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Puts other content in place of an element's own. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  append(element, children);
}

// Controls, what cannot be seen, and what changes the direction of text around it.
const UNSAFE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff]|[\u{e0000}-\u{e0fff}]/gu;
const LONGEST = 4096;

/** A name from the traced machine as one line in which nothing is hidden. */
export function clean(text: string): string {
  const line = text.replace(UNSAFE, (c) => {
    const code = c.codePointAt(0) ?? 0;
    if (c === "\n") return "\\n";
    if (c === "\r") return "\\r";
    if (c === "\t") return "\\t";
    return code < 0x80 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line;
}

/** The same as an element, whose direction touches nothing beside it. */
export function name(text: string, extra = ""): HTMLElement {
  return h("bdi", { class: extra ? `name ${extra}` : "name" }, clean(text));
}

/** The last part of a path. */
export function base(path: string): string {
  return path.startsWith("[") ? path : path.slice(path.lastIndexOf("/") + 1) || path;
}
