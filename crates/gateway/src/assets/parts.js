// What of the server does not work, since when and why: a strip that is there only as long as something is.

/// Of each part what it means for whoever follows or publishes.
const MEANINGS = {
  log: "Nothing can be published; what is here can be read.",
  mirror: "The copy of the log on this node is not kept up; the server ends by itself.",
  decisions: "Orders of other nodes come later.",
  bus: "Events still come, a little later; channels that are not stored do not reach other nodes.",
  registry: "Lists of nodes and clients are not complete.",
  prefix: "Whose the names in Redis are is not known, or they are another log's.",
};
const NEEDED = ["log", "mirror"];

export class Parts {
  constructor(strip, list) {
    this.strip = strip;
    this.list = list;
    this.said = "";
  }

  /// Shows what is down by the server's readiness; null while it does not answer, which is told elsewhere.
  show(readiness) {
    const down = Object.entries(readiness ?? {}).filter(([, part]) => part?.status === "down");
    const lines = down.map(([name, { since, reason }]) => ({
      title: `${name} is down since ${time(since)}.`,
      text: [sentence(reason), MEANINGS[name]].filter(Boolean).join(" "),
    }));
    // A screen reader says it again whenever it is written.
    const said = JSON.stringify(lines);
    if (said === this.said) return;
    this.said = said;
    this.strip.hidden = lines.length === 0;
    this.strip.className = down.some(([name]) => NEEDED.includes(name)) ? "away wrong" : "away";
    this.list.replaceChildren(...lines.map(row));
  }
}

function row({ title, text }) {
  const [item, strong] = [document.createElement("li"), document.createElement("strong")];
  strong.textContent = title;
  item.append(strong, ` ${text}`);
  return item;
}

/// With the day, unless it is today's.
function time(since) {
  const at = new Date(since);
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? at.toLocaleTimeString("en-GB") : at.toLocaleString("en-GB");
}

function sentence(reason) {
  if (!reason) return "";
  const text = reason.charAt(0).toUpperCase() + reason.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
