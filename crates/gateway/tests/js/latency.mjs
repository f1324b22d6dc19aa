// How late a Chromium hears of an event, measured for `cargo xtask bench browser`.
//
//   node latency.mjs URL CHROMIUM EVENTS
//
// EVENTS events per row, one every 10 ms, over one kept connection of this process. Latency is from the moment before the
// request is written here to the moment the page's handler has the event, by the same clock of the same machine as two
// processes see it; how far they differ is measured first. One row has one clock: that page publishes too. Of each row a
// line with tabs: name, events, median, 99th percentile, most, median of the answer to the publish, and the doubt, in ms.

import { connect } from "node:net";
import { launch, openTab } from "./browser.mjs";

const INTERVAL_MS = 10;
const WARM_UP = 50;
const LOOKS_AT_CLOCK = 300;
const PADDING = "x".repeat(200);

const [url, executablePath, events] = process.argv.slice(2);
const { host, hostname, port } = new URL(url);
const now = () => performance.timeOrigin + performance.now();

/// One kept connection; each request is answered before the next one leaves, as they are so far apart.
class Publisher {
  constructor() {
    this.socket = connect(Number(port), hostname).setNoDelay(true).setEncoding("latin1");
    this.sent = new Map();
    this.answers = [];
    this.socket.on("data", (text) => {
      if (!/^HTTP\/1\.1 20[12]/.test(text)) throw new Error(text);
      this.answers.push(now() - this.last);
    });
  }

  /// Publishes an event with an id on `channel`.
  send(channel, id) {
    const [namespace, source_type, source_id] = channel.split(":");
    const isEvent = namespace === "events";
    const body = JSON.stringify(isEvent ? { id, type: "t", source_type, source_id, data: PADDING } : { id, data: PADDING });
    const path = isEvent ? "/v1/events" : `/v1/channels/${channel}/messages`;
    const head = `POST ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
    this.last = now();
    this.sent.set(id, this.last);
    this.socket.write(head + body);
  }
}

/// Runs in a page: keeps ids and when they came.
function follow([kind, channel]) {
  window.got = [];
  const clock = () => performance.timeOrigin + performance.now();
  if (kind === "EventSource") {
    const source = new EventSource(`/v1/stream?channel=${channel}&event=message`);
    source.onmessage = ({ data }) => window.got.push([JSON.parse(data).id, clock()]);
    return new Promise((done) => { source.onopen = () => done(); });
  }
  if (kind === "page") {
    const look = (changes) => {
      const at = clock();
      for (const { addedNodes } of changes) for (const { dataset } of addedNodes) window.got.push([dataset.id, at]);
    };
    new MutationObserver(look).observe(document.getElementById("events"), { childList: true });
    return undefined;
  }
  const socket = new WebSocket(`ws://${location.host}/connection/websocket`);
  socket.onopen = () => socket.send(`{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"${channel}"}}`);
  return new Promise((done) => {
    socket.onmessage = ({ data }) => {
      const at = clock();
      for (const line of data.split("\n")) {
        if (line === "{}") socket.send("{}");
        const { id, push } = JSON.parse(line);
        if (id === 2) done();
        if (push?.pub) window.got.push([push.pub.data.id, at]);
      }
    };
  });
}

/// Runs in a page: publishes, and keeps when.
async function publishOne([channel, id, padding]) {
  const [, source_type, source_id] = channel.split(":");
  const body = JSON.stringify({ id, type: "t", source_type, source_id, data: padding });
  const at = performance.timeOrigin + performance.now();
  const answer = await fetch("/v1/events", { method: "POST", headers: { "content-type": "application/json" }, body });
  await answer.text();
  return [at, performance.timeOrigin + performance.now() - at];
}

/// The page's clock minus this one's, and the most it can be wrong: the page looks at its own between two looks here.
async function difference(tab) {
  let [least, most] = [-Infinity, Infinity];
  for (let count = 0; count < LOOKS_AT_CLOCK; count += 1) {
    const before = now();
    const there = await tab.evaluate(() => performance.timeOrigin + performance.now());
    least = Math.max(least, there - now());
    most = Math.min(most, there - before);
  }
  return { offset: (least + most) / 2, doubt: Math.abs(most - least) / 2 };
}

function quantile(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.round((sorted.length - 1) * share)];
}

async function measure(context, name, kind, channel) {
  const errors = [];
  const tab = await openTab(context, url, errors);
  await tab.goto(kind === "page" ? `${url}/#channel=${channel}` : `${url}/health/live`);
  if (kind === "page") await tab.waitForFunction(() => document.getElementById("state-name").textContent === "Live");
  const isOwn = kind === "itself";
  const { offset, doubt } = isOwn ? { offset: 0, doubt: 0 } : await difference(tab);
  await tab.evaluate(follow, [kind, channel]);
  const publisher = new Publisher();
  const total = WARM_UP + Number(events);
  for (let number = 0; number < total; number += 1) {
    const due = new Promise((done) => setTimeout(done, INTERVAL_MS));
    const id = `${kind}-${number}`;
    if (isOwn) {
      const [at, answered] = await tab.evaluate(publishOne, [channel, id, PADDING]);
      publisher.sent.set(id, at);
      publisher.answers.push(answered);
    } else {
      publisher.send(channel, id);
    }
    await due;
  }
  await tab.waitForFunction((total) => window.got.length >= total, total);
  const got = await tab.evaluate(() => window.got);
  if (errors.length > 0 || new Set(got.map(([id]) => id)).size !== total || got.length !== total) {
    throw new Error(`${name}: ${got.length} of ${total}: ${errors}`);
  }
  const late = got.map(([id, at]) => at - offset - publisher.sent.get(id)).slice(WARM_UP);
  const numbers = [quantile(late, 0.5), quantile(late, 0.99), quantile(late, 1), quantile(publisher.answers.slice(WARM_UP), 0.5), doubt];
  console.log([name, late.length, ...numbers.map((ms) => ms.toFixed(3))].join("\t"));
  publisher.socket.destroy();
  await tab.close();
}

const browser = await launch(executablePath);
try {
  const context = await browser.newContext();
  await measure(context, "WebSocket", "WebSocket", "events:latency:socket");
  await measure(context, "WebSocket, bus only", "WebSocket", "live:latency");
  await measure(context, "EventSource", "EventSource", "events:latency:source");
  await measure(context, "WebSocket; the page itself publishes by fetch: one clock", "itself", "events:latency:own");
  await measure(context, "the page at /, until its row stands in the document", "page", "events:latency:page");
} finally {
  await browser.close();
}
