// HTTP over sockets that somebody else accepted: the supervisor owns the listening socket, so that callers wait
// instead of being refused while this process restarts.
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import { discardRest } from '@edgeloop/shared/node/early-answer';

export interface Listener {
  /** After `drain` has ended, nobody is left to answer: the socket is closed. `head` comes before what is read from it, in base64. */
  accept(socket: Socket, head?: string): void;
  /** Answers what is in flight, closing each connection behind it. */
  drain(): Promise<void>;
}

/** How long callers may take, in milliseconds: for the head of a request, for all of it, and between two requests. */
const usual = {
  headersTimeout: 15_000,
  requestTimeout: 60_000,
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 5000,
};

/** A server that never listens itself. */
export function createListener(answer: RequestListener, patience = usual): Listener {
  const server = createServer(patience, answer);
  let inFlight = 0;
  let onDrained: (() => void) | undefined;
  let ended = false;

  const leave = (request: IncomingMessage): void => {
    discardRest(request);
    inFlight--;
    if (!onDrained) return;
    server.closeIdleConnections();
    if (inFlight === 0) onDrained();
  };

  server.prependListener('request', (request, response) => {
    inFlight++;
    if (onDrained) response.setHeader('Connection', 'close');
    response.once('close', () => leave(request));
  });
  // Node keeps track of connections, and bounds how slowly they may send, only from this event on.
  server.emit('listening');

  return {
    accept(socket, head) {
      if (ended) return void socket.destroy();
      if (head !== undefined) socket.unshift(Buffer.from(head, 'base64'));
      server.emit('connection', socket);
      socket.resume();
    },
    async drain() {
      const drained = new Promise<void>((resolve) => {
        onDrained = resolve;
      });
      server.closeIdleConnections();
      if (inFlight > 0) await drained;
      ended = true;
      server.closeAllConnections();
    },
  };
}
