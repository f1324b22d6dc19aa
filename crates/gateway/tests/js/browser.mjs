// A Chromium and its tabs, for the tests.

import { chromium } from "playwright-core";

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

export const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 60_000);

export function launch(executablePath) {
  return chromium.launch({ executablePath, args: FLAGS });
}

/// A tab that may ask `origin` only; `errors` gets what goes wrong in it.
export async function openTab(context, origin, errors) {
  const tab = await context.newPage();
  tab.setDefaultTimeout(PATIENCE_MS);
  tab.on("pageerror", (error) => errors.push(error.stack));
  tab.on("console", (message) => {
    // What a server that is dead, or refuses, makes of a request is no error of the page.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) errors.push(message.text());
  });
  tab.on("request", (request) => {
    if (!request.url().startsWith(origin)) errors.push(`a request elsewhere: ${request.url()}`);
  });
  return tab;
}

/// Waits until the text of an element has `wanted` in it.
export function until(tab, id, wanted) {
  const has = ([id, wanted]) => document.getElementById(id).textContent.includes(wanted);
  return tab.waitForFunction(has, [id, wanted]).catch(async (error) => {
    const text = await tab.textContent(`#${id}`).catch(() => null);
    throw new Error(`#${id} is ${JSON.stringify(text)} and not ${JSON.stringify(wanted)}: ${error.message}`);
  });
}

/// Ids of the events on the screen.
export function shownIds(tab) {
  return tab.$$eval("li.event", (rows) => rows.map((row) => row.dataset.id));
}

/// Ids of all pages from the one shown back to the beginning; the first is the newest.
export async function allPages(tab) {
  const ids = await shownIds(tab);
  for (;;) {
    await tab.waitForFunction(() => document.getElementById("older").textContent !== "Reading …");
    if (await tab.isDisabled("#older")) return ids;
    const last = ids.at(-1);
    await tab.click("#older");
    await tab.waitForFunction((last) => {
      const rows = [...document.querySelectorAll("li.event")];
      const older = document.getElementById("older");
      return (rows.length > 0 && !rows.some((row) => row.dataset.id === last)) || (older.disabled && older.textContent === "Older");
    }, last);
    const next = await shownIds(tab);
    if (next.at(-1) === last) return ids;
    ids.push(...next);
  }
}
