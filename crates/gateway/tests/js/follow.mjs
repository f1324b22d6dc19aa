// Follows a pattern and a channel with the public SDK until it has seen all it was told to wait for.
//
//   node follow.mjs ws://HOST:PORT/connection/websocket PATTERN CHANNEL LAST
//   node follow.mjs http://HOST:PORT/connection/http_stream PATTERN CHANNEL LAST
//
// Prints one line of JSON for every event of the SDK that the test looks at, and ends after the publication whose
// number is LAST came on both.
import { client as open } from './transports.mjs';

const [url, pattern, channel, last] = process.argv.slice(2);
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');
const waiting = new Set([pattern, channel]);

const client = open(url, { minReconnectDelay: 20, maxReconnectDelay: 100 });
client.on('connecting', (ctx) => say({ at: 'connecting', code: ctx.code }));
client.on('connected', () => say({ at: 'connected' }));
client.on('disconnected', (ctx) => say({ at: 'disconnected', code: ctx.code }));

for (const name of waiting) {
  const subscription = client.newSubscription(name);
  subscription.on('subscribed', ({ wasRecovering, recovered }) =>
    say({ at: 'subscribed', name, wasRecovering, recovered }));
  subscription.on('unsubscribed', (ctx) => say({ at: 'unsubscribed', name, code: ctx.code }));
  subscription.on('error', (ctx) => say({ at: 'error', name, code: ctx.error.code }));
  subscription.on('publication', ({ data, tags, offset }) => {
    say({ at: 'publication', name, number: data.data, key: data.source_id, id: tags.id, offset });
    if (data.data === Number(last)) {
      waiting.delete(name);
      if (waiting.size === 0) {
        client.disconnect();
      }
    }
  });
  subscription.subscribe();
}
client.connect();
