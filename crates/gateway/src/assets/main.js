// The page: what is followed, what is shown of it, and the state of the connection.

import { Channels, Names } from "./channels.js";
import { ServerClock } from "./clock.js";
import { doubt, latency } from "./event.js";
import { Follow } from "./follow.js";
import { listen } from "./keys.js";
import { List, ROWS, duration } from "./list.js";
import { Parts } from "./parts.js";
import { Picker } from "./picker.js";
import { Publish } from "./publish.js";
import { Rate, path } from "./rate.js";
import { curl, publishing, script } from "./snippet.js";

const byId = (id) => document.getElementById(id);
const EVERYTHING = "events:*";
const HEALED_SHOWN_MS = 30_000;
// A filter looks through this many pages of history before it asks whether to go on.
const FILTER_PAGES_MAX = 10;

const channels = new Channels();
const types = new Names();
const publish = new Publish();
const clock = new ServerClock();
const away = new Parts(byId("away"), byId("away-parts"));
const filter = { text: "", type: "" };
let follow = null;
let rate = new Rate();
let receivedAtFreeze = 0;
let frozenSince = 0;
let shownLost = null;
let healed = null;
let isTurning = false;
let isSearchLong = false;

const list = new List(byId("events"), {
  follow: open,
  read: freeze,
  copy,
  rendered: showPages,
});

// ---- what is followed

function open(channel) {
  follow?.stop();
  healed = null;
  rate = new Rate();
  const own = new Follow(channel, clock, {
    state: showState,
    events: (events) => follow === own && take(events),
    moved: () => follow === own && rematch(),
    healed: heal,
    lost: lose,
  });
  follow = own;
  byId("channel").value = channel;
  document.title = `${channel} · dualstream`;
  list.show(own);
  own.start();
  remember();
  showCounts();
}

/// Leaves the field too, so that keys are shortcuts again.
function choose(channel) {
  if (channel === "") return;
  byId("channel").blur();
  open(channel);
}

function take(events) {
  rate.count(events.length);
  for (const event of events) {
    event.matches = matches(event);
    if (event.delay !== null) rate.late(event.delay);
    if (event.id) channels.see(event.channel);
    types.see(event.type);
  }
  if (!follow.frozen) list.changed();
}

function heal({ ms, count }) {
  const caught = `${count.toLocaleString("en")} ${count === 1 ? "event" : "events"} caught up`;
  const ending = !follow.isHistory ? "what was sent meanwhile is not kept on this channel"
    : follow.isBroken ? "some can no longer be had" : "no gap";
  healed = { text: `Connected again after ${duration(ms)}: ${caught}, ${ending}.`, until: Date.now() + HEALED_SHOWN_MS };
  list.notes.push({ number: follow.end - count, text: `connection lost for ${duration(ms)}; ${caught}, ${ending}`, kind: "good" });
  follow.isBroken = false;
  showParts();
  list.clear();
  list.changed();
  showState(follow.state);
}

function lose(reason) {
  follow.isBroken = true;
  list.note(`events are missing here: ${reason}`, "wrong");
}

// ---- the filter

function matches(event) {
  if (event.gap) return true;
  return (!filter.type || event.type.toLowerCase().includes(filter.type))
    && (!filter.pattern || filter.pattern.test(event.text));
}

function rematch() {
  for (const event of follow.held) {
    event.matches = matches(event);
    if (event.gap) continue;
    types.counts.has(event.type) || types.see(event.type);
    if (event.id) channels.counts.has(event.channel) || channels.see(event.channel);
  }
  list.changed();
  showCounts();
}

function isFiltered() {
  return filter.text !== "" || filter.type !== "";
}

function clearFilter() {
  byId("text").value = "";
  byId("type").value = "";
  setFilter();
}

function setFilter() {
  filter.text = byId("text").value;
  filter.type = byId("type").value.trim().toLowerCase();
  filter.pattern = filter.text && new RegExp(filter.text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i");
  isSearchLong = false;
  for (const event of follow.held) event.matches = matches(event);
  list.reset();
  if (follow.frozen) list.top = follow.end - 1;
  remember();
  showCounts();
}

// ---- live, paused, pages

function freeze() {
  if (follow.frozen) return;
  follow.frozen = true;
  list.freeze();
  frozenSince = Date.now();
  // What came and is not drawn yet is new as well.
  receivedAtFreeze = follow.received - (follow.end - 1 - list.top);
  showCounts();
  showPages();
}

function thaw() {
  if (!follow.frozen) return;
  follow.thaw();
  list.reset();
  scrollTo({ top: 0 });
  showCounts();
  showPages();
}

function toggle() {
  if (follow.frozen) thaw();
  else freeze();
}

async function older() {
  freeze();
  if (isTurning) return;
  isTurning = true;
  isSearchLong = false;
  showPages();
  try {
    const own = follow;
    for (let pages = 0; ; pages += 1) {
      const below = list.collect(list.bottom - 1, own.first, ROWS);
      if (below.length >= ROWS || own.older === null || pages >= FILTER_PAGES_MAX) break;
      await own.back();
      if (own !== follow) return;
      rematch();
    }
    if (!list.turnOlder()) isSearchLong = follow.older !== null;
  } catch (error) {
    healed = { text: `Older events cannot be read now: ${error.message}`, until: Date.now() + HEALED_SHOWN_MS };
    showState(follow.state);
  } finally {
    isTurning = false;
    showPages();
  }
}

function newer() {
  if (!list.turnNewer()) thaw();
}

function showPages() {
  const isMore = follow.older !== null || list.bottom > follow.first;
  byId("older").disabled = isTurning || !isMore;
  byId("older").textContent = isTurning ? "Reading …" : isSearchLong ? "Search further back" : "Older";
  byId("newer").disabled = list.pages.length === 0;
  const edge = isMore || list.rows.length === 0 ? "" : follow.isHistory ? "the beginning of the history" : "";
  byId("edge").textContent = edge;
  showEmpty();
}

/// Why nothing is to be seen, and what one can do about it.
function emptiness() {
  const { name, reason } = follow.state;
  if (name === "refused") {
    const title = "This cannot be followed";
    return { title, text: reason, action: `Follow ${EVERYTHING}`, act: () => open(EVERYTHING) };
  }
  if (isFiltered() && follow.held.length > 0) {
    const text = "New events are still counted; older ones can be searched page by page.";
    return { title: "Nothing here matches the filter", text, action: "Clear the filter", act: clearFilter };
  }
  const title = name === "connecting" ? "Connecting …" : "No events yet";
  const text = `Whatever is published to ${follow.channel} appears here at once.`;
  return { title, text, action: "Publish an event", act: () => publish.open(follow.channel), isNew: true };
}

function showEmpty() {
  const isEmpty = list.rows.length === 0;
  byId("empty").hidden = !isEmpty;
  if (!isEmpty) return;
  const { title, text, action, isNew } = emptiness();
  put("empty-title", title);
  put("empty-text", text);
  put("empty-action", action);
  if (isNew) put("empty-curl", publishing(location.origin, follow.channel));
  for (const id of ["empty-curl", "empty-copy"]) byId(id).hidden = !isNew;
}

// ---- numbers and state

function showCounts() {
  const number = (value) => value.toLocaleString("en");
  put("received", number(follow.received));
  put("rate", number(rate.perSecond()));
  byId("spark").setAttribute("d", path(rate.minute()));
  const late = rate.quantiles();
  put("latency", late ? duration(Math.max(0, latency(late.half))) : "–");
  put("latency-most", late ? duration(Math.max(0, latency(late.most))) : "–");
  put("latency-error", late ? `± ${duration(doubt(late.half))}` : "");
  const held = number(follow.count());
  const matching = () => number(follow.count((event) => event.matches));
  put("matched", isFiltered() ? `${matching()} of ${held} held here match` : `${held} held here`);
  const waiting = follow.received - receivedAtFreeze;
  put("pause", !follow.frozen ? "Pause" : follow.isFull ? "Go live · many new" : `Go live · ${number(waiting)} new`);
  byId("pause").setAttribute("aria-pressed", String(follow.frozen));
  document.body.classList.toggle("frozen", follow.frozen);
  showState(follow.state);
}

const STATES = {
  connecting: "Connecting", live: "Live", "catching-up": "Catching up", lost: "Connection lost", refused: "Refused",
  held: "Paused, reading stopped",
};

function showState(state) {
  if (!follow || state !== follow.state) return;
  const name = follow.frozen && state.name === "live" ? "paused" : state.name;
  const pill = byId("state");
  pill.className = `state ${name}`;
  put("state-name", name === "paused" ? "Paused" : STATES[name]);
  put("state-since", `since ${new Date(name === "paused" ? frozenSince : state.since).toLocaleTimeString("en-GB")}`);
  const banner = byId("banner");
  if (state.name === "lost") {
    if (state !== shownLost) showParts();
    shownLost = state;
    const wait = Math.max(0, Math.ceil((state.again - Date.now()) / 1000));
    put("banner-text", `Connection lost ${duration(Date.now() - state.since)} ago. Trying again ${wait ? `in ${wait} s` : "now"}. ${follow.isHistory ? "Reading goes on where it stopped." : "What is sent meanwhile is not kept on this channel."}`);
    banner.className = "banner wrong";
  } else if (state.name === "held") {
    put("banner-text", "So much is held that reading stopped while you look. The rest stays in the log; going live begins at the newest.");
    banner.className = "banner";
  } else if (healed && healed.until > Date.now()) {
    put("banner-text", healed.text);
    banner.className = "banner good";
  }
  banner.hidden = !(state.name === "lost" || state.name === "held" || (healed && healed.until > Date.now()));
  byId("again").hidden = state.name !== "lost";
  showEmpty();
}

function put(id, text) {
  const node = byId(id);
  if (node.textContent !== text) node.textContent = text;
}

async function showParts() {
  if (document.hidden) return;
  const parts = await clock.ask();
  away.show(parts);
  for (const name of ["log", "bus"]) {
    const part = parts?.[name]?.status ?? "unknown";
    byId(name).className = `part ${part}`;
    put(`${name}-status`, part);
  }
}

// ---- elsewhere

/// What is shown stands in the address, so that it can be sent to somebody.
function remember() {
  const query = new URLSearchParams({ channel: follow.channel });
  if (filter.type) query.set("type", filter.type);
  if (filter.text) query.set("text", filter.text);
  history.replaceState(null, "", `#${query}`);
}

function showSnippet() {
  const request = { origin: location.origin, channel: follow.channel, ...filter, since: follow.older };
  let note = "A stream of everything held here, and what comes after it.";
  if (follow.older === null && follow.isHistory) request.since = "earliest";
  if (follow.frozen && list.rows.length > 0) {
    // The nearest place above the page whose cursor is known.
    let above = list.rows[0].number;
    while (above < follow.end - 1 && !follow.at(above).after) above += 1;
    let limit = 0;
    for (let number = list.bottom; number <= above; number += 1) limit += follow.at(number).gap === null;
    if (follow.at(above).after && limit > 0 && limit <= 1000) {
      Object.assign(request, { since: follow.at(above).after, limit });
      note = "This page of the history, newest first.";
      // Events of different channels have no order among them but the log's partitions.
      if (follow.channel.endsWith("*")) note += " Each channel is in its order; how channels mix, and so where the page ends, may differ.";
    }
  }
  if (filter.text || filter.type) note += " The filter works in the browser: the script has it, curl gives everything.";
  byId("snippet-note").textContent = note;
  byId("snippet-curl").textContent = curl(request);
  byId("snippet-script").textContent = script(request);
  byId("snippet-dialog").showModal();
}

async function copy(text, button) {
  const before = button.dataset.text ??= button.textContent;
  const isCopied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  button.textContent = isCopied ? "Copied" : "Not allowed: select and copy";
  setTimeout(() => { button.textContent = before; }, 1500);
}

// ---- beginning

function begin() {
  new Picker(byId("channel"), byId("channel-names"), (text, max) => channels.matching(text, max), choose, (text) => channels.ask(text));
  new Picker(byId("type"), byId("type-names"), (text, max) => types.matching(text, max), setFilter);
  byId("channel").addEventListener("keydown", ({ key }) => {
    if (key === "Escape") byId("channel").value = follow.channel;
  });
  byId("follow").addEventListener("click", () => choose(byId("channel").value.trim()));
  byId("text").addEventListener("input", setFilter);
  byId("type").addEventListener("input", setFilter);
  const clicks = {
    pause: toggle, older, newer, again: () => follow.hurry(), publish: () => publish.open(follow.channel), copy: showSnippet,
    help: () => byId("help-dialog").showModal(), "empty-action": () => emptiness().act(),
    "empty-copy": () => copy(byId("empty-curl").textContent, byId("empty-copy")),
    "copy-curl": () => copy(byId("snippet-curl").textContent, byId("copy-curl")),
    "copy-script": () => copy(byId("snippet-script").textContent, byId("copy-script")),
  };
  for (const [id, action] of Object.entries(clicks)) byId(id).addEventListener("click", action);
  for (const close of document.querySelectorAll("[data-close]")) {
    close.addEventListener("click", () => close.closest("dialog").close());
  }
  listen({
    "/": () => byId("channel").select(), f: () => byId("text").focus(), t: () => byId("type").focus(), p: toggle,
    o: older, n: newer, j: () => list.move(1), k: () => list.move(-1), e: clicks.publish, c: showSnippet, "?": clicks.help,
  });
  addEventListener("online", () => follow.hurry());
  addEventListener("hashchange", restore);
  setInterval(showCounts, 250);
  setInterval(showParts, 5000);
  showParts();
  restore();
}

function restore() {
  const asked = new URLSearchParams(location.hash.slice(1));
  byId("text").value = asked.get("text") ?? "";
  byId("type").value = asked.get("type") ?? "";
  open(asked.get("channel") ?? EVERYTHING);
  if (asked.has("text") || asked.has("type")) setFilter();
}

begin();
