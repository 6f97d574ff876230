import { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { startServing } from './serving-fixture.ts';
import { createWaitingCallers, type WaitingCallers } from './waiting-callers.ts';

let server: Server;
let callers: WaitingCallers;
/** The sockets of all who came, at this end. */
const came: Socket[] = [];
const clients: Socket[] = [];

beforeEach(async () => {
  callers = createWaitingCallers({ waitingAtMost: 2, patienceMs: 1 });
  server = createServer({ pauseOnConnect: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    callers.hand(socket);
    came.push(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
});
afterEach(() => {
  callers.close();
  server.close();
  came.length = 0;
  for (const client of clients.splice(0)) client.destroy();
});

/** A caller who has connected and said this. `taken`: found a place in the queue. */
async function call(words: string): Promise<{ client: Socket; own: Socket | undefined; taken: boolean }> {
  const before = came.length;
  const address = server.address();
  const client = connect(typeof address === 'object' ? (address?.port ?? 0) : 0, '127.0.0.1');
  clients.push(client.on('error', () => undefined));
  if (words !== '') client.write(words);
  await vi.waitUntil(() => came.length > before, { timeout: 15_000 });
  const own = came[before];
  return { client, own, taken: own?.destroyed === false };
}

const request = 'POST /v2/repository/index HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ';

describe('a caller who gives up', () => {
  it.each<[string, string, (client: Socket) => void]>([
    ['has said nothing and ends', '', (client) => client.end()],
    ['has sent a request and goes', `${request}2\r\n\r\n{}`, (client) => client.destroy()],
    ['resets the connection', `${request}10\r\n\r\n{`, (client) => client.resetAndDestroy()],
  ])('and %s leaves its place to the next', async (_, words, giveUp) => {
    const first = await call(words);
    expect([first.taken, (await call('')).taken, (await call('')).taken]).toEqual([true, true, false]);
    giveUp(first.client);
    await vi.waitUntil(() => first.own?.destroyed, { timeout: 15_000 });
    expect([(await call('')).taken, (await call('')).taken]).toEqual([true, false]);
  });
});

describe('callers of several processes', () => {
  /** Takes who it is handed, unless it is `deaf`: then nothing ever leaves for it. */
  function child(deaf = false) {
    const handed: Socket[] = [];
    const send = (_message: object, socket: Socket, _options: object, done: (error: Error | null) => void) => {
      handed.push(socket);
      if (!deaf) setImmediate(() => done(null));
      return true;
    };
    return { handed, process: Object.assign(new ChildProcess(), { connected: true, send }) };
  }

  it('are spread over those that are up, and handed to one whose models are to come only while no other is there', async () => {
    const [first, second, coming] = [child(), child(), child()];
    callers.open(coming.process, 'coming');
    await call('');
    callers.open(first.process, 'up');
    callers.open(second.process, 'up');
    for (let i = 0; i < 6; i++) await call('');
    expect([first, second, coming].map(({ handed }) => handed.length)).toEqual([3, 3, 1]);
    callers.open(coming.process, 'up');
    for (let i = 0; i < 3; i++) await call('');
    expect([first, second, coming].map(({ handed }) => handed.length)).toEqual([4, 4, 2]);
  });

  it('go to another when the process died that did not take them', async () => {
    const [dying, other] = [child(true), child()];
    callers.open(dying.process, 'up');
    await call('');
    callers.open(other.process, 'up');
    callers.gone(dying.process);
    expect(other.handed).toEqual(dying.handed);
    await call('');
    expect([dying.handed.length, other.handed.length]).toEqual([1, 2]);
  });
});

describe('callers who wait', () => {
  it('are answered, whatever was read from them meanwhile', async () => {
    const serving = await startServing();
    const body = JSON.stringify({ ready: true, padding: 'x'.repeat(300_000) });
    const [small, large] = [await call(`${request}2\r\n\r\n{}`), await call(`${request}${body.length}\r\n\r\n`)];
    large.client.write(body.slice(0, 200_000));
    await vi.waitUntil(() => small.own?.bytesRead && large.own && large.own.bytesRead > 4096, { timeout: 15_000 });
    callers.open(serving.child, 'up');
    large.client.write(body.slice(200_000));
    const unheard = await call(`${request}2\r\n\r\n{}`);
    for (const { client } of [small, large, unheard]) {
      expect(await text(client)).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\n\[\]$/);
    }
    await serving.end();
  });
});
