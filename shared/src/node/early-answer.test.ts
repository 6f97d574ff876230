import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { discardRest, piecesOf } from './early-answer.ts';

describe('an answer before the end of the request', () => {
  const megabyte = Buffer.alloc(1024 * 1024, 'x');
  let patience = { pieceMs: 30_000, restMs: 30_000 };
  let port = 0;
  let server: Server;
  beforeAll(async () => {
    server = createServer((request, response) => {
      // Like the reader of a form that finds a part too large, it stops in the middle.
      const reading = piecesOf(Readable.toWeb(request));
      response.once('finish', () => discardRest(request, patience));
      void reading.next().then(async () => {
        await reading.return(undefined);
        response.end('refused');
      });
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const address = server.address();
    port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  });
  afterAll(() => void server.close());

  const begin = (megabytes: number): Socket => {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    socket.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${megabytes * megabyte.length}\r\n\r\n`);
    return socket;
  };
  const send = (socket: Socket): Promise<void> =>
    new Promise((resolve, reject) => socket.write(megabyte, (error) => (error ? reject(error) : resolve())));

  it('reaches a caller that reads nothing before it has sent everything, and who goes on with the next', async () => {
    const socket = begin(100);
    for (let i = 0; i < 100; i++) await send(socket);
    const [first] = await once(socket, 'data');
    expect(String(first)).toMatch(/^HTTP\/1.1 200 OK[\s\S]*refused/);
    socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\n.');
    const [second] = await once(socket, 'data');
    expect(String(second)).toMatch(/refused/);
  });

  it('does not wait for a caller that says no more', async () => {
    patience = { pieceMs: 300, restMs: 30_000 };
    const socket = begin(2);
    await send(socket);
    await new Promise((closed) => socket.resume().once('close', closed));
  });

  it('does not wait for a caller that never ends', async () => {
    patience = { pieceMs: 30_000, restMs: 1000 };
    const socket = begin(1_000_000);
    while (!socket.destroyed) await send(socket).catch(() => undefined);
  });
});
