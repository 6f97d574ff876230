// The listening sockets of the agent. They belong to the supervising process, so they outlive the serving process.
import { chmodSync, rmSync, statSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { AppError, messageOf } from '@edgeloop/shared/errors';

export interface Listener {
  /** Port that was taken. @throws AppError `conflict` when the port or the socket is in use; neither is taken then */
  start(): Promise<number>;
  /** No new callers from now on. */
  close(): void;
}

export interface ListenerOptions {
  host: string;
  port: number;
  /** That says which port; named where it is in use. */
  portVariable?: string;
  socketPath: string | undefined;
  /** A caller, not read from yet. */
  onConnection(socket: Socket): void;
}

export function createListener({
  host,
  port,
  portVariable = 'EDGELOOP_AGENT_PORT',
  socketPath,
  onConnection,
}: ListenerOptions): Listener {
  const servers: Server[] = [];
  const listen = async (where: { host: string; port: number } | { path: string }): Promise<Server> => {
    const server = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => {
      // A caller who gives up while waiting is no failure of ours.
      socket.on('error', () => socket.destroy());
      onConnection(socket);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => {
        const what = 'path' in where ? `EDGELOOP_AGENT_SOCKET ${where.path}` : `${portVariable} ${where.port}`;
        reject(new AppError('conflict', `${what} cannot be listened on: ${messageOf(cause)}`, { cause }));
      });
      server.listen({ ...where, backlog: 1024 }, resolve);
    });
    servers.push(server);
    return server;
  };
  const listenOnSocket = async (path: string): Promise<void> => {
    await removeStale(path);
    await listen({ path });
    // Like a port of this machine, but for the user and the group only.
    chmodSync(path, 0o660);
  };
  const close = (): void => {
    for (const server of servers) server.close();
  };
  const giveUp = (error: unknown): never => {
    close();
    throw error;
  };
  return {
    async start() {
      const server = await listen({ host, port });
      if (socketPath !== undefined) await listenOnSocket(socketPath).catch(giveUp);
      const address = server.address();
      return typeof address === 'object' && address !== null ? address.port : port;
    },
    close,
  };
}

/** Both ports of the agent. */
export interface Doors {
  /** Which ports were taken; `grpcPort` is undefined where there is no gRPC. @throws AppError `conflict`; nothing is taken then */
  start(): Promise<{ port: number; grpcPort: number | undefined }>;
  close(): void;
}

/** HTTP, and gRPC where it has a port. `hand` gets callers that were not read from yet. */
export function createDoors(
  { host, port, grpcPort, socketPath }: Omit<ListenerOptions, 'onConnection'> & { grpcPort: number | undefined },
  hand: (socket: Socket, protocol: 'http' | 'grpc') => void,
): Doors {
  const http = createListener({ host, port, socketPath, onConnection: (socket) => hand(socket, 'http') });
  const grpc =
    grpcPort === undefined
      ? undefined
      : createListener({
          host,
          port: grpcPort,
          portVariable: 'EDGELOOP_GRPC_PORT',
          socketPath: undefined,
          onConnection: (socket) => hand(socket, 'grpc'),
        });
  const close = (): void => {
    http.close();
    grpc?.close();
  };
  return {
    async start() {
      const taken = await http.start();
      try {
        return { port: taken, grpcPort: await grpc?.start() };
      } catch (error) {
        close();
        throw error;
      }
    },
    close,
  };
}

/** A killed agent leaves its name behind, which nobody else could listen on. Anything but a dead socket stays. */
async function removeStale(path: string): Promise<void> {
  if (statSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const answers = await new Promise<boolean>((resolve) => {
    const socket = createConnection({ path });
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
  if (!answers) rmSync(path, { force: true });
}
