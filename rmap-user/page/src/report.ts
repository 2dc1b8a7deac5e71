// What the page reads of `rmap.report/1` and `/2`, and of the answers beside it (view/page/answers.rs).

export interface BeforeAfter {
  before: number;
  after: number;
}

export interface Growth {
  bytes_per_s: number;
  since_ns: number;
  still: boolean;
}

export interface Path {
  stack: number | null;
  cause: string;
  rss_bytes: number;
  dirty_bytes: number;
  touched_bytes: number;
  faults: number;
  first_ns: number;
  last_ns: number;
  tids: number[];
  growth?: Growth;
}

export interface Unexplained {
  reason: string;
  rss_bytes: number;
  dirty_bytes: number;
}

export interface MappedBy {
  call: string;
  stack: number | null;
  pid: number;
  tid: number;
  at_ns: number;
}

/** How RSS divides; what the kernel did not report is not there. */
export interface Breakdown {
  pss_bytes?: number;
  private_clean_bytes?: number;
  private_dirty_bytes?: number;
  shared_clean_bytes?: number;
  shared_dirty_bytes?: number;
  anonymous_bytes?: number;
  lazyfree_bytes?: number;
  anonhuge_bytes?: number;
  locked_bytes?: number;
}

export interface Segment extends Breakdown {
  start: string;
  end: string;
  perms: string;
  offset: number;
  device: string;
  inode: number;
  name: string;
  size_bytes: number;
  rss_bytes: BeforeAfter;
  dirty_bytes: BeforeAfter;
  swap_bytes: BeforeAfter;
  kind?: string;
  label?: string;
  inferred?: boolean;
  pattern: string | null;
  mapped_by: MappedBy | null;
  vm_flags?: string;
  paths: Path[];
  unexplained: Unexplained[];
}

export interface TimelinePoint {
  at_ns: number;
  heap_bytes: number;
  anonymous_bytes: number;
  file_bytes: number;
  shared_bytes: number;
  stack_bytes: number;
  dirty_bytes: number;
}

export interface Gone {
  stack: number | null;
  cause: string;
  touched_bytes: number;
  segments: number;
}

export interface Released {
  stack: number | null;
  how: string;
  rss_bytes: number;
}

/** What a process has, in full or as one of many that are alike. */
interface ProcessFacts extends Breakdown {
  pid: number;
  parent_pid: number;
  started_ns: number;
  ended_ns: number | null;
  snapshot: string;
  snapshot_ns: number | null;
  rss_bytes: BeforeAfter;
  dirty_bytes: BeforeAfter;
  swap_bytes: BeforeAfter;
  peak_rss_bytes: number;
}

export interface Process extends ProcessFacts {
  command: string;
  exe: string;
  timeline?: TimelinePoint[];
  segments: Segment[];
  gone: Gone[];
  released: Released[];
}

export interface Spread {
  min: number;
  median: number;
  max: number;
  sum: number;
}

export interface Group {
  program: string;
  role: string;
  pids: number[];
  rss_bytes: Spread;
  dirty_bytes: Spread;
  peak_rss_bytes: Spread;
}

export interface Advice {
  rule: string;
  bytes: number;
  evidence: string;
  remedy: string;
  harmless_when: string;
}

/** A process of `rmap.report/2` that is stated by its likeness to another one. */
interface Other extends ProcessFacts {
  place: number;
  like: number;
  command?: string;
  starts: string[];
  shapes: number[];
  tail: number;
}

export interface Report {
  schema: string;
  rmap_version: string;
  host: { kernel: string; arch: string; page_bytes: number; cpus: number };
  session: {
    mode: "run" | "attach";
    command: string[] | null;
    pids: number[];
    started_at: string;
    duration_ns: number;
    at_ns?: number;
    exit: { code: number } | { signal: string } | null;
    notes?: string[];
    peak?: { at_ns: number; rss_bytes: number; dirty_bytes: number };
    /** Sizes are of what came after its beginning and was still there at its end. */
    window?: { from_ns: number; to_ns: number };
    marks?: { name: string; at_ns: number }[];
  };
  coverage: {
    probes: { name: string; attached: boolean; why_not: string | null }[];
    lost: { events: number; stacks: number; snapshots: number };
    unwind: {
      complete: number;
      incomplete: number;
      reasons: Record<string, number>;
      bytes: { complete: number; incomplete: number; reasons: Record<string, number> };
    };
  };
  totals: Breakdown & { rss_bytes: number; dirty_bytes: number; swap_bytes: number };
  processes: Process[];
  others?: Other[];
  shapes?: Segment[];
  tails?: { gone: Gone[]; released: Released[] }[];
  groups: Group[];
  advice: Advice[];
}

export interface Owner {
  name: string;
  /** What distinguishes it from others of that name, in every moment. */
  key?: string;
  place?: string;
  residual?: boolean;
  background?: boolean;
}

export interface Fn {
  name: string;
  module: string;
  file?: string;
  class: string | null;
}

export interface Answers {
  owners: Owner[];
  owner_of_part: number[];
  functions: Fn[];
  stacks: number[];
  chains: number[][];
  via: string[][];
  segments: string[];
}

/** A size in the first and in the second report. */
export interface Sizes {
  a: number;
  b: number;
}

/** A row of `rmap.diff/1`. */
export interface Change {
  program: string;
  names: string[];
  kind: string;
  mapped_by: string[];
  rss_bytes: Sizes;
  dirty_bytes: Sizes;
}

export interface Difference {
  rss_bytes: Sizes;
  dirty_bytes: Sizes;
  segments: Change[];
  paths: Change[];
}

export interface Data {
  schema: string;
  source?: string;
  /** Of a page of two reports, whose names these are. */
  difference?: Difference;
  names?: [string, string];
  states: { name: string; report: Report; answers: Answers }[];
}

/** The data that the page was made with. */
export async function read(): Promise<Data> {
  const element = document.getElementById("rmap-data");
  const text = element?.textContent ?? "";
  if (element?.getAttribute("data-encoding") !== "gzip") return JSON.parse(text) as Data;
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return (await new Response(plain).json()) as Data;
}

/** Every process in full, in the order of the session. */
export function processes(report: Report): Process[] {
  const { others, shapes = [], tails = [] } = report;
  if (!others) return report.processes;
  const all: Process[] = [];
  const full = report.processes[Symbol.iterator]();
  for (const other of others) {
    while (all.length < other.place) {
      const next = full.next();
      if (next.done) break;
      all.push(next.value);
    }
    all.push(unfold(report, other, shapes, tails));
  }
  return [...all, ...full];
}

function unfold(
  report: Report,
  other: Other,
  shapes: Segment[],
  tails: { gone: Gone[]; released: Released[] }[],
): Process {
  const like = report.processes[other.like];
  if (!like) throw new Error(`process ${other.pid} is like one that is not there`);
  const own = (tid: number): number => (tid === 0 ? other.pid : tid);
  const segments = other.starts.map((start, at) => {
    const shape = shapes[other.shapes[at] ?? -1];
    if (!shape) throw new Error(`a segment of process ${other.pid} is not there`);
    const end = BigInt(start) + BigInt(shape.end);
    const by = shape.mapped_by;
    return {
      ...shape,
      start,
      end: `0x${end.toString(16)}`,
      mapped_by: by && { ...by, pid: own(by.pid), tid: own(by.tid), at_ns: other.started_ns },
      paths: shape.paths.map((path) => ({ ...path, tids: path.tids.map(own) })),
    };
  });
  const tail = tails[other.tail];
  const { starts: _, shapes: __, tail: ___, place: ____, like: _____, ...rest } = other;
  return {
    ...rest,
    command: other.command ?? like.command,
    exe: like.exe,
    timeline: [],
    segments,
    gone: tail?.gone ?? [],
    released: tail?.released ?? [],
  };
}
