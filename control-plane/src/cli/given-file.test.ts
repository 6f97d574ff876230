import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { givenFile } from './given-file.ts';

const main = join(import.meta.dirname, '../../bin/edgeloop.js');

describe('a file that a command is given', () => {
  const folder = mkdtempSync(join(tmpdir(), 'given-'));
  const plain = join(folder, 'model.onnx');
  writeFileSync(plain, 'the model');
  afterAll(() => rmSync(folder, { recursive: true }));

  it('is read whole, be it plain or what another program writes meanwhile', async () => {
    expect(await (await givenFile(plain)).text()).toBe('the model');
    const pipe = join(folder, 'pipe');
    execFileSync('sh', ['-c', 'mkfifo "$0"', pipe]);
    const long = 'row,\n'.repeat(50_000);
    const writer = spawn('sh', ['-c', `cat > "${pipe}"`], { stdio: ['pipe', 'ignore', 'inherit'] });
    writer.stdin.end(long);
    const given = await givenFile(pipe);
    expect([given.size, await given.text()]).toEqual([long.length, long]);
  });

  it('is named when it cannot be read', async () => {
    const missing = join(folder, 'none');
    const refused = { code: 'invalid_request', message: expect.stringContaining(missing) };
    await expect(givenFile(missing)).rejects.toMatchObject(refused);
    await expect(givenFile(folder)).rejects.toMatchObject({ message: expect.stringContaining('EISDIR') });
  });

  it('may be what the command itself is sent', { timeout: 120_000 }, async () => {
    const uploads: string[] = [];
    const server = createServer(async (request, response) => {
      uploads.push(await textOf(request));
      response.writeHead(422, { 'content-type': 'application/json' }).end('{}');
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const address = server.address();
    const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
    const push = ['models', 'push', 'm', plain, '--manifest', '/dev/stdin'];
    const env = { ...process.env, EDGELOOP_URL: url, EDGELOOP_API_KEY: 'k' };
    const line = `printf '{"task":"generic"}' | "$0" "$@"`;
    const child = spawn('sh', ['-c', line, process.execPath, main, ...push], { env, stdio: 'ignore' });
    await once(child, 'close');
    server.close();
    server.closeAllConnections();
    expect(uploads).toEqual([expect.stringContaining('{"task":"generic"}')]);
  });
});

async function textOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  return text;
}
