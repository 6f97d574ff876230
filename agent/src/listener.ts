// The listening sockets of the agent. They belong to the supervising process, so they outlive the serving process.
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { AppError, messageOf } from '@edgeloop/shared/errors';

export interface Listener {
  /** Port that was taken. @throws AppError `conflict` when the address is in use */
  start(): Promise<number>;
  /** No new callers from now on. */
  close(): void;
}

export interface ListenerOptions {
  host: string;
  port: number;
  socketPath: string | undefined;
  /** A caller, not read from yet. */
  onConnection(socket: Socket): void;
}

export function createListener({ host, port, socketPath, onConnection }: ListenerOptions): Listener {
  const servers: Server[] = [];
  const listen = async (where: { host: string; port: number } | { path: string }): Promise<Server> => {
    const server = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
      // A caller who gives up while waiting is no failure of ours.
      socket.on('error', () => socket.destroy());
      onConnection(socket);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => {
        const what = 'path' in where ? `EDGELOOP_AGENT_SOCKET ${where.path}` : `EDGELOOP_AGENT_PORT ${where.port}`;
        reject(new AppError('conflict', `${what} cannot be listened on: ${messageOf(cause)}`, { cause }));
      });
      server.listen({ ...where, backlog: 1024 }, resolve);
    });
    servers.push(server);
    return server;
  };
  return {
    async start() {
      const server = await listen({ host, port });
      if (socketPath !== undefined) {
        // A killed agent leaves the name behind; the lock on the data folder says that nobody listens there.
        rmSync(socketPath, { force: true });
        await listen({ path: socketPath });
      }
      const address = server.address();
      return typeof address === 'object' && address !== null ? address.port : port;
    },
    close() {
      for (const server of servers) server.close();
    },
  };
}
