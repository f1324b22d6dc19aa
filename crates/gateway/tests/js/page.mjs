// The page in a real Chromium against the real program, narrow and wide, light and dark.
//
//   node page.mjs PROGRAM CHROMIUM EVENTS.ndjson
//
// `page_steps.mjs` says what is done and looked at. Every step waits for what it wants to see, and fails when it does not
// come. With a folder in PICTURES each step leaves a picture there.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { launch, openTab } from "./browser.mjs";
import { steps } from "./page_steps.mjs";
import { Server } from "./server.mjs";

const [program, executablePath, file] = process.argv.slice(2);
const { PICTURES, ONLY } = process.env;
const LINES = readFileSync(file, "utf8").trim().split("\n");

async function run(browser, width, colorScheme) {
  const server = await new Server(program).start();
  const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme });
  try {
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    const errors = [];
    const page = await openTab(context, server.url, errors);
    for (const [name, step] of Object.entries(steps({ server, context, page, errors, width, lines: LINES }))) {
      await step().catch((error) => {
        error.message = `${width} px, ${colorScheme}: ${name}: ${error.message}`;
        throw error;
      });
      assert.deepEqual(errors, [], name);
      if (PICTURES) await page.screenshot({ path: `${PICTURES}/${width}-${colorScheme}-${name.replaceAll(" ", "-")}.png` });
    }
    console.log(`ok ${width} px, ${colorScheme}`);
  } finally {
    await context.close();
    await server.remove();
  }
}

const browser = await launch(executablePath);
try {
  for (const width of [360, 1280]) {
    for (const scheme of ["light", "dark"]) {
      if (!ONLY || ONLY === `${width}-${scheme}`) await run(browser, width, scheme);
    }
  }
} finally {
  await browser.close();
}
