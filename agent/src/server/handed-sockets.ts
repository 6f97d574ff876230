// HTTP over sockets that somebody else accepted: the supervisor owns the listening socket, so that callers wait
// instead of being refused while this process restarts.
import { createServer, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { discardRest } from '@edgeloop/shared/node/early-answer';
import type { Front } from './front.ts';
import { Bridge } from './plain/bridge.ts';
import { createPlainConnections } from './plain/connections.ts';
import type { Patience } from './plain/ticks.ts';

export interface Listener {
  /** After `drain` has ended, nobody is left to answer: the socket is closed. `head` comes before what is read from it, in base64. */
  accept(socket: Socket, head?: string): void;
  /** Answers what is in flight, closing each connection behind it. */
  drain(): Promise<void>;
}

const usual: Patience = {
  headersTimeout: 15_000,
  requestTimeout: 60_000,
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 5000,
};

export interface ListenerOptions {
  /** Whether plain requests for models are read by our own reader; all else is Node's. */
  plain: boolean;
  patience?: Patience;
}

/** A server that never listens itself. */
export function createListener(front: Front, { plain, patience = usual }: ListenerOptions): Listener {
  const server = createServer({ ...patience }, front.listener);
  let inFlight = 0;
  let onDrained: (() => void) | undefined;
  let ended = false;

  const leave = (request: IncomingMessage): void => {
    discardRest(request);
    if (request.socket instanceof Bridge) request.socket.answered();
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

  const toNode = (bridge: Bridge): void => void server.emit('connection', bridge);
  const ours = plain ? createPlainConnections(front, patience, toNode) : undefined;

  const acceptByNode = (socket: Socket, head: Buffer | undefined): void => {
    if (head !== undefined) socket.unshift(head);
    server.emit('connection', socket);
    socket.resume();
  };
  const drainNode = async (): Promise<void> => {
    const drained = new Promise<void>((resolve) => {
      onDrained = resolve;
    });
    server.closeIdleConnections();
    if (inFlight > 0) await drained;
  };

  return {
    accept(socket, head) {
      if (ended) return void socket.destroy();
      const bytes = head === undefined ? undefined : Buffer.from(head, 'base64');
      if (ours) ours.accept(socket, bytes);
      else acceptByNode(socket, bytes);
    },
    async drain() {
      await Promise.all([drainNode(), ours?.drain()]);
      ended = true;
      server.closeAllConnections();
      ours?.closeAll();
    },
  };
}
