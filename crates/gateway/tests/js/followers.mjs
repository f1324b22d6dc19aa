// Those who follow channels beside the page: the SDK, and the `EventSource` of a browser. Each keeps the events it got.

import { Centrifuge } from "centrifuge";
import WebSocket from "ws";
import { Gate } from "./gate.mjs";
import { openTab } from "./browser.mjs";

/// The SDK on one channel or pattern.
export class SdkFollower {
  constructor(address, channel) {
    Object.assign(this, { channel, events: [], returns: [], faults: [], gate: new Gate(), isSubscribed: false });
    this.client = new Centrifuge(`ws://${address}/connection/websocket`,
      { websocket: WebSocket, minReconnectDelay: 20, maxReconnectDelay: 200 });
    this.client.on("disconnected", (ctx) => this.faults.push(`disconnected ${ctx.code} ${ctx.reason}`));
    const subscription = this.client.newSubscription(channel);
    subscription.on("subscribed", ({ wasRecovering, recovered }) => {
      this.isSubscribed = true;
      this.returns.push({ wasRecovering, recovered });
      this.gate.changed();
    });
    subscription.on("subscribing", () => { this.isSubscribed = false; });
    subscription.on("unsubscribed", (ctx) => this.faults.push(`unsubscribed ${ctx.code} ${ctx.reason}`));
    subscription.on("publication", ({ data }) => {
      this.events.push(data);
      this.gate.changed();
    });
    subscription.subscribe();
    this.client.connect();
  }

  subscribed() {
    return this.gate.until(`the subscription of ${this.channel}`, () => this.isSubscribed);
  }

  got(count) {
    return this.gate.until(`${count} events of ${this.channel} at the SDK`, () => this.events.length >= count, () => this.events.length);
  }

  async all() {
    return this.events;
  }

  close() {
    // From now on its end is wanted.
    this.client.removeAllListeners();
    this.client.disconnect();
  }
}

/// An `EventSource` in a tab of its own.
export class EventSourceFollower {
  static async open(context, url, channel, errors) {
    const follower = new EventSourceFollower();
    follower.tab = await openTab(context, url, errors);
    await follower.tab.goto(`${url}/health/live`);
    await follower.tab.evaluate((channel) => {
      window.got = [];
      window.lost = [];
      window.source = new EventSource(`/v1/stream?channel=${encodeURIComponent(channel)}&event=message`);
      window.source.onmessage = ({ data }) => window.got.push(JSON.parse(data));
      window.source.addEventListener("unrecoverable", ({ data }) => window.lost.push(data));
      return new Promise((done) => { window.source.onopen = done; });
    }, channel);
    return follower;
  }

  got(count) {
    return this.tab.waitForFunction((count) => window.got.length >= count, count);
  }

  async all() {
    return this.tab.evaluate(() => window.got);
  }

  /// What it was told to have lost.
  async faults() {
    return this.tab.evaluate(() => window.lost);
  }
}
