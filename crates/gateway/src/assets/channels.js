// Names of channels and types, for completion: those seen so far, and channels that the server knows. Bounded: the ones
// longest unseen go first.

const NAMES_MAX = 1000;
const ASKED_MAX = 40;

/// Names with how often they were seen, the last seen last.
export class Names {
  constructor() {
    this.counts = new Map();
  }

  see(name, times = 1) {
    const count = this.counts.get(name) ?? 0;
    this.counts.delete(name);
    this.counts.set(name, count + times);
    if (this.counts.size > NAMES_MAX) this.counts.delete(this.counts.keys().next().value);
  }

  /// Names that contain `text`, those that begin with it first, `[name, hint]`.
  matching(text, max) {
    const wanted = text.toLowerCase();
    const found = [];
    for (const [name, count] of this.counts) {
      const place = name.toLowerCase().indexOf(wanted);
      if (place >= 0) found.push([name, count, place]);
    }
    found.sort((a, b) => (a[2] > 0) - (b[2] > 0) || b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    return found.slice(0, max).map(([name, count]) => [name, count > 0 ? `${count} seen` : ""]);
  }
}

/// Channels, and the patterns over them.
export class Channels extends Names {
  constructor() {
    super();
    this.patterns = new Set(["events:*"]);
  }

  see(channel, times) {
    super.see(channel, times);
    const parts = channel.split(":");
    const pattern = parts.length > 2 ? `${parts[0]}:${parts[1]}:*` : `${parts[0]}:*`;
    if (parts.length > 1 && this.patterns.size < NAMES_MAX) this.patterns.add(pattern);
  }

  /// Asks the server for channels that begin with `text`, with or without their namespace; true when it knows some.
  async ask(text) {
    this.asking?.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    const begin = text.replace(/\*$/, "");
    const prefixes = begin.startsWith("events:") ? [begin] : [begin, `events:${begin}`];
    const answers = await Promise.all(prefixes.map((prefix) => list(prefix, signal)));
    const found = answers.flat();
    for (const channel of found) this.see(channel, 0);
    return found.length > 0 && !signal.aborted;
  }

  matching(text, max) {
    const patterns = [...this.patterns].filter((pattern) => pattern.includes(text.replace(/\*$/, "")));
    return [...patterns.slice(0, 8).map((pattern) => [pattern, "pattern"]), ...super.matching(text, max)];
  }
}

async function list(prefix, signal) {
  try {
    const answer = await fetch(`/v1/channels?limit=${ASKED_MAX}&prefix=${encodeURIComponent(prefix)}`, { signal });
    return answer.ok ? (await answer.json()).channels.map(({ channel }) => channel) : [];
  } catch {
    // What was seen completes too.
    return [];
  }
}
