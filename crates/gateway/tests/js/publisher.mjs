// Publishes events until each is stored: whatever fails is tried again with the same id.

import { Gate } from "./gate.mjs";

const IN_FLIGHT = 6;
const RETRY_MS = 20;

export class Publisher {
  /// The events of one source go one after the other, those of different sources beside each other.
  constructor(url, events) {
    this.url = url;
    this.sources = new Map();
    for (const event of events) {
      const source = sourceOf(event);
      if (!this.sources.has(source)) this.sources.set(source, []);
      this.sources.get(source).push(event);
    }
    this.idle = [...this.sources.keys()];
    this.given = 0;
    this.allowed = 0;
    this.inFlight = 0;
    this.failures = 0;
    /// Positions by id, of what was acknowledged.
    this.stored = new Map();
    this.gate = new Gate();
  }

  /// Goes on until so many were given to the server.
  allow(count) {
    this.allowed = count;
    this.go();
  }

  /// Waits until so many are acknowledged.
  acknowledged(count) {
    return this.gate.until(`${count} acknowledged events`, () => this.stored.size >= count, () => this.stored.size);
  }

  go() {
    while (this.inFlight < IN_FLIGHT && this.given < this.allowed && this.idle.length > 0) {
      const source = this.idle.shift();
      this.given += 1;
      this.inFlight += 1;
      this.send(this.sources.get(source).shift()).then(() => {
        this.inFlight -= 1;
        if (this.sources.get(source).length > 0) this.idle.push(source);
        this.go();
      });
    }
  }

  async send(event) {
    const headers = { "content-type": "application/json" };
    for (;;) {
      try {
        const answer = await fetch(`${this.url}/v1/events`, { method: "POST", headers, body: JSON.stringify(event) });
        const receipt = await answer.json();
        if (answer.status === 201) {
          this.stored.set(receipt.id, receipt.position);
          return this.gate.changed();
        }
      } catch {
        // Whether it was stored is not known.
      }
      this.failures += 1;
      // What every client does before it tries again; nothing is waited for.
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
}

export function sourceOf({ source_type, source_id }) {
  return `${source_type}:${source_id}`;
}
