import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';

const module = new URL('./end-within.ts', import.meta.url).href;

/** How a program ends that says within what time it is to be ended, and what it said. */
async function run(program: string) {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', '--input-type=module', '-e', `import { endWithin } from '${module}'; ${program}`],
    { stdio: ['ignore', 'ignore', 'pipe'], timeout: 20_000, killSignal: 'SIGTERM' },
  );
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const [code, signal] = await once(child, 'exit');
  return { code, signal, said };
}

it('ends a process whose event loop is never free again', async () => {
  const { signal, said } = await run('endWithin(300); setTimeout(() => { for (;;); }, 50);');
  expect(signal).toBe('SIGKILL');
  expect(said).toContain('not stopped within 0.3 s');
});

it('holds nobody up who ends by himself', async () => {
  const { code, said } = await run('endWithin(60_000);');
  expect([code, said]).toEqual([0, '']);
});
