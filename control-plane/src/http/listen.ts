// Opens a port for an app, and closes it: no new connections, time for those that are being answered, then the end.
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer, type ServerOptions, Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { AppError } from '@edgeloop/shared/errors';
import { discardRest } from '@edgeloop/shared/node/early-answer';
import { getRequestListener } from '@hono/node-server';

type FetchApp = Parameters<typeof getRequestListener>[0];

export interface Listener<S extends Server | TlsServer = Server | TlsServer> {
  readonly server: S;
  /** The port that was opened. */
  readonly port: number;
  /** Resolves when every connection is gone; `signal` cuts those that are left. */
  close(signal: AbortSignal): Promise<void>;
}

interface Address {
  host: string;
  /** 0 takes a free one. */
  port: number;
}

/** For operators and programs, often behind a proxy: most of those keep a connection for a minute. */
export function listen(fetch: FetchApp, address: Address): Promise<Listener<Server>> {
  return open(createServer({ keepAliveTimeout: 75_000 }, requestListener(fetch)), address);
}

/** For devices, of which there are too many to keep a connection of each. */
export function listenTls(fetch: FetchApp, address: Address, options: ServerOptions): Promise<Listener<TlsServer>> {
  return open(createTlsServer(options, requestListener(fetch)), address);
}

function requestListener(fetch: FetchApp): RequestListener {
  const listener = getRequestListener(fetch, { overrideGlobalObjects: false, autoCleanupIncoming: false });
  return (request, response) => {
    response.once('close', () => discardRest(request));
    void listener(request, response);
  };
}

async function open<S extends Server | TlsServer>(server: S, { host, port }: Address): Promise<Listener<S>> {
  server.requestTimeout = 600_000;
  const unused = unusedConnections(server);
  await new Promise<void>((resolve, reject) => {
    const refused = (cause: Error) =>
      reject(new AppError('unavailable', `port ${port} of ${host} cannot be opened: ${cause.message}`, { cause }));
    server.once('error', refused);
    server.listen(port, host, () => {
      server.off('error', refused);
      resolve();
    });
  });
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === 'string') throw new AppError('internal', 'the server has no TCP address');
  return {
    server,
    port: address.port,
    async close(signal) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      for (const socket of unused) socket.destroy();
      const cut = () => server.closeAllConnections();
      signal.addEventListener('abort', cut);
      if (signal.aborted) cut();
      await closed;
      signal.removeEventListener('abort', cut);
    },
  };
}

/** Connections that have asked nothing yet, which Node does not count as idle: clients keep some in store. */
function unusedConnections(server: Server | TlsServer): ReadonlySet<Socket> {
  const unused = new Set<Socket>();
  server.on(server instanceof TlsServer ? 'secureConnection' : 'connection', (socket: Socket) => {
    unused.add(socket);
    socket.once('close', () => unused.delete(socket));
  });
  server.on('request', ({ socket }) => unused.delete(socket));
  return unused;
}
