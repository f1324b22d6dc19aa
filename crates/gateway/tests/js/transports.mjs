// A client of the public SDK by the transport that its URL names: a WebSocket, or a stream down with requests up.

import { Centrifuge } from 'centrifuge';
import EventSource from 'eventsource';
import WebSocket from 'ws';

/// `door`: the server that takes the requests, if not that of the stream.
export function client(url, options, door) {
  const { origin, pathname, protocol } = new URL(url);
  if (protocol === 'ws:') return new Centrifuge(url, { websocket: WebSocket, ...options });
  const transports = [{ transport: pathname.split('/').pop(), endpoint: url }];
  const emulationEndpoint = `${door ?? origin}/emulation`;
  return new Centrifuge(transports, { eventsource: EventSource, emulationEndpoint, ...options });
}
