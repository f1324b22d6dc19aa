// The events on the screen, newest first. At most ROWS rows exist; they are changed once per animation frame, however
// much comes. Live, the list shows the newest; frozen, it stands still and is turned page by page.

import { CAUGHT_UP, doubt, latency, parse, preview } from "./event.js";
import { tree } from "./tree.js";

export const ROWS = 200;

export class List {
  /// `actions`: `follow(channel)`, `read()` when an event is opened, `copy(text, button)`.
  constructor(root, actions) {
    Object.assign(this, { root, actions, rows: [], notes: [], top: null, pages: [] });
    root.addEventListener("click", (event) => {
      const head = event.target.closest(".head");
      if (head) this.toggle(head.parentElement);
    });
    root.addEventListener("keydown", (event) => this.key(event));
  }

  show(follow) {
    this.follow = follow;
    // Everything before this number was looked at by the last frame.
    this.drawn = follow.end;
    this.notes = [];
    this.reset();
  }

  /// Makes everything anew: another channel or filter.
  reset() {
    this.top = null;
    this.pages = [];
    this.clear();
    this.changed();
  }

  clear() {
    this.rows = [];
    this.root.replaceChildren();
  }

  changed() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.render();
    });
  }

  freeze() {
    this.top ??= this.drawn - 1;
  }

  /// The oldest number shown, or where one would stand.
  get bottom() {
    return this.rows.length ? this.rows.at(-1).number : (this.top ?? this.follow.end - 1) + 1;
  }

  /// Turns to what is older; whether there was any in memory.
  turnOlder() {
    const below = this.collect(this.bottom - 1, this.follow.first, ROWS);
    if (below.length === 0) return false;
    this.pages.push(this.top);
    this.turn(below[0]);
    return true;
  }

  turnNewer() {
    if (this.pages.length === 0) return false;
    this.turn(this.pages.pop());
    return true;
  }

  turn(top) {
    this.top = top;
    this.clear();
    this.render();
    this.root.scrollIntoView({ block: "start" });
    this.rows[0]?.item.querySelector(".head").focus({ preventScroll: true });
  }

  /// Marks the place after the newest event.
  note(text, kind) {
    this.notes.push({ number: this.follow.end, text, kind });
    if (this.notes.length > 50) this.notes.shift();
  }

  /// Numbers that match, from `from` down to `to`.
  collect(from, to, max) {
    const found = [];
    for (let number = Math.min(from, this.follow.end - 1); number >= to && found.length < max; number -= 1) {
      if (this.follow.at(number).matches) found.push(number);
    }
    return found;
  }

  render() {
    const { follow } = this;
    if (!follow) return;
    // A page that stands still stays as it was made.
    if (this.top !== null && this.rows.length) return this.actions.rendered();
    if (this.top === null) this.drawn = follow.end;
    const newest = this.rows.length ? this.rows[0].number + 1 : follow.first;
    const from = this.top ?? follow.end - 1;
    const fresh = this.collect(from, Math.max(newest, follow.first), ROWS);
    this.drop(ROWS - fresh.length);
    if (fresh.length < ROWS && this.rows.length + fresh.length < ROWS) this.extend(fresh);
    this.prepend(fresh);
    this.markTab();
    this.actions.rendered();
  }

  /// Takes away rows past `keep`, and rows whose events are gone.
  drop(keep) {
    while (this.rows.length > keep || (this.top === null && this.rows.length && this.rows.at(-1).number < this.follow.first)) {
      const row = this.rows.pop();
      row.note?.remove();
      row.item.remove();
    }
  }

  /// Adds what became known below the last row.
  extend(fresh) {
    const below = (this.rows.at(-1)?.number ?? fresh.at(-1) ?? this.follow.first) - 1;
    const older = this.collect(below, this.follow.first, ROWS - this.rows.length - fresh.length);
    if (this.rows.length === 0) return void fresh.push(...older);
    for (const number of older) this.rows.push(this.row(number));
    this.root.append(...this.rows.slice(-older.length || this.rows.length).flatMap(parts));
  }

  prepend(numbers) {
    if (numbers.length === 0) return;
    const made = numbers.map((number) => this.row(number));
    this.rows.unshift(...made);
    this.root.prepend(...made.flatMap(parts));
  }

  row(number) {
    const event = this.follow.at(number);
    const item = event.gap ? gapRow(event) : eventRow(event);
    const note = this.notes.findLast((note) => note.number === number && number > this.follow.first);
    return { number, item, event, note: note && noteRow(note) };
  }

  toggle(item) {
    const head = item.querySelector(".head");
    const isOpen = head.getAttribute("aria-expanded") === "true";
    head.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) return item.querySelector(".detail").remove();
    this.actions.read();
    item.append(this.detail(this.rows.find((row) => row.item === item).event));
  }

  detail(event) {
    const box = element("div", "detail");
    if (event.gap) return this.damage(event, box);
    const value = parse(event);
    const isEvent = event.id !== "";
    const buttons = element("div", "buttons");
    buttons.append(button("Copy JSON", (own) => this.actions.copy(event.text, own)));
    if (isEvent) buttons.append(button(`Follow ${event.channel}`, () => this.actions.follow(event.channel)));
    if (isEvent) {
      const { data: _payload, ...rest } = value;
      box.append(facts(rest));
    }
    box.append(tree(isEvent ? value.data : value), buttons);
    return box;
  }

  damage({ text, gap: { after: _place, ...rest } }, box) {
    const buttons = element("div", "buttons");
    buttons.append(button("Copy JSON", (own) => this.actions.copy(text, own)));
    const what = "The bytes of these records on the server's disk are not what was written. Some may have been events of this channel; what is around them is whole.";
    box.append(element("p", "", what), facts(rest), buttons);
    return box;
  }

  key(event) {
    if (event.target.closest(".head") && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      this.move(event.key === "ArrowDown" ? 1 : -1);
    }
  }

  /// Moves the focus by rows.
  move(step) {
    if (this.rows.length === 0) return;
    const item = document.activeElement?.closest?.("#events > li");
    const place = this.rows.findIndex((row) => row.item === item);
    const next = this.rows[Math.max(0, Math.min(this.rows.length - 1, place + step))];
    this.actions.read();
    const head = next.item.querySelector(".head");
    this.markTab(head);
    head.focus();
  }

  /// One row is in the order of the Tab key; arrows go on from there.
  markTab(head = document.activeElement?.closest?.(".head") ?? this.rows[0]?.item.firstChild) {
    if (this.tab && this.tab !== head) this.tab.tabIndex = -1;
    this.tab = head?.isConnected ? head : this.rows[0]?.item.firstChild;
    if (this.tab) this.tab.tabIndex = 0;
  }
}

function parts(row) {
  return row.note ? [row.item, row.note] : [row.item];
}

function eventRow(event) {
  const { item, head } = row(`event ${event.how}`);
  item.dataset.id = event.id;
  const time = element("time", "", clock(event.at));
  if (Number.isFinite(event.at)) time.title = new Date(event.at).toISOString();
  head.append(time, element("span", "late", lateness(event)), element("span", "type", event.type),
    element("span", "channel", event.channel), element("span", "preview", preview(event)));
  return item;
}

function gapRow({ gap: { partition, offset, records } }) {
  const { item, head } = row("gap");
  const [offsets, are] = records === 1 ? [`Offset ${offset}`, "is"] : [`Offsets ${offset} to ${offset + records - 1}`, "are"];
  head.append(element("span", "damage", `${offsets} of partition ${partition} ${are} damaged and cannot be shown`));
  return item;
}

/// A row that opens.
function row(kind) {
  const item = element("li", kind);
  const head = element("button", "head");
  head.type = "button";
  head.tabIndex = -1;
  head.setAttribute("aria-expanded", "false");
  item.append(head);
  return { item, head };
}

function facts(value) {
  const list = element("dl", "facts");
  for (const [name, fact] of Object.entries(value)) {
    list.append(element("dt", "", name), element("dd", "", typeof fact === "string" ? fact : JSON.stringify(fact)));
  }
  return list;
}

function noteRow({ text, kind }) {
  const item = element("li", `note ${kind}`);
  item.append(element("span", "", text));
  return item;
}

/// The time of a day, with the date where it is another one.
function clock(at) {
  if (!Number.isFinite(at)) return "no time";
  const time = new Date(at);
  const two = (number) => String(number).padStart(2, "0");
  const minute = `${two(time.getHours())}:${two(time.getMinutes())}`;
  if (Math.abs(Date.now() - at) >= 86_400_000) return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${minute}`;
  return `${minute}:${two(time.getSeconds())}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

function lateness(event) {
  if (event.delay !== null) {
    const [ms, least] = [latency(event.delay), doubt(event.delay)].map(Math.ceil);
    return ms <= least ? `< ${duration(least)}` : duration(ms);
  }
  return event.how === CAUGHT_UP ? "caught up" : "";
}

/// Milliseconds as people say them.
export function duration(ms) {
  const size = Math.abs(ms);
  if (size < 10 && !Number.isInteger(ms)) return `${ms.toFixed(1)} ms`;
  if (size < 1000) return `${ms.toFixed(0)} ms`;
  if (size < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (size < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  return size < 172_800_000 ? `${Math.round(ms / 3_600_000)} h` : `${Math.round(ms / 86_400_000)} d`;
}

function button(text, clicked) {
  const made = element("button", "quiet", text);
  made.type = "button";
  made.addEventListener("click", () => clicked(made));
  return made;
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}
