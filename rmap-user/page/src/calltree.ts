// Parts as a tree of functions, for the flame graph and the table of it.

import type { Bytes, Choice, Part, State } from "./model";

export interface Node {
  /** Among the functions of the state; -1 for what has no call path. */
  fn: number;
  name: string;
  /** What is left of the call path here, by cause. */
  bytes: Bytes;
  own: Bytes;
  parent: Node | null;
  depth: number;
  children: Node[];
  residual: boolean;
}

interface Growing extends Node {
  below: Map<number | string, Growing>;
}

function make(fn: number, name: string, parent: Growing | null, residual = false): Growing {
  const none = (): Bytes => ({ rss: 0, dirty: 0, touched: 0 });
  return {
    fn,
    name,
    bytes: none(),
    own: none(),
    parent,
    depth: parent ? parent.depth + 1 : 0,
    children: [],
    residual,
    below: new Map(),
  };
}

function add(to: Bytes, part: Part): void {
  to.rss += part.rss;
  to.dirty += part.dirty;
  to.touched += part.touched;
}

let last: { parts: Part[]; key: string; root: Node } | null = null;

/** The tree of some parts; its root is all of them. The flame graph and the table have one together. */
export function tree(state: State, parts: Part[], choice: Choice): Node {
  const key = `${choice.reverse} ${[...choice.hidden].join(" ")}`;
  if (last?.parts !== parts || last.key !== key) last = { parts, key, root: grow(state, parts, choice) };
  return last.root;
}

function grow(state: State, parts: Part[], choice: Choice): Node {
  const root = make(-1, "all", null);
  const hidden = state.functions.map((fn) => fn.class !== null && choice.hidden.has(fn.class));
  for (const part of parts) {
    add(root.bytes, part);
    let at = root;
    const chain = state.chain(part);
    const step = (key: number | string, name: string, residual = false): void => {
      let next = at.below.get(key);
      if (!next) {
        next = make(typeof key === "number" ? key : -1, name, at, residual);
        at.below.set(key, next);
        at.children.push(next);
      }
      add(next.bytes, part);
      at = next;
    };
    let seen = false;
    for (let place = 0; place < chain.length; place++) {
      const fn = chain[choice.reverse ? place : chain.length - 1 - place];
      if (fn === undefined || hidden[fn]) continue;
      step(fn, state.functions[fn]?.name ?? "");
      seen = true;
    }
    if (!seen) {
      const label = state.label(part);
      step(label, label, part.residual);
    }
    add(at.own, part);
  }
  return root;
}

/** Sorts the children of all nodes below one, the largest first. */
export function sorted(node: Node, weight: (bytes: Bytes) => number): Node[] {
  return [...node.children].sort((a, b) => Math.abs(weight(b.bytes)) - Math.abs(weight(a.bytes)) || (a.name < b.name ? -1 : 1));
}
