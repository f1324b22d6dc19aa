// One event as it came: its text, and what can be said of it without parsing its payload.

const TEXT = '"((?:[^"\\\\]|\\\\.)*)"';
const HEAD = new RegExp(`^\\{"id":${TEXT},"type":${TEXT},"source_type":${TEXT},"source_id":${TEXT},"time":${TEXT},"appended":${TEXT}`);
const PREVIEW_CHARS = 240;

/// How an event came here. Only `live` says something about latency.
export const LIVE = "live", CAUGHT_UP = "caught-up", HISTORY = "history";

/// `text` is the event's JSON, or the payload of a message on a channel that stores nothing. `after` is the cursor
/// just after it, where one is known.
export function read(text, channel, after, how) {
  const head = HEAD.exec(text);
  if (!head) {
    return { text, id: "", type: "message", channel, at: NaN, dataFrom: 0, after, how, delay: null, gap: null, matches: true };
  }
  const [id, type, sourceType, sourceId, time, appended] = head.slice(1).map(unescape);
  const namespace = channel.startsWith("events:") ? "events:" : "";
  const data = text.indexOf(',"data":', head[0].length);
  const dataFrom = data < 0 ? text.length : data + 8;
  return {
    text, id, type, channel: `${namespace}${sourceType}:${sourceId}`, at: Date.parse(time), appended: Date.parse(appended),
    dataFrom, after, how, delay: null, gap: null, matches: true,
  };
}

/// Records that cannot be read any more, in the place of events. What was in them nobody knows, so every filter shows them.
export function damaged(gap) {
  return { text: JSON.stringify(gap), id: "", type: "", channel: "", after: null, how: HISTORY, gap, matches: true };
}

function unescape(text) {
  return text.includes("\\") ? JSON.parse(`"${text}"`) : text;
}

/// The beginning of the payload.
export function preview(event) {
  const text = event.text.slice(event.dataFrom, event.dataFrom + PREVIEW_CHARS);
  return event.dataFrom > 0 && event.text.length <= event.dataFrom + PREVIEW_CHARS
    ? text.replace(/,"position":"[^"]*".*$/, "")
    : text;
}

/// Notes how long an event of the stream took, from the log to here. One that was there before the stream was opened, by
/// the server's time, has caught up: its age is no latency.
export function time(event, opened, arrived, era) {
  if (era.offset === null || event.appended < opened) event.how = CAUGHT_UP;
  else event.delay = { raw: arrived - event.appended, era };
}

/// Milliseconds of a delay, by what is known of the clocks now. The time in an event is cut to a millisecond, which is
/// half of one too much on the average.
export function latency({ raw, era }) {
  return raw + era.offset - 0.5;
}

/// The most that it can be wrong.
export function doubt({ era }) {
  return era.error + 0.5;
}

/// The whole event as a value; numbers that a double cannot hold keep their digits. Text where it is no JSON.
export function parse(event) {
  try {
    return JSON.parse(event.text, (_, value, context) =>
      typeof value === "number" && context?.source && String(value) !== context.source
        ? new Exact(context.source)
        : value);
  } catch {
    return event.text;
  }
}

/// A number as it was written.
export class Exact {
  constructor(digits) {
    this.digits = digits;
  }
}

/// A page of history with its events as they are written, `{events, next, earliest, latest, gaps}`.
export function splitPage(text) {
  const opening = '{"events":[';
  const events = [];
  let depth = 0, from = opening.length;
  const tokens = /"(?:[^"\\]|\\.)*"|[{}[\]]/g;
  tokens.lastIndex = from;
  for (let token; (token = tokens.exec(text)); ) {
    const sign = token[0];
    if (sign === "{" || sign === "[") {
      if (depth === 0) from = token.index;
      depth += 1;
    } else if (sign === "}" || sign === "]") {
      depth -= 1;
      if (depth === 0) events.push(text.slice(from, tokens.lastIndex));
      if (depth < 0) break;
    }
  }
  return { ...JSON.parse(`{"events":[${text.slice(tokens.lastIndex - 1)}`), events };
}
