// Commands that give elsewhere what the page shows.

/// `request` = `{origin, channel, since, reverse, limit, type, text}`: with `limit` a page of history before `since`,
/// else the stream after it.
export function curl(request) {
  const url = address(request);
  return request.limit ? `curl -fsS '${url}'` : `curl -fsSN '${url}'`;
}

export function script(request) {
  const conditions = [];
  if (request.type) conditions.push(`event.type?.toLowerCase().includes(${JSON.stringify(request.type.toLowerCase())})`);
  if (request.text) conditions.push(`text.toLowerCase().includes(${JSON.stringify(request.text.toLowerCase())})`);
  const filter = conditions.length ? `if (${conditions.join(" && ")}) ` : "";
  const text = request.text ? "\n  const text = JSON.stringify(event);" : "";
  const url = JSON.stringify(address(request));
  if (request.limit) {
    return `const answer = await fetch(${url});
const { events } = await answer.json();
for (const event of events) {${text}
  ${filter}console.log(event);
}`;
  }
  return `const source = new EventSource(${url});
source.onmessage = ({ data }) => {
  const event = JSON.parse(data);${text}
  ${filter}console.log(event);
};`;
}

/// A command that publishes something which is seen on `channel`.
export function publishing(origin, channel) {
  const [namespace, type, ...rest] = channel.replace(/:?\*$/, "").split(":");
  if (namespace !== "events") {
    const name = channel.replace("*", "first");
    return `curl '${origin}/v1/channels/${escaped(name)}/messages' -H 'content-type: application/json' \\\n  -d '{"n":1}'`;
  }
  const event = { type: "hello", source_type: type ?? "demo", source_id: rest.join(":") || "first", data: { n: 1 } };
  const body = JSON.stringify(event).replaceAll("'", "\\u0027");
  return `curl '${origin}/v1/events' -H 'content-type: application/json' \\\n  -d '${body}'`;
}

function address({ origin, channel, since, limit }) {
  const query = [`channel=${escaped(channel)}`];
  if (since) query.push(`since=${since}`);
  if (limit) return `${origin}/v1/events?${[...query, "reverse=true", `limit=${limit}`].join("&")}`;
  return `${origin}/v1/stream?${[...query, "event=message"].join("&")}`;
}

/// For a URL in single quotes: a quote would end the shell's string.
function escaped(text) {
  return encodeURIComponent(text).replaceAll("'", "%27");
}
