// Waiting for what is meant to happen: a condition that is looked at whenever something changed.

import { PATIENCE_MS } from "./browser.mjs";

export class Gate {
  constructor() {
    this.waiting = new Set();
  }

  /// Something changed: all conditions are looked at again.
  changed() {
    for (const look of this.waiting) look();
  }

  /// Waits for a condition; `about` says what was there instead.
  until(what, condition, about = () => "") {
    return new Promise((done, failed) => {
      const end = () => {
        clearTimeout(patience);
        this.waiting.delete(look);
      };
      const look = () => {
        if (!condition()) return;
        end();
        done();
      };
      const patience = setTimeout(() => {
        end();
        failed(new Error(`${what} did not happen: ${about()}`));
      }, PATIENCE_MS);
      this.waiting.add(look);
      look();
    });
  }
}
