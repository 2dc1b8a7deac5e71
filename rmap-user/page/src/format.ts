// Figures as people read them. One unit a table; the exact bytes stand in the title.

export interface Unit {
  name: string;
  bytes: number;
  digits: number;
}

const KIB: Unit = { name: "KiB", bytes: 1024, digits: 0 };
const MIB: Unit = { name: "MiB", bytes: 1024 ** 2, digits: 1 };
const GIB: Unit = { name: "GiB", bytes: 1024 ** 3, digits: 2 };

/** The unit that fits the largest size of a table. */
export function unitOf(bytes: number): Unit {
  const size = Math.abs(bytes);
  if (size >= 100 * GIB.bytes) return GIB;
  return size >= 10 * MIB.bytes ? MIB : KIB;
}

function fixed(value: number, digits: number): string {
  return value.toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** A size in a table's unit, without its name. */
export function figure(bytes: number, unit: Unit): string {
  if (bytes === 0) return "0";
  const text = fixed(bytes / unit.bytes, unit.digits);
  return Number(text.replaceAll(",", "")) === 0 ? (bytes > 0 ? `<${fixed(10 ** -unit.digits, unit.digits)}` : text) : text;
}

/** A size with its unit. */
export function size(bytes: number): string {
  const of = Math.abs(bytes);
  const unit = of >= GIB.bytes ? GIB : of >= MIB.bytes ? MIB : KIB;
  return bytes === 0 ? "0" : `${fixed(bytes / unit.bytes, unit.digits)} ${unit.name}`;
}

export function exact(bytes: number): string {
  return `${bytes.toLocaleString("en-US")} bytes`;
}

export function count(many: number, one: string, more = `${one}s`): string {
  return `${many.toLocaleString("en-US")} ${many === 1 ? one : more}`;
}

/** Whole per cent; 0 % and 100 % are exact. */
export function share(part: number, whole: number): string {
  if (whole <= 0 || part < 0) return "–";
  if (part === 0) return "0 %";
  if (part === whole) return "100 %";
  const percent = Math.round((part / whole) * 100);
  if (percent === 0) return "<1 %";
  return percent >= 100 && part < whole ? ">99 %" : `${percent} %`;
}

export function duration(ns: number): string {
  if (ns < 1e3) return `${ns} ns`;
  if (ns < 1e6) return `${(ns / 1e3).toPrecision(3)} µs`;
  if (ns < 1e9) return `${Number((ns / 1e6).toPrecision(3))} ms`;
  if (ns < 100e9) return `${Number((ns / 1e9).toPrecision(3))} s`;
  const s = Math.round(ns / 1e9);
  const [hours, minutes] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  const two = (n: number): string => String(n).padStart(2, "0");
  return hours ? `${hours} h ${two(minutes)} min` : `${minutes} min ${two(s % 60)} s`;
}
