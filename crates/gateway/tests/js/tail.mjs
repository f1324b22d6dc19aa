// Follows channels and patterns with the public SDK until it is ended.
//
//   node tail.mjs ws://HOST:PORT/connection/websocket CHANNEL…
//   node tail.mjs http://HOST:PORT/connection/http_stream CHANNEL…
//
// DOOR=http://HOST:PORT in the environment is the server that takes the requests, if not that of the stream.
//
// Prints one line of JSON when a subscription begins, for each event, and for whatever the SDK calls lost.
import { client as open } from "./transports.mjs";

const [url, ...channels] = process.argv.slice(2);
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const client = open(url, { minReconnectDelay: 20, maxReconnectDelay: 200 }, process.env.DOOR);
client.on("disconnected", (ctx) => say({ lost: `disconnected ${ctx.code} ${ctx.reason}` }));
for (const channel of channels) {
  const subscription = client.newSubscription(channel);
  subscription.on("subscribed", ({ wasRecovering, recovered }) => {
    say(wasRecovering && !recovered ? { lost: `${channel} was not recovered` } : { subscribed: channel, wasRecovering });
  });
  subscription.on("unsubscribed", (ctx) => say({ lost: `unsubscribed ${ctx.code} ${ctx.reason}` }));
  subscription.on("publication", ({ data }) => say({ channel, event: data }));
  subscription.subscribe();
}
client.connect();
