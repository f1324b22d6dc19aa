// The page in a real Chromium against the real program.
//
//   node page.mjs PROGRAM CHROMIUM EVENTS.ndjson [PICTURES]
//
// Every step waits for what it wants to see, and fails when it does not come.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { allPages, launch, openTab, shownIds, until as untilIn } from "./browser.mjs";
import { Server } from "./server.mjs";

const [program, executablePath, events, pictures] = process.argv.slice(2);
const LINES = readFileSync(events, "utf8").trim().split("\n");

const server = await new Server(program).start();
const browser = await launch(executablePath);
const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
await context.grantPermissions(["clipboard-read", "clipboard-write"]);
const errors = [];
const page = await openTab(context, server.url, errors);

const shown = () => shownIds(page);
const text = (id) => page.textContent(`#${id}`);
const until = (id, wanted) => untilIn(page, id, wanted);
const event = (id, n, data = n) => JSON.stringify({ type: "t.number", source_type: "demo", source_id: id, data });
const numbers = (from, to) => Array.from({ length: to - from }, (_, n) => event(`key-${(from + n) % 37}`, from + n));

/// Every event once, whatever their order.
function assertSame(shown, log) {
  const [a, b] = [new Set(shown), new Set(log)];
  const counts = { shown: shown.length, log: log.length, missing: log.filter((id) => !a.has(id)).length, foreign: shown.filter((id) => !b.has(id)).length };
  assert.deepEqual(counts, { shown: log.length, log: log.length, missing: 0, foreign: 0 });
}

async function choose(channel) {
  await page.fill("#channel", channel);
  await page.keyboard.press("Enter");
  await until("state-name", "Live");
  await page.waitForSelector("li.event");
}

const steps = {
  async "an empty log says what to do"() {
    await page.goto(`${server.url}/`);
    await until("state-name", "Live");
    await until("empty-title", "No events yet");
    assert.match(await text("empty-curl"), new RegExp(`^curl ${server.url}/v1/events`));
  },

  async "273 real events are counted and shown"() {
    await server.publish(LINES);
    await until("received", "273");
    await until("matched", "273 held here");
    assert.equal(LINES.length, 273);
    assert.equal((await shown()).length, 200);
    assert.match(await text("latency"), /ms|s$/);
    if (pictures) await page.screenshot({ path: `${pictures}/page.png` });
  },

  async "filters by type and text"() {
    const pushes = LINES.map((line) => JSON.parse(line)).filter((event) => event.type.includes("github.push")).length;
    assert.ok(pushes > 0);
    await page.fill("#type", "github.push");
    await until("matched", `${pushes} of 273`);
    await page.waitForFunction((count) => document.querySelectorAll("li.event").length === count, pushes);
    await page.fill("#text", "no such text anywhere");
    await until("empty-title", "Nothing here matches");
    await page.fill("#text", "");
    await page.fill("#type", "");
    await until("matched", "273 held here");
  },

  async "an event opens as a tree and stops the list"() {
    await page.click("li.event .head");
    await until("state-name", "Paused");
    const first = (await shown())[0];
    await page.waitForSelector(".detail .tree details[open] .name");
    await server.publish(numbers(0, 20));
    await until("pause", "20 new");
    assert.equal((await shown())[0], first);
  },

  async "pages back through history and goes live without a gap"() {
    const back = await allPages(page);
    assert.equal(new Set(back).size, back.length, "no event twice");
    assert.equal(back.length, 273);
    await server.publish(numbers(20, 50));
    await until("pause", "50 new");
    await page.click("#pause");
    await until("state-name", "Live");
    await until("received", "323");
    await page.click("#pause");
    assertSame(await allPages(page), await server.ids("events:*"));
    await page.click("#pause");
  },

  async "what is copied gives the same events"() {
    await choose("events:repo:Codertocat/Hello-World");
    await page.click("#pause");
    await page.click("#copy");
    await page.click("#copy-curl");
    await until("copy-curl", "Copied");
    const command = await page.evaluate(() => navigator.clipboard.readText());
    await page.keyboard.press("Escape");
    const answer = JSON.parse(execFileSync("sh", ["-ec", command], { maxBuffer: 1 << 26 }));
    assert.deepEqual(answer.events.map((event) => event.id), await shown());
    await choose("events:*");
  },

  async "foreign markup stays text"() {
    const attack = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`;
    const data = { html: attack, [attack]: [attack] };
    await server.publish([JSON.stringify({ type: attack, source_type: "demo", source_id: "x", data })]);
    await until("received", "1");
    await page.waitForFunction((attack) => document.querySelector("li.event .type").textContent === attack, attack);
    await page.click("li.event .head");
    assert.ok((await page.textContent(".detail .tree")).includes("<img src=x"));
    assert.equal(await page.$$eval("#events img, #events script", (found) => found.length), 0);
    assert.match(await page.title(), /^events:\*/);
    await page.click("#pause");
  },

  async "numbers keep their digits"() {
    await server.publish([event("digits", 0, 0).replace('"data":0', '"data":{"n":12345678901234567890.10}')]);
    await until("received", "2");
    await page.waitForFunction(() => document.querySelector("li.event .channel").textContent === "events:demo:digits");
    await page.click("li.event .head");
    assert.ok((await page.textContent(".detail .tree")).includes("12345678901234567890.10"));
    await page.click("#pause");
  },

  async "publishes one event and checks its JSON"() {
    await page.keyboard.press("e");
    await page.fill("#publish-data", '{"a": }');
    assert.ok(await page.isDisabled("#publish-send"));
    assert.equal(await page.getAttribute("#publish-data", "aria-invalid"), "true");
    await page.fill("#publish-channel", "events:demo:form");
    await page.fill("#publish-data", '{"a": 1}');
    await page.click("#publish-send");
    await until("publish-outcome", "Stored in partition");
    await page.keyboard.press("Escape");
    await until("received", "3");
  },

  async "completes channels from what exists, by keyboard"() {
    await page.keyboard.press("/");
    await page.fill("#channel", "demo:for");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await until("matched", "1 held here");
    assert.match(page.url(), /channel=events%3Ademo%3Aform/);
    await page.fill("#channel", "events:*:x");
    await page.keyboard.press("Enter");
    await until("state-name", "Refused");
    await choose("events:*");
    assert.equal(await text("received"), "0");
  },

  async "a killed server is seen, and healed from without a gap"() {
    await server.kill();
    await until("state-name", "Connection lost");
    assert.match(await text("state-since"), /^since \d/);
    if (pictures) await page.screenshot({ path: `${pictures}/lost.png` });
    await server.start();
    await server.publish(numbers(50, 62));
    await until("banner-text", "Connected again");
    await until("received", "12");
    await until("state-name", "Live");
    assert.match(await text("banner-text"), /no gap/);
    if (pictures) await page.screenshot({ path: `${pictures}/healed.png` });
    await page.click("#pause");
    assertSame(await allPages(page), await server.ids("events:*"));
    await page.click("#pause");
  },

  async "a flood is counted exactly and the rows stay bounded"() {
    const total = 50_000, batch = 5000;
    for (let from = 0; from < total; from += batch) await server.publish(numbers(from, from + batch));
    await until("received", (total + 12).toLocaleString("en"));
    assert.equal(await page.$$eval("li.event", (rows) => rows.length), 200);
    // What was dropped from memory is in the log: pages go on behind it, without a gap.
    await page.click("#pause");
    const log = new Set(await server.ids("events:*"));
    const ids = await shown();
    for (let pages = 0; pages < 30; pages += 1) {
      const last = ids.at(-1);
      await page.click("#older");
      await page.waitForFunction((last) => {
        const row = document.querySelector("li.event");
        return document.getElementById("older").textContent === "Older" && row && ![...document.querySelectorAll("li.event")].some((row) => row.dataset.id === last);
      }, last);
      ids.push(...await shown());
    }
    assert.equal(new Set(ids).size, 200 * 31, "no event twice");
    assert.ok(ids.every((id) => log.has(id)));
    await page.click("#pause");
    await until("state-name", "Live");
  },
};

try {
  for (const [name, step] of Object.entries(steps)) {
    await step().catch((error) => {
      error.message = `${name}: ${error.message}`;
      throw error;
    });
    assert.deepEqual(errors, [], name);
    console.log(`ok ${name}`);
  }
} finally {
  await browser.close();
  await server.remove();
}
