import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { isAlive } from '../support/is-alive.ts';
import { until } from '../support/until.ts';
import { startBusy } from './busy.ts';

it('busy processes are there until they are ended', async () => {
  const busy = startBusy(2);
  expect(busy.pids.map(isAlive)).toEqual([true, true]);
  await busy.end();
  expect(busy.pids.map(isAlive)).toEqual([false, false]);
});

it('a busy process ends when whoever started it was killed', async () => {
  const module = fileURLToPath(new URL('./busy.ts', import.meta.url));
  const source = `import(${JSON.stringify(module)}).then(({ startBusy }) => console.log(startBusy(1).pids[0]))`;
  const parent = spawn(process.execPath, ['--import', 'tsx', '-e', source], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [told] = await once(parent.stdout, 'data');
  const pid = Number(String(told));
  expect(isAlive(pid)).toBe(true);
  parent.kill('SIGKILL');
  await until('the end of the busy process', async () => !isAlive(pid) || undefined);
});
