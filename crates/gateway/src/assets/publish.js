// The form that publishes one event, or one message where the channel is no source's.

const byId = (id) => document.getElementById(id);
const SOURCE = /^events:([a-z0-9_-]{1,64}):(.+)$/;

export class Publish {
  constructor() {
    this.dialog = byId("publish-dialog");
    byId("publish-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    byId("publish-data").addEventListener("input", () => this.check());
    byId("publish-channel").addEventListener("input", () => this.check());
  }

  open(channel) {
    const field = byId("publish-channel");
    if (channel && !channel.endsWith("*")) field.value = channel;
    this.say("", "");
    this.check();
    this.dialog.showModal();
  }

  /// Whether the form can be sent; what is wrong stands under its field.
  check() {
    const channel = byId("publish-channel").value.trim();
    const isEvent = channel.startsWith("events:");
    byId("publish-type").disabled = !isEvent;
    byId("publish-kind").textContent = isEvent
      ? "Stored as an event of this source."
      : "A message: its type is always message. Stored where the namespace is durable.";
    if (isEvent && !SOURCE.test(channel)) byId("publish-kind").textContent = "An event's channel is events:{source_type}:{source_id}.";
    const wrong = jsonError(byId("publish-data").value);
    byId("publish-data").setAttribute("aria-invalid", String(wrong !== ""));
    byId("publish-json").textContent = wrong || "Valid JSON.";
    byId("publish-json").className = wrong ? "hint wrong" : "hint";
    const isComplete = wrong === "" && channel !== "" && (!isEvent || SOURCE.test(channel));
    byId("publish-send").disabled = !isComplete;
    return isComplete;
  }

  async send() {
    if (!this.check()) return;
    const channel = byId("publish-channel").value.trim();
    const data = byId("publish-data").value;
    const source = SOURCE.exec(channel);
    this.say("Sending …", "");
    byId("publish-send").disabled = true;
    try {
      const answer = source
        ? await post("/v1/events", event(source, byId("publish-type").value.trim(), data))
        : await post(`/v1/channels/${encodeURIComponent(channel)}/messages`, data);
      const body = await answer.json().catch(() => ({}));
      if (!answer.ok) this.say([body.field, body.message ?? answer.statusText].filter(Boolean).join(": "), "wrong");
      else this.say(receipt(answer.status, body), "good");
    } catch {
      this.say("No answer from the server: it is not known whether this was stored.", "wrong");
    }
    this.check();
  }

  say(text, kind) {
    byId("publish-outcome").textContent = text;
    byId("publish-outcome").className = `outcome ${kind}`;
  }
}

/// The data goes out as it was written: its numbers keep their digits.
function event([, sourceType, sourceId], type, data) {
  const head = JSON.stringify({ type, source_type: sourceType, source_id: sourceId });
  return `${head.slice(0, -1)},"data":${data}}`;
}

function post(url, body) {
  return fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
}

function receipt(status, body) {
  if (status === 202) return "Handed to the bus; nothing is kept.";
  return `Stored in partition ${body.partition} at offset ${body.offset}${body.duplicate ? " before: a duplicate" : ""}.`;
}

function jsonError(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return text.trim() === "" ? "Data is needed; null is data too." : error.message;
  }
}
