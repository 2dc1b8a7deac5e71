// A session's moments cut into parts, and what of them is chosen. Every view is a sum over parts.

import * as report from "./report";
import type { Answers, Data, Fn, Owner, Process, Report, Segment } from "./report";

/** What a width or a share is of. */
export type Measure = "rss" | "dirty" | "touched";

/** One call path's share of a segment, or one residual of it. */
export interface Part {
  process: number;
  /** Among all segments of the state; -1 for memory of which nothing is left. */
  segment: number;
  /** Among the stacks of the state; -1 where there is none. */
  stack: number;
  /** The cause, or the residual's reason. */
  why: string;
  residual: boolean;
  rss: number;
  dirty: number;
  touched: number;
  /** Among the owners of the state; -1 where nothing is held. */
  owner: number;
  growth: report.Growth | undefined;
}

export interface Bytes {
  rss: number;
  dirty: number;
  touched: number;
}

/** A segment with its process. */
export interface Place {
  process: number;
  segment: Segment;
  /** Its short name. */
  name: string;
}

/** The session at one moment. */
export class State {
  readonly name: string;
  readonly report: Report;
  readonly processes: Process[];
  readonly places: Place[] = [];
  readonly parts: Part[] = [];
  readonly owners: Owner[];
  readonly functions: Fn[];
  readonly chains: number[][];
  readonly via: string[][];
  private readonly stackAt = new Map<number, number>();

  constructor(name: string, data: Report, answers: Answers) {
    this.name = name;
    this.report = data;
    this.processes = report.processes(data);
    this.owners = answers.owners;
    this.functions = answers.functions;
    this.chains = answers.chains;
    this.via = answers.via;
    answers.stacks.forEach((id, at) => this.stackAt.set(id, at));
    this.cut(answers);
  }

  private cut(answers: Answers): void {
    let part = 0;
    const ownerOfStack = new Map<number, number>();
    this.processes.forEach((process, at) => {
      for (const segment of process.segments) {
        const place = this.places.length;
        this.places.push({ process: at, segment, name: answers.segments[place] ?? segment.name });
        for (const path of segment.paths) {
          const held = path.rss_bytes !== 0 || path.dirty_bytes !== 0;
          const stack = this.stackOf(path.stack);
          const owner = held ? (answers.owner_of_part[part++] ?? -1) : -1;
          if (held && !ownerOfStack.has(stack)) ownerOfStack.set(stack, owner);
          this.parts.push({
            process: at,
            segment: place,
            stack,
            why: path.cause,
            residual: false,
            rss: path.rss_bytes,
            dirty: path.dirty_bytes,
            touched: path.touched_bytes,
            owner,
            growth: path.growth,
          });
        }
        for (const rest of segment.unexplained) {
          if (rest.rss_bytes === 0 && rest.dirty_bytes === 0) continue;
          this.parts.push({
            process: at,
            segment: place,
            stack: -1,
            why: rest.reason,
            residual: true,
            rss: rest.rss_bytes,
            dirty: rest.dirty_bytes,
            touched: 0,
            owner: answers.owner_of_part[part++] ?? -1,
            growth: undefined,
          });
        }
      }
      for (const gone of process.gone) {
        this.parts.push({
          process: at,
          segment: -1,
          stack: this.stackOf(gone.stack),
          why: gone.cause,
          residual: false,
          rss: 0,
          dirty: 0,
          touched: gone.touched_bytes,
          owner: -1,
          growth: undefined,
        });
      }
    });
    // What touched memory and holds none belongs to the owner of the same call path elsewhere.
    for (const part of this.parts) {
      if (part.owner < 0 && part.stack >= 0) part.owner = ownerOfStack.get(part.stack) ?? -1;
    }
  }

  /** The functions of a stack by its id, the innermost first. */
  functionsOf(id: number | null): Fn[] {
    const chain = this.chains[this.stackOf(id)] ?? [];
    return chain.map((fn) => this.functions[fn]).filter((fn): fn is Fn => fn !== undefined);
  }

  private stackOf(id: number | null): number {
    return id === null ? -1 : (this.stackAt.get(id) ?? -1);
  }

  /** The moment, ns since the start. */
  get atNs(): number {
    return this.report.session.at_ns ?? this.report.session.duration_ns;
  }

  /** What stands for a part without a call path. */
  label(part: Part): string {
    if (part.residual) return `unattributed: ${part.why}`;
    return this.owners[part.owner]?.name ?? `[kernel] ${part.why}`;
  }

  chain(part: Part): readonly number[] {
    return part.stack < 0 ? [] : (this.chains[part.stack] ?? []);
  }
}

export function sum(parts: Iterable<Part>): Bytes {
  const all = { rss: 0, dirty: 0, touched: 0 };
  for (const part of parts) {
    all.rss += part.rss;
    all.dirty += part.dirty;
    all.touched += part.touched;
  }
  return all;
}

/** What is chosen. Everything on the page follows it. */
export interface Choice {
  state: number;
  /** The moment that changes are counted from; none: nothing is compared. */
  since: number | null;
  measure: Measure;
  process: number | null;
  owner: string | null;
  segment: string | null;
  kind: string | null;
  search: string;
  hidden: Set<string>;
  reverse: boolean;
  colour: "class" | "module" | "dirty";
}

/** The key of an owner that holds in every moment. */
export function ownerKey(owner: Owner): string {
  return `${owner.name}\n${owner.key ?? ""}`;
}

/** The key of a segment that holds in every moment. */
export function segmentKey(state: State, place: Place): string {
  return `${state.processes[place.process]?.pid} ${place.segment.start}`;
}

export class Store {
  readonly states: State[];
  readonly source: string | undefined;
  choice: Choice;
  private readonly listeners: (() => void)[] = [];
  private cached: Part[] | null = null;

  constructor(data: Data) {
    this.source = data.source;
    this.states = data.states.map((state) => new State(state.name, state.report, state.answers));
    if (this.states.length === 0) throw new Error("the page has no report in it");
    this.choice = {
      state: 0,
      since: null,
      measure: "rss",
      process: null,
      owner: null,
      segment: null,
      kind: null,
      search: "",
      hidden: new Set(["start-up"]),
      reverse: false,
      colour: "class",
    };
  }

  get state(): State {
    return this.states[this.choice.state] ?? (this.states[0] as State);
  }

  /** The moment that is compared with, where it is another one. */
  get since(): State | null {
    const { since, state } = this.choice;
    return since === null || since === state ? null : (this.states[since] ?? null);
  }

  /** Places of the moments, in the order of time. */
  inTime(): number[] {
    return this.states.map((_, at) => at).sort((a, b) => (this.states[a]?.atNs ?? 0) - (this.states[b]?.atNs ?? 0));
  }

  /** The report of the end, which alone has the timeline. */
  get end(): State {
    return this.states.find((state) => state.name === "end") ?? this.state;
  }

  listen(call: () => void): void {
    this.listeners.push(call);
  }

  set(change: Partial<Choice>): void {
    this.choice = { ...this.choice, ...change };
    this.cached = null;
    for (const call of this.listeners) call();
  }

  /** Chooses a thing, or lets go of it if it was chosen. */
  toggle<K extends "process" | "owner" | "segment" | "kind">(key: K, value: Choice[K]): void {
    this.set({ [key]: this.choice[key] === value ? null : value } as Partial<Choice>);
  }

  /** The parts that are chosen; `but`: as if that was not chosen. */
  parts(but?: "owner" | "segment" | "kind" | "process"): Part[] {
    if (but === undefined && this.cached) return this.cached;
    const parts = this.partsOf(this.state, but);
    if (but === undefined) this.cached = parts;
    return parts;
  }

  /** The same of any moment. */
  partsOf(state: State, but?: "owner" | "segment" | "kind" | "process"): Part[] {
    const { choice } = this;
    const process = but === "process" ? null : choice.process;
    const owner = but === "owner" ? null : choice.owner;
    const segment = but === "segment" ? null : choice.segment;
    const kind = but === "kind" ? null : choice.kind;
    if (process === null && owner === null && segment === null && kind === null && choice.search === "") return state.parts;
    const owners = owner === null ? null : state.owners.map((known) => ownerKey(known) === owner);
    const places =
      segment === null && kind === null
        ? null
        : state.places.map(
            (place) =>
              (segment === null || segmentKey(state, place) === segment) &&
              (kind === null || kindOf(place.segment) === kind),
          );
    const matches = this.matcher(state);
    return state.parts.filter(
      (part) =>
        (process === null || state.processes[part.process]?.pid === process) &&
        (owners === null || owners[part.owner] === true) &&
        (places === null || places[part.segment] === true) &&
        (matches === null || matches(part)),
    );
  }

  /** The search as a regular expression; as plain text where it is none. */
  pattern(): RegExp | null {
    const text = this.choice.search;
    if (text === "") return null;
    try {
      return new RegExp(text, "i");
    } catch {
      return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i");
    }
  }

  /** Which functions the search finds. */
  found(state = this.state): boolean[] | null {
    const pattern = this.pattern();
    if (!pattern) return null;
    return state.functions.map((fn) => pattern.test(fn.name) || pattern.test(fn.module) || pattern.test(fn.file ?? ""));
  }

  private matcher(state: State): ((part: Part) => boolean) | null {
    const pattern = this.pattern();
    if (!pattern) return null;
    const functions = this.found(state) ?? [];
    const stacks = state.chains.map((chain) => chain.some((fn) => functions[fn] === true));
    const owners = state.owners.map((owner) => pattern.test(owner.name));
    const places = state.places.map((place) => pattern.test(place.name) || pattern.test(place.segment.name));
    return (part) =>
      stacks[part.stack] === true || owners[part.owner] === true || places[part.segment] === true || pattern.test(part.why);
  }

  /** Whether less than everything is chosen. */
  get narrowed(): boolean {
    const { process, owner, segment, kind, search } = this.choice;
    return process !== null || owner !== null || segment !== null || kind !== null || search !== "";
  }
}

export function kindOf(segment: Segment): string {
  return segment.kind ?? "anonymous";
}
