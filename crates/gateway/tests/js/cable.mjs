// The network between one client and a server: a TCP relay that can be cut and mended.

import { connect, createServer } from "node:net";
import { Gate } from "./gate.mjs";

export class Cable {
  /// `target` is `HOST:PORT`.
  constructor(target) {
    [this.host, this.port] = target.split(":");
    this.pairs = new Set();
    this.isDead = false;
    /// Connections that were made into the dead cable.
    this.lost = 0;
    this.gate = new Gate();
  }

  async plug() {
    this.server = createServer((near) => this.join(near)).listen(0, "127.0.0.1");
    await new Promise((done) => this.server.once("listening", done));
    return `127.0.0.1:${this.server.address().port}`;
  }

  join(near) {
    const far = connect({ host: this.host, port: this.port });
    const pair = { near, far };
    this.pairs.add(pair);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on("error", () => {});
      from.on("close", () => {
        // Who is behind a dead cable is not told.
        if (this.isDead) return;
        this.pairs.delete(pair);
        to.destroy();
      });
      from.pipe(to);
    }
    if (this.isDead) {
      this.swallow(pair);
      this.lost += 1;
      this.gate.changed();
    }
  }

  /// Nothing passes any more, in neither direction, and nobody is told. New connections are taken, and are as dead.
  kill() {
    this.isDead = true;
    this.pairs.forEach((pair) => this.swallow(pair));
  }

  swallow({ near, far }) {
    for (const [from, to] of [[near, far], [far, near]]) {
      from.unpipe(to);
      from.resume();
    }
  }

  /// Both sides of every connection are told that it is over.
  drop() {
    for (const { near, far } of this.pairs) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
    this.pairs.clear();
  }

  /// Passes everything again; what was connected to the dead cable is dropped.
  mend() {
    this.drop();
    this.isDead = false;
  }

  unplug() {
    this.drop();
    this.server.close();
  }
}
