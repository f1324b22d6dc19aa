// How much comes and how late: counts of the last minute by second, and latencies of the last events.

const SECONDS = 60;
const LATENCIES = 1000;

export class Rate {
  constructor() {
    this.seconds = new Uint32Array(SECONDS);
    this.now = Math.floor(performance.now() / 1000);
    this.delays = new Float64Array(LATENCIES);
    this.seen = 0;
    this.era = null;
  }

  count(number) {
    this.turn();
    this.seconds[this.now % SECONDS] += number;
  }

  /// Delays by another server's clock cannot be compared: they begin anew.
  late({ raw, era }) {
    if (era !== this.era) this.seen = 0;
    this.era = era;
    this.delays[this.seen % LATENCIES] = raw;
    this.seen += 1;
  }

  turn() {
    const now = Math.floor(performance.now() / 1000);
    for (let second = Math.max(this.now + 1, now - SECONDS + 1); second <= now; second += 1) this.seconds[second % SECONDS] = 0;
    this.now = now;
  }

  /// Events in the last whole second.
  perSecond() {
    this.turn();
    return this.seconds[(this.now + SECONDS - 1) % SECONDS];
  }

  /// The last minute, oldest first, without the second that is not over.
  minute() {
    this.turn();
    return Array.from({ length: SECONDS - 1 }, (_, index) => this.seconds[(this.now + 1 + index) % SECONDS]);
  }

  /// Median and 99th percentile of the delays; null before the first event.
  quantiles() {
    const sorted = this.delays.slice(0, Math.min(this.seen, LATENCIES)).sort();
    const at = (share) => ({ raw: sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))], era: this.era });
    return sorted.length === 0 ? null : { half: at(0.5), most: at(0.99) };
  }
}

/// The minute as the path of an area in a box of 59 × 24.
export function path(minute) {
  const top = Math.max(1, ...minute);
  const points = minute.map((count, second) => `${second} ${(23 - (count / top) * 21).toFixed(1)}`);
  return `M0 24 L${points.join(" L")} L${minute.length - 1} 24 Z`;
}
