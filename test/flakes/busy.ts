// Processes that do nothing but take a core each, as other work on the machine would.
import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** In slices, so that it hears when whoever started it is gone, however that ended. */
const program = `
process.on('disconnect', () => process.exit());
const spin = () => {
  for (const end = performance.now() + 20; performance.now() < end; );
  setImmediate(spin);
};
spin();`;

export interface Busy {
  pids: number[];
  end(): Promise<void>;
}

export function startBusy(count: number): Busy {
  const children = Array.from({ length: count }, () =>
    spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] }),
  );
  const ends = children.map((child) => once(child, 'exit'));
  return {
    pids: children.map(({ pid }) => pid ?? 0),
    async end() {
      for (const child of children) child.kill('SIGKILL');
      await Promise.all(ends);
    },
  };
}
