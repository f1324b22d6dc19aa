// The server's clock as seen from here: answers to "what time is it?", each at most half a round trip wrong.

// Old answers say little where one of the clocks drifts or is set.
const ANSWERS_MAX = 12;
// At first it asks more often, until the doubt is so small.
const ERROR_MS_WANTED = 1.5;
const ASKED_MAX = 10;
const ASK_AGAIN_MS = 150;

/// What is known of one server's clock. It improves while it is used: whoever keeps it later knows more.
class Era {
  constructor() {
    this.answers = [];
    /// Server's time minus local time in ms, and the most that this can be wrong; null while nothing was heard.
    this.offset = null;
    this.error = Infinity;
  }

  /// Local times in ms at which a question left and its answer came, and the answer.
  heard(asked, answered, server) {
    const half = (answered - asked) / 2;
    // The answer is cut to a millisecond: in the middle of it, it is half of one wrong at most.
    this.answers.push({ offset: server + 0.5 - (asked + half), error: half + 0.5 });
    if (this.answers.length > ANSWERS_MAX) this.answers.shift();
    const best = this.answers.reduce((best, answer) => (answer.error < best.error ? answer : best));
    Object.assign(this, best);
  }
}

export class ServerClock {
  constructor() {
    this.forget();
  }

  /// Another server may answer from now on.
  forget() {
    this.era = new Era();
    this.asked = 0;
  }

  /// Asks; gives the answer, the server's readiness, or null where none comes.
  async ask(signal) {
    const era = this.era;
    const before = now();
    try {
      const answer = await fetch("/health/ready", { signal, cache: "no-store" });
      const readiness = await answer.json();
      const { asked, answered } = timing(answer.url, before);
      const server = Date.parse(readiness.time);
      if (Number.isFinite(server)) era.heard(asked, answered, server);
      this.askAgain();
      return readiness;
    } catch {
      return null;
    }
  }

  askAgain() {
    this.asked += 1;
    if (this.era.error <= ERROR_MS_WANTED || this.asked >= ASKED_MAX || this.isAsking) return;
    this.isAsking = true;
    setTimeout(() => {
      this.isAsking = false;
      this.ask();
    }, ASK_AGAIN_MS);
  }

  get isKnown() {
    return this.era.offset !== null;
  }

  /// A local time as the server's; null while nothing was heard.
  at(local) {
    return this.isKnown ? local + this.era.offset : null;
  }
}

/// When a request left and its answer came, as the browser's network saw it: a busy page only looks later.
function timing(url, before) {
  const entry = performance.getEntriesByName(url, "resource").at(-1);
  performance.clearResourceTimings();
  const asked = performance.timeOrigin + (entry?.requestStart ?? 0);
  const answered = performance.timeOrigin + (entry?.responseStart ?? 0);
  return asked >= before && answered >= asked ? { asked, answered } : { asked: before, answered: now() };
}

/// Milliseconds since 1970 by this computer's clock, in fractions.
export function now() {
  return performance.timeOrigin + performance.now();
}
