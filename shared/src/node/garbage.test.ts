import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { sourceExecArgv } from './bounded-process.ts';

const folder = mkdtempSync(join(tmpdir(), 'garbage-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** In a process of its own, so that nothing else of the tests counts. */
async function apart(code: string): Promise<Record<string, number>> {
  const file = join(folder, 'apart.mjs');
  writeFileSync(
    file,
    `const garbage = await import(${JSON.stringify(new URL('./garbage.ts', import.meta.url).href)});
    const heap = () => process.memoryUsage().heapTotal / 2 ** 20;
    process.send(await (${code})(garbage));`,
  );
  const child = fork(file, [], { execArgv: sourceExecArgv(import.meta.url) });
  const [answer] = await once(child, 'message');
  child.kill('SIGKILL');
  return answer;
}

it('gives back what starting took, once there is nothing to do', async () => {
  const { before = 0, after } = await apart(`async ({ collectGarbageAtRest }) => {
    let list = Array.from({ length: 300000 }, (_, i) => ({ i }));
    list = undefined;
    const before = heap();
    collectGarbageAtRest();
    for (let looks = 0; looks < 100 && heap() > before - 8; looks++)
      await new Promise((resolve) => setTimeout(resolve, 200));
    return { before, after: heap() };
  }`);
  expect(after).toBeLessThan(before - 8);
}, 30_000);
