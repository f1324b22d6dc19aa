// Runs every JavaScript block of the documents in a browser, as it is written there, against the real program. Each prints
// or shows an event that is published while it runs, or what it published itself.
//
//   node snippets.mjs PROGRAM CHROMIUM EVENTS.ndjson

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { launch, openTab } from "./browser.mjs";
import { Server } from "./server.mjs";

const [program, executablePath] = process.argv.slice(2);
const ROOT = new URL("../../../../", import.meta.url).pathname;
const DOCUMENTS = { "README.md": 1, "docs/guide/subscribe.md": 6, "docs/reference/client-protocol.md": 1 };
// The SDK as a script, for a page without a bundler.
const SDK = join(dirname(createRequire(import.meta.url).resolve("centrifuge")), "../dist/centrifuge.js");

function blocks(document) {
  const text = readFileSync(join(ROOT, document), "utf8");
  return text.split("```js\n").slice(1).map((block) => block.split("\n```")[0]);
}

/// The block for this server; what it imports is there already.
function script(block, server) {
  const own = block.replaceAll("127.0.0.1:8000", server.listen).replace(/^import .* from ["']centrifuge["'];$/m, "");
  return `(async () => { ${own}\n })()`;
}

/// The block as it is; and of a list of transports each alone, since a browser uses the first that connects.
function variants(block) {
  const transports = block.match(/^ *\{ transport: .*$/gm) ?? [];
  const alone = (own) => transports.filter((line) => line !== own).reduce((text, line) => text.replace(`${line}\n`, ""), block);
  return [block, ...transports.map(alone)];
}

function told(mark, source_type, source_id) {
  return JSON.stringify({ type: "push", source_type, source_id, data: { mark } });
}

async function run(context, server, block, mark) {
  const errors = [];
  const tab = await openTab(context, server.url, errors);
  await tab.goto(`${server.url}/health/live`);
  await tab.addScriptTag({ path: SDK });
  await tab.evaluate(() => {
    window.got = [];
    window.show = (...values) => window.got.push(...values);
    window.reload = () => { throw new Error("nothing is lost"); };
    console.log = window.show;
  });
  await tab.evaluate(script(block, server));
  // What was published before it is connected is not its business.
  const until = (mark) => tab.waitForFunction((mark) => JSON.stringify(window.got).includes(mark), mark, { timeout: 1000 });
  for (let count = 0; ; count += 1) {
    assert.ok(count < 60, `shows nothing:\n${block}`);
    await server.publish([told(`${mark}-${count}`, "user", "octocat"), told(`${mark}-${count}`, "repo", "octo/hello")]);
    if (await until(block.includes("fetch(") ? '"position"' : `${mark}-${count}`).then(() => true, () => false)) break;
  }
  assert.deepEqual(errors, [], block);
  await tab.close();
}

const server = await new Server(program).start();
const browser = await launch(executablePath);
try {
  const context = await browser.newContext();
  for (const [document, count] of Object.entries(DOCUMENTS)) {
    const found = blocks(document);
    assert.equal(found.length, count, `blocks of ${document}`);
    for (const [index, block] of found.flatMap(variants).entries()) await run(context, server, block, `${document}-${index}`);
  }
} finally {
  await browser.close();
  await server.remove();
}
