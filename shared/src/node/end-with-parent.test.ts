import { fork } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { sourceExecArgv } from './bounded-process.ts';

const folder = mkdtempSync(join(tmpdir(), 'edgeloop-parent-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const module = new URL('./end-with-parent.ts', import.meta.url).href;

/** A child with something that keeps it alive, which looks after its parent before or after that has gone. */
function child(looks: 'at once' | 'after the channel closed') {
  const early = `setInterval(() => undefined, 1000);
    const { endWithParent } = await import(${JSON.stringify(module)});`;
  const late = `const closed = new Promise((resolve) => process.once('disconnect', () => setTimeout(resolve, 50)));
    process.channel?.ref(); process.send('up'); await closed; endWithParent();`;
  const path = join(folder, 'child.mjs');
  writeFileSync(path, `${early}\n${looks === 'at once' ? "endWithParent(); process.send('up');" : late}`);
  return fork(path, [], { execArgv: sourceExecArgv(import.meta.url) });
}

it.each(['at once', 'after the channel closed'] as const)(
  'a child that looks %s ends with its parent',
  async (looks) => {
    const started = child(looks);
    await new Promise((resolve) => started.once('message', resolve));
    const ended = new Promise((resolve) => started.once('exit', (_, signal) => resolve(signal)));
    started.disconnect();
    expect(await ended).toBe('SIGKILL');
  },
);
