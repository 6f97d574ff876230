// HTTP over sockets that somebody else accepted: the supervisor owns the listening socket, so that callers wait
// instead of being refused while this process restarts.
import { createServer, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { getRequestListener } from '@hono/node-server';

export interface Listener {
  accept(socket: Socket): void;
  /** Answers what is in flight, closing each connection behind it. */
  drain(): Promise<void>;
}

/** A server that never listens itself. */
export function createListener(fetch: (request: Request) => Response | Promise<Response>): Listener {
  const server = createServer(getRequestListener(fetch));
  const inFlight = new Set<ServerResponse>();
  let onDrained: (() => void) | undefined;

  const ended = (response: ServerResponse): void => {
    inFlight.delete(response);
    if (!onDrained) return;
    server.closeIdleConnections();
    if (inFlight.size === 0) onDrained();
  };

  server.prependListener('request', (_request, response) => {
    inFlight.add(response);
    if (onDrained) response.setHeader('Connection', 'close');
    response.once('close', () => ended(response));
  });
  // Node keeps track of connections, and bounds how slowly they may send, only from this event on.
  server.emit('listening');

  return {
    accept(socket) {
      server.emit('connection', socket);
      socket.resume();
    },
    async drain() {
      const drained = new Promise<void>((resolve) => {
        onDrained = resolve;
      });
      server.closeIdleConnections();
      if (inFlight.size > 0) await drained;
      server.closeAllConnections();
    },
  };
}
