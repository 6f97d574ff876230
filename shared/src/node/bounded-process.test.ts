import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type BoundedRun, runBounded, sourceExecArgv } from './bounded-process.ts';

const folder = mkdtempSync(join(tmpdir(), 'bounded-'));
const library = join(import.meta.dirname, 'bounded-process.ts');
afterAll(() => rmSync(folder, { recursive: true }));

function child(name: string, work: string): string {
  const path = join(folder, `${name}.mts`);
  writeFileSync(path, `import { answerBounded } from ${JSON.stringify(library)};\nanswerBounded(${work});\n`);
  return path;
}

function run(modulePath: string, options: Partial<BoundedRun> = {}) {
  const defaults = { input: {}, timeoutMs: 60_000, maxRssBytes: 1e9, execArgv: sourceExecArgv(import.meta.url) };
  return runBounded({ ...defaults, ...options, modulePath });
}

describe('a bounded process', () => {
  it('answers with what its work gives, typed arrays included', async () => {
    const path = child('sum', 'async (input) => ({ doubled: input.map((value) => value * 2) })');
    const result = await run(path, { input: new Float32Array([1, 2.5]) });
    expect(result).toEqual({ ok: true, output: { doubled: new Float32Array([2, 5]) } });
  });

  it('is killed when its main thread never comes back', async () => {
    const result = await run(child('spin', 'async () => { for (;;); }'), { timeoutMs: 1500 });
    expect(result).toMatchObject({ ok: false, reason: 'timeout', signal: 'SIGKILL', outside: false });
  });

  it('is killed when it takes more memory than allowed', async () => {
    const hog =
      'async () => { const kept = []; for (;;) { kept.push(Buffer.alloc(8e6, 1)); await new Promise((r) => setTimeout(r, 5)); } }';
    const result = await run(child('hog', hog), { maxRssBytes: 300e6 });
    expect(result).toMatchObject({
      ok: false,
      reason: 'memory',
      detail: expect.stringContaining('allowed are 287 MB'),
    });
  });

  it('that ends by a signal is reported with the signal', async () => {
    const result = await run(
      child('fpe', "async () => { process.kill(process.pid, 'SIGFPE'); await new Promise(() => {}); }"),
    );
    expect(result).toMatchObject({ ok: false, reason: 'died', signal: 'SIGFPE', outside: false });
  });

  it.each(['SIGKILL', 'SIGTERM'])('that is ended by %s from outside is told from one that crashed', async (signal) => {
    const killed = child(
      signal,
      `async () => { process.kill(process.pid, '${signal}'); await new Promise(() => setInterval(() => {}, 100)); }`,
    );
    expect(await run(killed)).toMatchObject({ ok: false, reason: 'died', signal, outside: true });
  });

  it('that throws is reported with its message', async () => {
    const result = await run(child('throws', "async () => { throw new Error('no such operator'); }"));
    expect(result).toMatchObject({ ok: false, reason: 'died', detail: expect.stringContaining('no such operator') });
  });

  it('is killed when the caller gives up', async () => {
    const signal = AbortSignal.timeout(500);
    await expect(
      run(child('waits', 'async () => new Promise(() => setInterval(() => {}, 100))'), { signal }),
    ).rejects.toThrow();
  });
});
