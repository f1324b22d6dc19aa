// The main job in a browser: the page, the SDK on a pattern and on a channel, and an `EventSource` follow while the
// server is killed twice and the network of one of them is cut. Each ends with every acknowledged event exactly once,
// in the order of its source, and none of them was loaded again.
//
//   node main_job.mjs PROGRAM CHROMIUM EVENTS.ndjson [PICTURES]
//
// ```text
//             ┌──────────── page       (Chromium)     events:*
// publisher ─▶│ server ──── EventSource (Chromium)    events:*
//   retries   │  kill -9 ── SDK                       one channel
//             └──────╳───── SDK, behind the cable     events:*
// ```

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { allPages, launch, openTab, until } from "./browser.mjs";
import { Cable } from "./cable.mjs";
import { EventSourceFollower, SdkFollower } from "./followers.mjs";
import { Publisher, sourceOf } from "./publisher.mjs";
import { Server } from "./server.mjs";

const [program, executablePath, file, pictures] = process.argv.slice(2);
const PATTERN = "events:*", SOURCE = "repo:Codertocat/Hello-World";
const EVENTS = readFileSync(file, "utf8").trim().split("\n")
  .map((line, number) => ({ id: `line-${number}`, ...JSON.parse(line) }));
const SOURCES = [...new Set(EVENTS.map(sourceOf))];

const server = await new Server(program).start();
const browser = await launch(executablePath);
const errors = [];
const cable = new Cable(server.listen);

/// One more event for each source. It comes after all others of its source: nothing is still on its way, and nothing
/// comes a second time after it.
function endOf(source) {
  const [source_type, ...source_id] = source.split(":");
  return { id: `end-${source}`, type: "end", source_type, source_id: source_id.join(":"), data: null };
}

function bySource(events) {
  const ids = {};
  for (const event of events) (ids[sourceOf(event)] ??= []).push(event.id);
  return ids;
}

/// Every event exactly once, and in the order of its source.
function check(name, events, wanted) {
  assert.equal(events.length, wanted.length, `${name}: count`);
  assert.deepEqual(bySource(events), bySource(wanted), name);
}

/// The page as the README shows it: light, and dark.
async function picture(page) {
  await until(page, "log-status", "up");
  for (const [colorScheme, name] of [["light", "page"], ["dark", "page-dark"]]) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: `${pictures}/${name}.png` });
  }
}

async function crash() {
  await server.kill();
  await server.start();
}

async function run() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await openTab(context, server.url, errors);
  await page.goto(`${server.url}/`);
  await until(page, "state-name", "Live");
  await page.evaluate(() => { window.isTheSame = true; });
  const eventSource = await EventSourceFollower.open(context, server.url, PATTERN, errors);
  await page.bringToFront();
  const onPattern = new SdkFollower(await cable.plug(), PATTERN);
  const onChannel = new SdkFollower(server.listen, `events:${SOURCE}`);
  await onPattern.subscribed();
  await onChannel.subscribed();

  const publisher = new Publisher(server.url, EVENTS);
  publisher.allow(80);
  await publisher.acknowledged(40);
  await crash();
  await publisher.acknowledged(80);

  await onPattern.got(1);
  cable.kill();
  publisher.allow(140);
  await publisher.acknowledged(140);
  cable.drop();
  await cable.gate.until("a connection into the dead cable", () => cable.lost > 0);

  publisher.allow(200);
  await publisher.acknowledged(170);
  await crash();
  await publisher.acknowledged(200);
  assert.ok(onPattern.events.length <= 80, "nothing passed the dead cable");
  cable.mend();
  publisher.allow(EVENTS.length);
  await publisher.acknowledged(EVENTS.length);
  assert.ok(publisher.failures > 0, "the kills were felt");
  assert.equal(new Set(publisher.stored.values()).size, EVENTS.length, "each was stored once");

  await until(page, "received", String(EVENTS.length));
  await until(page, "state-name", "Live");
  if (pictures) await picture(page);

  await server.publish(SOURCES.map((source) => JSON.stringify(endOf(source))));
  const wanted = [...EVENTS, ...SOURCES.map(endOf)];
  const ofSource = wanted.filter((event) => sourceOf(event) === SOURCE);
  await onPattern.got(wanted.length);
  await onChannel.got(ofSource.length);
  await eventSource.got(wanted.length);
  await until(page, "received", String(wanted.length));

  check("SDK on a pattern", await onPattern.all(), wanted);
  check("SDK on a channel", await onChannel.all(), ofSource);
  check("EventSource", await eventSource.all(), wanted);
  assert.deepEqual(await eventSource.faults(), []);
  assert.equal(await page.textContent("#received"), String(wanted.length));
  await page.click("#pause");
  const known = new Map(wanted.map((event) => [event.id, event]));
  check("page", (await allPages(page)).reverse().map((id) => known.get(id)), wanted);
  assert.ok(await page.evaluate(() => window.isTheSame), "the page was loaded again");
  for (const sdk of [onPattern, onChannel]) {
    assert.deepEqual(sdk.faults, []);
    const [first, ...returns] = sdk.returns;
    assert.ok(!first.wasRecovering && returns.length >= 2, JSON.stringify(sdk.returns));
    assert.ok(returns.every(({ wasRecovering, recovered }) => wasRecovering && recovered), JSON.stringify(returns));
    sdk.close();
  }
  assert.deepEqual(errors, []);
}

try {
  await run();
} finally {
  cable.unplug();
  await browser.close();
  await server.remove();
}
