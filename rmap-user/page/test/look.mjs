// Looks at pages in a headless browser: what they show is what their data says, names stay text, nothing
// but the page's own script runs, nothing is fetched.
//
// Comes in: the browser, a folder of pages with the JSON of their moments beside them (made by
// rmap-user/tests/view/pages.rs), and a folder for pictures where these are wanted. Goes out: exit status.

import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { chromium } from "playwright-core";

const [browserPath, folder, pictures] = process.argv.slice(2);
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** Pages are there within this on a machine that is busy with builds; the times are printed. */
const OPEN_MS = 60_000;

const browser = await chromium.launch({ executablePath: browserPath, args: ARGUMENTS });
let passed = 0;

/** Opens a page, and holds it to silence. */
async function open(name, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const said = [];
  page.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => said.push(`error: ${error.message}`));
  page.on("request", (request) => {
    if (!request.url().startsWith("file:")) said.push(`request: ${request.url()}`);
  });
  const start = performance.now();
  await page.goto(`file://${join(folder, name)}.html`);
  await page.waitForFunction(() => document.documentElement.dataset.ready === "true", null, { timeout: OPEN_MS });
  return { page, said, context, ms: performance.now() - start };
}

function report(name, moment) {
  return JSON.parse(readFileSync(join(folder, `${name}.${moment}.json`), "utf8"));
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

/** Numbers of attributes of all elements that a selector finds. */
async function figures(page, selector) {
  return page.$$eval(selector, (all) => all.map((element) => ({ ...element.dataset })));
}

async function everything(page) {
  for (const label of [/more owners/, /more segments/]) {
    const button = page.getByRole("button", { name: label });
    if (await button.count()) await button.first().click();
  }
}

/** What a page shows of a moment is what the JSON of that moment says. */
async function compare(page, json, where) {
  await everything(page);
  const { totals, processes, coverage, advice } = json;
  const [answer] = await figures(page, ".answer strong[data-rss]");
  const [dirty] = await figures(page, ".answer strong[data-dirty]");
  assert.equal(Number(answer.rss), totals.rss_bytes, `${where}: RSS`);
  assert.equal(Number(dirty.dirty), totals.dirty_bytes, `${where}: Dirty`);

  const owners = await figures(page, ".owners tr[data-owner]");
  assert.equal(sum(owners.map((row) => Number(row.rss))), totals.rss_bytes, `${where}: owners add up`);
  assert.equal(sum(owners.map((row) => Number(row.dirty))), totals.dirty_bytes, `${where}: owners add up`);
  const kinds = await figures(page, ".kinds tr[data-kind]");
  assert.equal(sum(kinds.map((row) => Number(row.rss))), totals.rss_bytes, `${where}: kinds add up`);

  const segments = await figures(page, ".segments tr[data-start]");
  const expected = processes.flatMap((process) => process.segments);
  const key = (start, rss, dirty) => `${start} ${rss} ${dirty}`;
  assert.deepEqual(
    segments.map((row) => key(row.start, row.rss, row.dirty)).sort(),
    expected.map((row) => key(row.start, row.rss_bytes.after, row.dirty_bytes.after)).sort(),
    `${where}: segments`,
  );

  const shown = await figures(page, ".processes tr[data-pid]");
  for (const row of shown) {
    const process = processes.find((process) => process.pid === Number(row.pid));
    assert.equal(Number(row.rss), process.rss_bytes.after, `${where}: process ${row.pid}`);
    assert.equal(Number(row.dirty), process.dirty_bytes.after, `${where}: process ${row.pid}`);
  }

  const residuals = await figures(page, ".limits tr[data-reason]");
  const reasons = expected.flatMap((segment) => segment.unexplained);
  assert.equal(sum(residuals.map((row) => Number(row.rss))), sum(reasons.map((row) => row.rss_bytes)), `${where}: residuals`);
  assert.equal(sum(residuals.map((row) => Number(row.dirty))), sum(reasons.map((row) => row.dirty_bytes)), `${where}: residuals`);
  const [lost] = await figures(page, "[data-lost]");
  assert.equal(Number(lost.lost), coverage.lost.events + coverage.lost.stacks + coverage.lost.snapshots, `${where}: losses`);
  const said = await figures(page, "[data-rule]");
  assert.deepEqual(
    said.map((row) => [row.rule, Number(row.bytes)]),
    advice.map((row) => [row.rule, row.bytes]),
    `${where}: advice`,
  );

  for (const [name, measure, total] of [
    ["Resident", "rss", totals.rss_bytes],
    ["Dirty", "dirty", totals.dirty_bytes],
    ["Touched", "touched", touched(processes)],
  ]) {
    await page.locator(".toolbar").getByRole("button", { name, exact: true }).click();
    const [root] = await figures(page, ".flame .box[data-depth='0']");
    if (root) assert.equal(Number(root[measure]), total, `${where}: flame graph, ${name}`);
    const first = await figures(page, ".flame .box[data-depth='1']");
    assert.ok(sum(first.map((box) => Math.max(0, Number(box[measure])))) <= total + negatives(expected, measure), where);
  }
  await page.locator(".toolbar").getByRole("button", { name: "Resident", exact: true }).click();
}

function touched(processes) {
  const paths = processes.flatMap((process) => process.segments.flatMap((segment) => segment.paths));
  return sum(paths.map((path) => path.touched_bytes)) + sum(processes.flatMap((process) => process.gone).map((gone) => gone.touched_bytes));
}

/** What residuals below nothing take from a total. */
function negatives(segments, measure) {
  if (measure === "touched") return 0;
  const rest = segments.flatMap((segment) => segment.unexplained.map((rest) => rest[`${measure}_bytes`]));
  return -sum(rest.filter((bytes) => bytes < 0));
}

/** The chart is no higher than its samples and the peak. */
async function timeline(page, where) {
  const [highest] = await figures(page, ".legend [data-highest]");
  if (!highest) return;
  const files = readdirSync(folder).filter((file) => file.startsWith(`${where}.`) && file.endsWith(".json"));
  const reports = files.map((file) => JSON.parse(readFileSync(join(folder, file), "utf8")));
  const all = new Map();
  const points = reports.flatMap((json) => json.processes).flatMap((process) => process.timeline ?? []);
  for (const { at_ns, dirty_bytes: _, ...kinds } of points) all.set(at_ns, (all.get(at_ns) ?? 0) + sum(Object.values(kinds)));
  const most = Math.max(...all.values(), ...reports.map((json) => json.totals.rss_bytes));
  assert.ok(Number(highest.highest) <= most, `${where}: the chart shows ${highest.highest}, at most ${most} is known`);
}

/** What changed between two moments adds up. */
async function since(page, where) {
  const now = report(where, await page.locator(".verdict").getAttribute("data-moment"));
  await page.getByLabel("Compare with").selectOption({ index: 1 });
  await page.waitForTimeout(100);
  const rows = await figures(page, ".owners tbody [data-change]");
  const [rss, dirty] = await figures(page, ".owners tfoot [data-change]");
  const every = (nth) => sum(rows.filter((_, at) => at % 2 === nth).map((row) => Number(row.change)));
  assert.equal(every(0), Number(rss.change), `${where}: changes of RSS add up`);
  assert.equal(every(1), Number(dirty.change), `${where}: changes of Dirty add up`);
  const others = readdirSync(folder).filter((file) => file.startsWith(`${where}.`) && file.endsWith(".json"));
  const totals = others.map((file) => JSON.parse(readFileSync(join(folder, file), "utf8")).totals);
  assert.ok(
    totals.some((was) => now.totals.rss_bytes - was.rss_bytes === Number(rss.change)),
    `${where}: the change of RSS is that between two reports`,
  );
  await page.locator("body").press("Escape");
}

/** Choosing an owner leaves what that owner holds, everywhere. */
async function choose(page, where) {
  const [owner] = await figures(page, ".owners tr[data-owner]");
  if (!owner) return;
  await page.locator(".owners tr[data-owner] button").first().click();
  const [root] = await figures(page, ".flame .box[data-depth='0']");
  if (root) assert.equal(root.rss, owner.rss, `${where}: the flame graph follows the owner`);
  const rows = await figures(page, ".segments tr[data-start]");
  assert.equal(sum(rows.map((row) => Number(row.rss))), Number(owner.rss), `${where}: so do segments`);
  await page.keyboard.press("Escape");
  assert.equal(await page.locator(".chip").count(), 0, `${where}: Escape lets go`);
}

/** Keys do what the list of keys says. */
async function keys(page) {
  const pressed = (name) => page.locator(".toolbar").getByRole("button", { name, exact: true }).getAttribute("aria-pressed");
  await page.locator("body").press("d");
  assert.equal(await pressed("Dirty"), "true");
  await page.locator("body").press("r");
  assert.equal(await pressed("Resident"), "true");
  await page.locator("body").press("/");
  await page.keyboard.type("fill_|main");
  await page.waitForTimeout(250);
  assert.ok((await page.locator(".box.found").count()) > 0, "the search finds functions");
  await page.keyboard.press("Escape");
  assert.equal(await page.locator(".box.found").count(), 0);
  await page.locator(".box").first().focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  assert.ok((await page.locator(".trail button").count()) > 0, "Enter zooms");
  await page.keyboard.press("Escape");
  assert.equal(await page.locator(".trail button").count(), 0, "Escape goes back");
  await page.locator("body").press("?");
  assert.ok(await page.locator("dialog.keys").isVisible());
  await page.keyboard.press("Escape");
}

/** The policy: no network, no other script, no markup from text. */
async function attack(page, where) {
  assert.equal(await page.evaluate(() => globalThis.attacked), undefined, `${where}: a name ran as script`);
  assert.equal(await page.locator("img, svg, iframe, object").count(), 0, `${where}: a name became an element`);
  assert.equal(await page.evaluate(() => document.scripts.length), 2, where);
  const blocked = await page.evaluate(async () => {
    const violations = [];
    document.addEventListener("securitypolicyviolation", (event) => violations.push(event.effectiveDirective));
    const refused = await fetch("http://127.0.0.1:9/").then(() => false, () => true);
    const image = new Image();
    image.src = "http://127.0.0.1:9/x.png";
    const script = document.createElement("script");
    try {
      script.appendChild(document.createTextNode("window.attacked = 1"));
      document.body.appendChild(script);
    } catch {}
    let markup = false;
    try {
      document.createElement("div").innerHTML = "<b>x</b>";
      markup = true;
    } catch {}
    await new Promise((done) => setTimeout(done, 100));
    return { violations, refused, markup, ran: globalThis.attacked === 1 };
  });
  assert.ok(blocked.refused && !blocked.markup && !blocked.ran, `${where}: ${JSON.stringify(blocked)}`);
  for (const directive of ["connect-src", "img-src"]) {
    assert.ok(blocked.violations.includes(directive), `${where}: ${directive} of ${blocked.violations}`);
  }
}

const names = readdirSync(folder)
  .filter((file) => file.endsWith(".html"))
  .map((file) => basename(file, ".html"));

if (!pictures) {
  for (const name of names.filter((name) => name !== "difference")) {
    const { page, said, context, ms } = await open(name);
    assert.ok(ms <= OPEN_MS, `${name} opens in ${Math.round(ms)} ms`);
    const moments = readdirSync(folder).filter((file) => file.startsWith(`${name}.`) && file.endsWith(".json")).length;
    for (let n = 0; n < moments; n++) {
      const moment = await page.locator(".verdict").getAttribute("data-moment");
      await compare(page, report(name, moment), `${name}, ${moment}`);
      await page.locator("body").press("m");
    }
    if (moments > 1) await since(page, name);
    await timeline(page, name);
    if (name !== "attack") await choose(page, name);
    if (name === "plain") await keys(page);
    assert.deepEqual(said, [], name);
    if (["attack", "hostile", "plain"].includes(name)) await attack(page, name);
    console.log(`${name}: ok, there in ${Math.round(ms)} ms`);
    passed++;
    await context.close();
  }
  const { page, said, context } = await open("difference");
  const json = JSON.parse(readFileSync(join(folder, "difference.diff.json"), "utf8"));
  const [rss, dirty] = await figures(page, ".answer strong[data-change]");
  assert.equal(Number(rss.change), json.rss_bytes.b - json.rss_bytes.a);
  assert.equal(Number(dirty.change), json.dirty_bytes.b - json.dirty_bytes.a);
  const [root] = await figures(page, ".box.c-root");
  assert.equal(Number(root.change), sum(json.paths.map((row) => row.rss_bytes.b - row.rss_bytes.a)));
  assert.deepEqual(said, []);
  await attack(page, "difference");
  await context.close();
  passed++;
  console.log(`${passed} passed, 0 failed`);
} else {
  mkdirSync(pictures, { recursive: true });
  for (const name of names.filter((name) => ["leak", "fork-server", "database"].includes(name))) {
    for (const colorScheme of name === "leak" ? ["light", "dark"] : ["light"]) {
      const { page, context } = await open(name, { colorScheme });
      await page.waitForTimeout(200);
      await page.screenshot({ path: join(pictures, `${name}-${colorScheme}.png`) });
      await context.close();
    }
  }
}
await browser.close();
