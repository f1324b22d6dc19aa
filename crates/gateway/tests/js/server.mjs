// The program, started and killed by the tests of the page.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export class Server {
  constructor(program) {
    this.program = program;
    this.dir = mkdtempSync(join(tmpdir(), "dualstream-page-"));
    this.listen = "127.0.0.1:0";
  }

  /// Starts it; after the first time at the address of the first time.
  async start() {
    this.child = spawn(this.program, ["--output", "json", "serve", "--listen", this.listen, "--data-dir", join(this.dir, "data")],
      { stdio: ["ignore", "pipe", "inherit"], env: { PATH: process.env.PATH, RUST_LOG: "error" } });
    for await (const line of createInterface({ input: this.child.stdout })) {
      this.url = JSON.parse(line).url;
      this.listen = this.url.slice("http://".length);
      return this;
    }
    throw new Error("the server did not start");
  }

  /// As a crash would end it.
  kill() {
    return this.end("SIGKILL");
  }

  /// In order.
  stop() {
    return this.end("SIGTERM");
  }

  async end(signal) {
    if (!this.child || this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((done) => this.child.once("exit", done));
    this.child.kill(signal);
    await ended;
  }

  /// Flips a bit of `text` wherever the stores have it; while it does not run.
  damage(text) {
    const topics = join(this.dir, "data", "topics");
    const segments = readdirSync(topics, { recursive: true }).filter((name) => name.endsWith(".segment"));
    for (const file of segments.map((name) => join(topics, name))) {
      const bytes = readFileSync(file);
      for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text)) bytes[at] ^= 1;
      writeFileSync(file, bytes);
    }
  }

  async remove() {
    await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /// Publishes lines, events as JSON.
  async publish(lines) {
    const headers = { "content-type": "application/x-ndjson" };
    const answer = await fetch(`${this.url}/v1/events`, { method: "POST", headers, body: lines.join("\n") });
    const summary = await answer.json();
    if (summary.stored !== lines.length) throw new Error(JSON.stringify(summary).slice(0, 500));
  }

  /// The newest page of a channel's history.
  async page(channel) {
    const answer = await fetch(`${this.url}/v1/events?channel=${encodeURIComponent(channel)}&reverse=true`);
    return answer.json();
  }

  /// Ids of everything in the log.
  async ids(channel) {
    const ids = [];
    for (let since = "earliest"; since !== null; ) {
      const answer = await fetch(`${this.url}/v1/events?channel=${encodeURIComponent(channel)}&limit=1000&since=${since}`);
      const page = await answer.json();
      ids.push(...page.events.map((event) => event.id));
      since = page.next;
    }
    return ids;
  }
}
