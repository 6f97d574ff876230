import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { endLeftover, endLeftoverOf, signalProcess } from './leftover-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'leftover-'));
afterAll(() => rmSync(scratch, { recursive: true }));

let child: ChildProcess;
let ended: Promise<unknown[]>;
beforeEach(async () => {
  const program = 'process.stdout.write("up"); setInterval(() => {}, 1000)';
  child = spawn(process.execPath, ['-e', program, 'one-mark', 'two-mark'], {
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  ended = once(child, 'exit');
  if (child.stdout) await once(child.stdout, 'data');
});
afterEach(async () => {
  child.kill('SIGKILL');
  await ended;
});

it('ends the process that the file names, with its group, and removes the file', async () => {
  const path = join(scratch, 'pid');
  writeFileSync(path, String(child.pid));
  const found: number[] = [];
  await endLeftoverOf(path, { marks: ['one-mark', 'two-mark'], group: true, onFound: (pid) => found.push(pid) });
  expect(await ended).toEqual([null, 'SIGKILL']);
  expect(found).toEqual([child.pid]);
  expect(existsSync(path)).toBe(false);
});

it('spares a process whose command line lacks a mark', async () => {
  await endLeftover(child.pid ?? 0, { marks: ['one-mark', 'another'] });
  expect(signalProcess(child.pid ?? 0, 'SIGCONT')).toBe(true);
});

it.each(['', 'text', '-1', '0', '1', '1.5'])('makes nothing of a file that says "%s"', async (text) => {
  const path = join(scratch, 'odd');
  writeFileSync(path, text);
  await endLeftoverOf(path, { marks: [] });
  expect(existsSync(path)).toBe(false);
});
