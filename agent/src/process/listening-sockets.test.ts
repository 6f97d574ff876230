import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createListener, type Listener } from './listening-sockets.ts';

let folder = '';
let socketPath = '';
const open: Listener[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'agent-listener-'));
  socketPath = join(folder, 'agent.sock');
});
afterEach(() => {
  for (const listener of open.splice(0)) listener.close();
  rmSync(folder, { recursive: true });
});

function listener(): Listener {
  const created = createListener({
    host: '127.0.0.1',
    port: 0,
    socketPath,
    onConnection: (socket) => socket.end('hello'),
  });
  open.push(created);
  return created;
}

async function said(to: { path: string } | { port: number; host: string }): Promise<string> {
  const [data] = await once(createConnection(to), 'data');
  return String(data);
}

it('answers on a port and on a Unix socket of user and group', async () => {
  const port = await listener().start();
  expect(await said({ port, host: '127.0.0.1' })).toBe('hello');
  expect(await said({ path: socketPath })).toBe('hello');
  expect(statSync(socketPath).mode & 0o777).toBe(0o660);
});

it('takes over the socket of a killed process', async () => {
  const script = `require('node:net').createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script]);
  expect(existsSync(socketPath)).toBe(true);
  await listener().start();
  expect(await said({ path: socketPath })).toBe('hello');
});

it('leaves a socket alone on which somebody listens, and gives back its port', async () => {
  await listener().start();
  await expect(listener().start()).rejects.toThrow(/EDGELOOP_AGENT_SOCKET .* cannot be listened on/);
  expect(await said({ path: socketPath })).toBe('hello');
});
