// Says with the public SDK what can be said, over a stream and requests, and prints one line for each thing that came.
//
//   node talk.mjs http://HOST:PORT/connection/http_stream http://HOST:PORT
//
// The second address is that of the server to which it speaks.

import { client as open } from './transports.mjs';

const [url, door] = process.argv.slice(2);
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');
const channel = `chat:${new URL(url).pathname.split('/').pop()}`;
const client = open(url, { minReconnectDelay: 20, maxReconnectDelay: 100 }, door);
client.on('connecting', (ctx) => say({ at: 'connecting', code: ctx.code }));
client.on('connected', (ctx) => say({ at: 'connected', transport: ctx.transport }));
client.on('error', (ctx) => say({ at: 'error', code: ctx.error.code }));

const room = client.newSubscription(channel);
const came = { count: 0, wanted: 0, done: () => {} };
room.on('publication', ({ data, offset }) => {
  say({ at: 'publication', data, offset });
  came.count += 1;
  if (came.count === came.wanted) came.done();
});
const until = (wanted) => new Promise((done) => {
  Object.assign(came, { wanted, done });
  if (came.count >= wanted) done();
});

room.subscribe();
client.connect();
await room.ready();
for (let n = 0; n < 12; n += 1) await room.publish({ n });
await until(12);

// What it left does not come; it comes back where it was.
room.unsubscribe();
await client.publish(channel, { n: 12 });
room.subscribe();
await room.ready();
await room.publish({ n: 13 });
await until(14);
const history = await room.history({ limit: 3, reverse: true });
say({ at: 'history', data: history.publications.map(({ data }) => data) });
try {
  await room.presence();
} catch (error) {
  say({ at: 'refused', code: error.code });
}
client.disconnect();
say({ at: 'end' });
// What is left of the stream holds the process no longer.
process.exit(0);
