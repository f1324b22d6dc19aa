// Follows channels and patterns with the public SDK until it is ended.
//
//   node tail.mjs HOST:PORT CHANNEL…
//
// Prints one line of JSON when a subscription begins, for each event, and for whatever the SDK calls lost.
import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

const [address, ...channels] = process.argv.slice(2);
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const client = new Centrifuge(`ws://${address}/connection/websocket`,
  { websocket: WebSocket, minReconnectDelay: 20, maxReconnectDelay: 200 });
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
