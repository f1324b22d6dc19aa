// Follows one channel or pattern: a run of its events without a gap, the newest page at first, what comes after by an
// event stream, what lies before page by page.
//
//   older pages <── older | held: oldest … newest | after ──> event stream
//
// Both ends are cursors of the log, so there is nothing to merge: the stream begins where the first page ended, and a
// new connection where the last one stopped. What is held is bounded; whatever is dropped moves a cursor, and can be
// read again from the log.

import { now } from "./clock.js";
import { CAUGHT_UP, HISTORY, LIVE, damaged, read, splitPage, time } from "./event.js";

export const PAGE = 200;
const HELD_MAX = 5000;
const HELD_CHARS_MAX = 24 * 1024 * 1024;
// What is beyond the bounds is dropped in portions of this share.
const PORTION = 0.2;
// The server gives a sign of life every 25 s.
const SILENCE_MS = 60_000;
const BACKOFF_MS_MAX = 8000;
// A stream that pauses for so long has caught up.
const LULL_MS = 400;
const EMPTY_PAGES_MAX = 10;

export class Refused extends Error {}

export class Follow {
  /// `on` is told: `state(state)`, `events(list)`, `healed({ms, count})`, `lost(reason)`, `moved()`.
  constructor(channel, clock, on) {
    this.channel = channel;
    this.clock = clock;
    this.on = on;
    this.held = [];
    this.chars = 0;
    // Number of the oldest event held; what comes later has higher numbers.
    this.first = 0;
    // Cursor before everything held; null when nothing is older.
    this.older = null;
    this.after = null;
    this.received = 0;
    // While somebody reads, nothing he may look at is dropped: at the bound reading stops instead.
    this.frozen = false;
    this.isFull = false;
    this.isHistory = true;
    // Events were lost that the log no longer has.
    this.isBroken = false;
    this.state = { name: "connecting", since: Date.now() };
  }

  get end() {
    return this.first + this.held.length;
  }

  /// How many of what is held are events, and match.
  count(isCounted = () => true) {
    return this.held.reduce((count, event) => count + (event.gap === null && isCounted(event)), 0);
  }

  at(number) {
    return this.held[number - this.first];
  }

  start() {
    this.stop();
    this.stopping = new AbortController();
    this.isFull = false;
    this.run(this.stopping.signal);
  }

  stop() {
    this.stopping?.abort();
    clearTimeout(this.lull);
  }

  /// Tries again at once.
  hurry() {
    this.wake?.();
  }

  /// Forgets what is held and begins at the newest page again.
  restart() {
    this.stop();
    this.first = this.end;
    this.held = [];
    this.chars = 0;
    this.after = null;
    this.older = null;
    this.start();
  }

  thaw() {
    this.frozen = false;
    if (this.isFull) this.restart();
    else this.trim();
  }

  async run(signal) {
    let failures = 0;
    this.enter("connecting");
    for (;;) {
      const received = this.received;
      try {
        if (this.after === null) await this.begin(signal);
        await this.read(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Refused) return this.enter("refused", { reason: error.message });
      }
      if (signal.aborted) return;
      failures = this.received > received || this.state.name !== "lost" ? 1 : failures + 1;
      const wait = Math.min(BACKOFF_MS_MAX, 500 * 2 ** failures) * (0.5 + Math.random() / 2);
      const since = this.state.name === "lost" ? this.state.since : Date.now();
      this.clock.forget();
      this.enter("lost", { since, again: Date.now() + wait });
      await new Promise((done) => {
        this.wake = done;
        setTimeout(done, wait);
      });
      if (signal.aborted) return;
    }
  }

  enter(name, more = {}) {
    this.state = { name, since: Date.now(), ...more };
    this.on.state(this.state);
  }

  /// The newest page; the stream goes on where it ends.
  async begin(signal) {
    const page = await this.page(null, signal);
    if (page === null) {
      this.isHistory = false;
      this.after = "";
      return;
    }
    this.after = page.latest;
    this.older = page.latest;
    this.takePage(page);
    // A page of a channel that has little in a large topic may be empty.
    for (let pages = 0; pages < EMPTY_PAGES_MAX && this.held.length === 0 && this.older !== null; pages += 1) {
      await this.back();
    }
    this.on.moved();
  }

  /// A page before a cursor; null on a channel that has no history.
  async page(before, signal) {
    const since = before === null ? "" : `&since=${before}`;
    const answer = await fetch(`${this.history()}&reverse=true&limit=${PAGE}${since}`, { signal });
    if (answer.ok) return splitPage(await answer.text());
    const problem = await answer.json().catch(() => ({}));
    if (problem.code === "not_stored") return null;
    throw failure(answer, problem);
  }

  history() {
    return `/v1/events?channel=${encodeURIComponent(this.channel)}`;
  }

  /// Reads one page more of what is older; whether there may be more still.
  async back() {
    const before = this.older;
    if (before === null) return false;
    const page = await this.page(before, this.stopping.signal);
    // Dropping may have moved the end while the page was on its way.
    if (page && this.older === before) this.takePage(page);
    return this.older !== null;
  }

  takePage(page) {
    const before = this.older;
    const events = page.events.map((text) => read(text, this.channel, null, HISTORY));
    // From the end on, so that the places before stay what they are.
    for (const gap of (page.gaps ?? []).reverse()) events.splice(gap.after, 0, damaged(gap));
    if (events.length > 0) events[0].after = before;
    events.reverse();
    this.older = page.next;
    this.held = events.concat(this.held);
    this.first -= events.length;
    for (const event of events) this.chars += event.text.length;
    if (this.frozen && this.isOver()) this.dropNewest();
  }

  async read(signal) {
    const began = this.state;
    const since = this.after ? `&since=${this.after}` : "";
    const url = `/v1/stream?channel=${encodeURIComponent(this.channel)}&event=message${since}`;
    const silence = new AbortController();
    let watchdog = setTimeout(() => silence.abort(), SILENCE_MS);
    const both = AbortSignal.any([signal, silence.signal]);
    try {
      const answer = await fetch(url, { signal: both, headers: { accept: "text/event-stream" }, cache: "no-store" });
      if (!answer.ok) throw failure(answer, await answer.json().catch(() => ({})));
      const opened = now();
      if (!this.clock.isKnown) await this.clock.ask(both);
      // By the server's clock; null when it did not say.
      this.openedAt = this.clock.at(opened);
      this.opened(began);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done || both.aborted) return;
        clearTimeout(watchdog);
        watchdog = setTimeout(() => silence.abort(), SILENCE_MS);
        rest = this.takeText(rest + value);
        if (this.isFull) return;
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  opened(began) {
    if (began.name !== "lost") return this.enter("live");
    this.catching = { count: 0, ms: Date.now() - began.since };
    this.enter("catching-up");
    this.waitForLull();
  }

  waitForLull() {
    clearTimeout(this.lull);
    this.lull = setTimeout(() => this.caughtUp(), LULL_MS);
  }

  caughtUp() {
    clearTimeout(this.lull);
    if (!this.catching || this.state.name !== "catching-up") return;
    const { count, ms } = this.catching;
    this.catching = null;
    this.enter("live");
    this.on.healed({ count, ms });
  }

  /// Takes the whole blocks of a text; gives back what is left.
  takeText(text) {
    const arrived = now();
    const events = [];
    let from = 0;
    for (let to; (to = text.indexOf("\n\n", from)) >= 0; from = to + 2) {
      const event = this.block(text.slice(from, to), arrived);
      if (event) events.push(event);
    }
    this.take(events);
    return text.slice(from);
  }

  block(text, arrived) {
    let data = null, id = null, name = "";
    for (const line of text.split("\n")) {
      if (line.startsWith("data: ")) data = data === null ? line.slice(6) : `${data}\n${line.slice(6)}`;
      else if (line.startsWith("id: ")) id = line.slice(4);
      else if (line.startsWith("event: ")) name = line.slice(7);
    }
    if (id !== null) this.after = id;
    if (data === null) return null;
    if (name === "unrecoverable") {
      this.on.lost(JSON.parse(data).reason);
      return null;
    }
    const event = read(data, this.channel, id, LIVE);
    if (event.id === "") event.at = arrived;
    else time(event, this.openedAt, arrived, this.clock.era);
    if (this.catching) this.countCaughtUp(event);
    return event;
  }

  countCaughtUp(event) {
    if (event.how !== CAUGHT_UP) return this.caughtUp();
    this.catching.count += 1;
    this.waitForLull();
  }

  take(events) {
    if (events.length === 0) return;
    this.received += events.length;
    for (const event of events) {
      this.held.push(event);
      this.chars += event.text.length;
    }
    this.on.events(events);
    this.trim();
  }

  isOver() {
    return this.held.length > HELD_MAX || this.chars > HELD_CHARS_MAX;
  }

  trim() {
    if (!this.isOver()) return;
    if (this.frozen) this.hold();
    else this.dropOldest();
  }

  /// Stops reading: what comes from now on stays in the log.
  hold() {
    if (this.isFull) return;
    this.isFull = true;
    this.stop();
    this.stopping = new AbortController();
    this.enter("held");
  }

  /// Drops up to an event whose cursor is known, so that the rest can be read again.
  dropOldest() {
    let count = 0, chars = 0;
    const enough = () => count >= this.held.length - HELD_MAX * (1 - PORTION)
      && this.chars - chars <= HELD_CHARS_MAX * (1 - PORTION);
    const isPlace = () => !this.isHistory || this.held[count - 1]?.after;
    while (count < this.held.length - 1 && !(enough() && isPlace())) {
      chars += this.held[count].text.length;
      count += 1;
    }
    while (count > 0 && !isPlace()) {
      count -= 1;
      chars -= this.held[count].text.length;
    }
    if (count === 0) return;
    if (this.isHistory) this.older = this.held[count - 1].after;
    this.held.splice(0, count);
    this.first += count;
    this.chars -= chars;
  }

  /// Somebody pages far back: the newest go, and the stream with them. Live again begins at the newest page.
  dropNewest() {
    const before = this.held.length;
    while (this.held.length > PAGE * 2 && this.isOver()) this.chars -= this.held.pop().text.length;
    if (this.held.length < before) this.hold();
  }
}

function failure(answer, problem) {
  const isOurs = answer.status < 500 && answer.status !== 429;
  return isOurs ? new Refused(problem.message ?? answer.statusText) : new Error(problem.message);
}
