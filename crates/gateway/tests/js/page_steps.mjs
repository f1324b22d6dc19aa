// What the page promises, step by step; each goes on where the one before it stopped.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { allPages, openTab, shownIds, until as untilIn } from "./browser.mjs";
import { looksRight, tabThrough } from "./look.mjs";

const WIDTHS = [320, 360, 480, 640, 641, 800, 801, 1000, 1001, 1280, 1920, 2560];
const ROWS_MAX = 200;
// 200 rows, an open event, and what does not change.
const NODES_MAX = 3000;

const event = (id, n, data = n) => JSON.stringify({ type: "t.number", source_type: "demo", source_id: id, data });
const numbers = (from, to) => Array.from({ length: to - from }, (_, n) => event(`key-${(from + n) % 37}`, from + n));

/// Every event once, whatever their order.
function assertSame(shown, log) {
  const [a, b] = [new Set(shown), new Set(log)];
  const counts = { shown: shown.length, log: log.length, missing: log.filter((id) => !a.has(id)).length, foreign: shown.filter((id) => !b.has(id)).length };
  assert.deepEqual(counts, { shown: log.length, log: log.length, missing: 0, foreign: 0 });
}

export function steps({ server, context, page, errors, width, lines }) {
  const shown = () => shownIds(page);
  const text = (id) => page.textContent(`#${id}`);
  const until = (id, wanted) => untilIn(page, id, wanted);
  const rows = (count) => page.waitForFunction((count) => document.querySelectorAll("li.event").length === count, count).catch(async (error) => {
    throw new Error(`${(await shown()).length} rows and not ${count}: ${error.message}`);
  });
  const firstType = (type) => page.waitForFunction((type) => document.querySelector("li.event .type")?.textContent === type, type);
  const press = (key) => page.keyboard.press(key);

  async function choose(channel) {
    await page.fill("#channel", channel);
    await press("Enter");
    await until("state-name", "Live");
    await page.waitForFunction((channel) => new URLSearchParams(location.hash.slice(1)).get("channel") === channel, channel);
  }

  /// What the dialog with the code has in `id`.
  async function code(id) {
    await press("c");
    const found = await text(id);
    await press("Escape");
    return found;
  }

  return {
    async "completes channels that exist, seen or not"() {
      await server.publish([JSON.stringify({ type: "t", source_type: "shop", source_id: "before", data: 1 })]);
      await page.goto(`${server.url}/#channel=events:demo:nothing`);
      await until("state-name", "Live");
      await press("/");
      await page.keyboard.type("events:shop");
      const option = page.locator("#channel-names [role=option]", { hasText: "events:shop:before" });
      await option.waitFor();
      await looksRight(page, "completion");
      await press("Escape");
      assert.ok(await page.isHidden("#channel-names"));
      await press("Escape");
    },

    async "an empty channel says what to do"() {
      for (const [channel, from] of [["events:repo:*", "events:repo:first"], ["events:demo:it's", "events:demo:it's"]]) {
        await choose(channel);
        await until("empty-title", "No events yet");
        await looksRight(page, "empty");
        assert.match(await text("empty-curl"), new RegExp(`^curl '${server.url}/v1/events'`));
        await page.click("#empty-copy");
        const command = await page.evaluate(() => navigator.clipboard.readText());
        assert.equal(command, await text("empty-curl"));
        execFileSync("sh", ["-ec", command], { stdio: "pipe" });
        await rows(1);
        assert.equal(await page.textContent("li.event .channel"), from);
      }
    },

    async "events come live, counted and with their latency"() {
      await choose("events:github:*");
      const github = lines.map((line) => line.replace(/"source_type":"\w+"/, '"source_type":"github"'));
      await server.publish(github);
      await until("received", "273");
      await until("matched", "273 held here");
      assert.equal(lines.length, 273);
      await rows(ROWS_MAX);
      assert.match(await text("latency"), / ms$/);
      assert.match(await text("latency-error"), /^± \d+(\.\d)? ms$/);
      await looksRight(page, "live");
    },

    async "latency is since the log took an event, whatever time it carries"() {
      await choose("events:demo:old");
      const old = (time) => event("old", 0).replace("{", `{"time":"${time}",`);
      await server.publish(["2001-01-01T00:00:00Z", "2101-01-01T00:00:00Z"].map(old));
      await until("received", "2");
      await rows(2);
      for (const late of await page.$$eval("li.event .late", (cells) => cells.map((cell) => cell.textContent))) {
        assert.match(late, /^(< )?\d{1,4} ms$/);
      }
      await choose("events:demo:*");
      await choose("events:demo:old");
      await rows(2);
      assert.deepEqual(await page.$$eval("li.event .late", (cells) => cells.map((cell) => cell.textContent)), ["", ""], "history has no latency");
      await choose("events:github:*");
    },

    async "filters by type and text"() {
      const pushes = lines.map((line) => JSON.parse(line)).filter((event) => event.type.includes("github.push")).length;
      assert.ok(pushes > 0);
      while (!(await text("matched")).startsWith("273")) await page.click("#older").then(() => until("older", "Older"));
      await press("t");
      await page.keyboard.type("github.push");
      await until("matched", `${pushes} of 273`);
      await rows(pushes);
      await press("Escape");
      await press("f");
      await page.keyboard.type("no such text anywhere");
      await until("empty-title", "Nothing here matches");
      await looksRight(page, "nothing matches");
      await page.click("#empty-action");
      await until("matched", "273 held here");
      await page.click("#pause");
    },

    async "an event opens, folds, and stops the list"() {
      await page.click("li.event .head");
      await until("state-name", "Paused");
      const first = (await shown())[0];
      const branch = page.locator(".detail .tree details").first();
      await page.waitForSelector(".detail .tree details[open] .name");
      await looksRight(page, "open event");
      await branch.locator("summary").first().click();
      assert.equal(await branch.getAttribute("open"), null, "the payload folds");
      await server.publish(numbers(0, 20).map((line) => line.replace("demo", "github")));
      await until("pause", "20 new");
      assert.equal((await shown())[0], first);
      await page.click("li.event .head");
      assert.equal(await page.$(".detail"), null, "the event folds");
    },

    async "pages back through history and goes live without a gap"() {
      const back = await allPages(page);
      assert.equal(new Set(back).size, back.length, "no event twice");
      assert.equal(back.length, 273);
      await server.publish(numbers(20, 50).map((line) => line.replace("demo", "github")));
      await until("pause", "50 new");
      await press("p");
      await until("state-name", "Live");
      await rows(ROWS_MAX);
      await press("p");
      assertSame(await allPages(page), await server.ids("events:github:*"));
      await until("edge", "the beginning of the history");
      await press("p");
    },

    async "curl and JavaScript give the same events"() {
      await choose("events:github:Codertocat/Hello-World");
      await page.waitForSelector("li.event");
      await press("p");
      await press("c");
      await looksRight(page, "code");
      await page.click("#copy-curl");
      await until("copy-curl", "Copied");
      const command = await page.evaluate(() => navigator.clipboard.readText());
      await press("Escape");
      const answer = JSON.parse(execFileSync("sh", ["-ec", command], { maxBuffer: 1 << 26 }));
      assert.deepEqual(answer.events.map((event) => event.id), await shown());
      const script = (await code("snippet-script")).replace("console.log(event)", "console.log(event.id)");
      const printed = execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
      assert.deepEqual(printed.trim().split("\n"), await shown());
      await press("p");

      // Live: everything that is held, and what comes.
      const held = Number.parseInt(await text("matched"), 10);
      const live = (await code("snippet-script")).replace("console.log(event)", "window.got.push(event.id)");
      const tab = await openTab(context, server.url, errors);
      await tab.goto(`${server.url}/health/live`);
      await tab.evaluate(`window.got = []; ${live}; 0`);
      await tab.waitForFunction((held) => window.got.length === held, held);
      await server.publish([event("Codertocat/Hello-World", 1).replace("demo", "github")]);
      await tab.waitForFunction((held) => window.got.length === held + 1, held);
      await rows(held + 1);
      assert.deepEqual(await tab.evaluate(() => window.got.reverse()), await shown());
      await tab.close();
    },

    async "foreign markup stays text, and the policy is strict"() {
      await choose("events:demo:*");
      const attack = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`;
      const data = { html: attack, [attack]: [attack] };
      await server.publish([JSON.stringify({ type: attack, source_type: "demo", source_id: "x", data })]);
      await firstType(attack);
      await page.click("li.event .head");
      assert.ok((await page.textContent(".detail .tree")).includes("<img src=x"));
      assert.equal(await page.$$eval("#events img, #events script", (found) => found.length), 0);
      assert.match(await page.title(), /^events:demo:\*/);
      await looksRight(page, "markup");
      await press("p");
      const refused = await page.evaluate(() => new Promise((done) => {
        const refused = [];
        addEventListener("securitypolicyviolation", ({ effectiveDirective }) => refused.push(effectiveDirective) === 3 && done(refused));
        const script = document.createElement("script");
        script.textContent = "document.title = 'owned'";
        const image = document.createElement("img");
        image.src = "https://example.invalid/x.png";
        document.head.append(script, image);
        fetch("https://example.invalid/").catch(() => {});
        script.remove();
        image.remove();
      }));
      assert.deepEqual(refused.sort(), ["connect-src", "img-src", "script-src-elem"]);
      assert.match(await page.title(), /^events:demo:\*/);
      // The browser tells of what it refused.
      errors.splice(0, errors.length, ...errors.filter((error) => !/Content Security Policy|example\.invalid/.test(error)));
    },

    async "numbers keep their digits"() {
      await server.publish([event("digits", 0, 0).replace('"data":0', '"data":{"n":12345678901234567890.10}').replace("t.number", "t.digits")]);
      await firstType("t.digits");
      await page.click("li.event .head");
      assert.ok((await page.textContent(".detail .tree")).includes("12345678901234567890.10"));
      const long = "long".repeat(40);
      await server.publish([event(long, 0, { [long]: long }).replace("t.number", `t.${long}`)]);
      await press("p");
      await firstType(`t.${long}`);
      await page.click("li.event .head");
      await looksRight(page, "long names");
      await press("p");
    },

    async "publishes one event and checks its JSON"() {
      await press("e");
      await page.fill("#publish-data", '{"a": }');
      assert.ok(await page.isDisabled("#publish-send"));
      assert.equal(await page.getAttribute("#publish-data", "aria-invalid"), "true");
      await looksRight(page, "publish, wrong");
      await page.fill("#publish-channel", "events:demo:form");
      await page.fill("#publish-type", "t.form");
      await page.fill("#publish-data", '{"a": 1}');
      await page.focus("#publish-send");
      await press("Enter");
      await until("publish-outcome", "Stored in partition");
      await looksRight(page, "publish, stored");
      await press("Escape");
      await firstType("t.form");
    },

    async "is used by keyboard"() {
      await press("/");
      await page.fill("#channel", "demo:for");
      await press("ArrowDown");
      await press("Enter");
      await until("matched", "1 held here");
      assert.match(page.url(), /channel=events%3Ademo%3Aform/);
      await rows(1);
      await press("j");
      await press("Enter");
      await page.waitForSelector(".detail");
      await until("state-name", "Paused");
      await press("Enter");
      assert.equal(await page.$(".detail"), null);
      await press("p");
      await until("state-name", "Live");
      await press("?");
      await page.waitForSelector("#help-dialog[open]");
      await looksRight(page, "keys");
      await press("Escape");
      await page.evaluate(() => document.activeElement.blur());
      await page.mouse.click(2, 2);
      const reached = await tabThrough(page);
      for (const id of ["channel", "follow", "publish", "copy", "text", "type", "pause", "head"]) assert.ok(reached.includes(id), `${id} in ${reached}`);
    },

    async "a pattern that is none is refused with the reason"() {
      await page.fill("#channel", "events:*:x");
      await press("Enter");
      await until("state-name", "Refused");
      await until("empty-title", "This cannot be followed");
      await looksRight(page, "refused");
      await page.click("#empty-action");
      await until("state-name", "Live");
      assert.equal(await page.inputValue("#channel"), "events:*");
      await page.waitForSelector("li.event");
    },

    async "a killed server is seen, and healed from without a gap"() {
      await server.kill();
      await until("state-name", "Connection lost");
      assert.match(await text("state-since"), /^since \d/);
      await page.waitForSelector("#banner.wrong");
      await looksRight(page, "lost");
      await server.start();
      await server.publish(numbers(50, 62));
      await until("banner-text", "Connected again");
      await until("received", "12");
      await until("state-name", "Live");
      assert.match(await text("banner-text"), /no gap/);
      await page.waitForSelector("li.note");
      await looksRight(page, "healed");
      await press("p");
      assertSame(await allPages(page), await server.ids("events:*"));
      await press("p");
      await until("log-status", "up");
    },

    async "a part that is away is told, with since when and why, as long as it is"() {
      const since = new Date(Date.now() - 60_000).toISOString();
      const reason = `no answer from ${"redis-of-the-cluster-with-a-long-name.".repeat(4)}example <b>bold</b>`;
      const up = { status: "up", since };
      const asked = async (part, health) => {
        await page.unroute("**/health/ready");
        await page.route("**/health/ready", (route) => route.fulfill({
          json: { status: "degraded", time: new Date().toISOString(), log: up, bus: up, [part]: health },
        }));
      };
      assert.ok(await page.isHidden("#away"));
      for (const [part, kind, meaning] of [["bus", "away", "Events still come"], ["registry", "away", "Lists"], ["log", "away wrong", "Nothing can be published"]]) {
        await asked(part, { status: "down", since, reason });
        await until("away-parts", `${part} is down since ${new Date(since).toLocaleTimeString("en-GB")}. No answer from redis`);
        assert.equal(await page.getAttribute("#away", "class"), kind);
        assert.match(await text("away-parts"), new RegExp(`<b>bold</b>\\. ${meaning}`), "what it says is text");
        await looksRight(page, `${part} is away`);
      }
      await page.unroute("**/health/ready");
      await page.waitForSelector("#away", { state: "hidden" });
      await until("log-status", "up");
    },

    async "five thousand events a second are counted exactly, and the rows stay bounded"() {
      await choose("events:flood:*");
      await page.evaluate(() => {
        window.most = { rows: 0, nodes: 0, frames: 0 };
        const look = () => {
          window.most.rows = Math.max(window.most.rows, document.querySelectorAll("li.event").length);
          window.most.nodes = Math.max(window.most.nodes, document.querySelectorAll("*").length);
          window.most.frames += 1;
          window.looking = requestAnimationFrame(look);
        };
        look();
      });
      const total = 15_000, batch = 500;
      for (let from = 0; from < total; from += batch) {
        // The rate; nothing is waited for.
        const due = new Promise((done) => setTimeout(done, 1000 * batch / 5000));
        await server.publish(numbers(from, from + batch).map((line) => line.replace("demo", "flood")));
        await due;
      }
      await until("received", total.toLocaleString("en"));
      const most = await page.evaluate(() => (cancelAnimationFrame(window.looking), window.most));
      assert.ok(most.rows <= ROWS_MAX && most.nodes <= NODES_MAX && most.frames > 10, JSON.stringify(most));
      assert.equal((await shown()).length, ROWS_MAX);
      assert.equal(await text("received"), total.toLocaleString("en"));
      // What was dropped from memory is in the log: pages go on behind it, without a gap.
      await press("p");
      const ids = await shown();
      while (ids.length < 6000) {
        const last = ids.at(-1);
        await press("o");
        await page.waitForFunction((last) => {
          const rows = [...document.querySelectorAll("li.event")];
          return document.getElementById("older").textContent === "Older" && rows.length > 0 && !rows.some((row) => row.dataset.id === last);
        }, last);
        ids.push(...await shown());
      }
      const log = new Set(await server.ids("events:flood:*"));
      assert.equal(new Set(ids).size, ids.length, "no event twice");
      assert.ok(ids.every((id) => log.has(id)));
      await press("n");
      await until("older", "Older");
      await press("p");
      await until("state-name", "Live");
    },

    async "what is damaged is told in its place, by keyboard too"() {
      const one = (n) => JSON.stringify({ id: `damaged-${n}`, type: "t", source_type: "damaged", source_id: "one", data: `precious-${n}` });
      for (let n = 0; n < 7; n += 1) await server.publish([one(n)]);
      await server.stop();
      for (const n of [2, 3, 5]) server.damage(`precious-${n}`);
      await server.start();
      await choose("events:damaged:one");
      await until("matched", "4 held here");
      await rows(4);
      const seen = await page.$$eval("#events > li", (rows) => rows.map((row) => row.dataset.id ?? row.textContent));
      const { gaps } = await server.page("events:damaged:one");
      const told = gaps.map(({ partition, offset, records }) => records === 1
        ? `Offset ${offset} of partition ${partition} is damaged and cannot be shown`
        : `Offsets ${offset} to ${offset + 1} of partition ${partition} are damaged and cannot be shown`);
      assert.deepEqual(gaps.map(({ records }) => records), [1, 2], "the newest first");
      assert.deepEqual(seen, ["damaged-6", told[0], "damaged-4", told[1], "damaged-1", "damaged-0"]);
      // No filter can know what was in it.
      await page.fill("#text", "precious-4");
      await until("matched", "1 of 4 held here");
      await rows(1);
      assert.deepEqual(await page.$$eval("#events > .gap", (rows) => rows.map((row) => row.textContent)), told);
      await page.fill("#text", "");
      await rows(4);
      await page.evaluate(() => document.activeElement.blur());
      await press("j");
      await press("ArrowDown");
      const focused = () => page.evaluate(() => document.activeElement.textContent);
      assert.equal(await focused(), told[0]);
      await press("Enter");
      assert.match(await page.textContent(".gap .detail"), /are not what was written.*partition.*offset/s);
      assert.equal(await page.getAttribute(".gap .head", "aria-expanded"), "true");
      await looksRight(page, "damage");
      await press("Enter");
      assert.equal(await page.$(".detail"), null);
      await press("j");
      await press("j");
      assert.equal(await focused(), told[1]);
      const command = await code("snippet-curl");
      const answer = JSON.parse(execFileSync("sh", ["-ec", command], { stdio: "pipe" }));
      assert.deepEqual(answer.events.map((event) => event.id), await shown());
      await press("p");
      await server.publish([one(7)]);
      await rows(5);
    },

    async "fits every screen"() {
      const { height } = page.viewportSize();
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height });
        await looksRight(page, `${width} px`);
      }
      await page.setViewportSize({ width, height });
    },
  };
}
