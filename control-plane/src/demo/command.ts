// edgeloop demo.
import { messageOf } from '@edgeloop/shared/errors';
import type { Command } from 'commander';

export function registerDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('run the whole loop on this machine: control plane, three agents, real data')
    .option('--exit', 'end after the loop; exit code 0 only if every step was seen to happen')
    .action(async (options: { exit?: boolean }) => {
      const interrupt = new AbortController();
      const onSignal = () => interrupt.abort(new Error('interrupted'));
      process.once('SIGINT', onSignal).once('SIGTERM', onSignal).once('SIGHUP', onSignal);
      try {
        const { runDemo } = await import('./demo.ts');
        process.exitCode = await runDemo({ exit: options.exit === true, signal: interrupt.signal });
      } catch (error) {
        process.stderr.write(`edgeloop demo: ${messageOf(error)}\n`);
        process.exitCode = 1;
      }
    });
}
