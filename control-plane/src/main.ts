// The program `edgeloop`: the server, and the commands of operators. The server's code is loaded only by the server.
import { messageOf } from '@edgeloop/shared/errors';
import { Command } from 'commander';
import { registerOperatorCommands } from './cli/commands.ts';
import { registerDemoCommand } from './demo/command.ts';
import { registerSimulateCommand } from './simulate/command.ts';
import { version } from './version.ts';

const program = new Command('edgeloop')
  .description('MLOps for fleets of edge devices: control plane and operator commands')
  .version(version);
program
  .command('server')
  .description('run the control plane')
  .action(async () => {
    const { runServer } = await import('./server.ts');
    process.exitCode = await runServer(process.env);
  });
registerDemoCommand(program);
registerOperatorCommands(program);
registerSimulateCommand(program);

program.parseAsync().catch((error: unknown) => {
  process.stderr.write(`edgeloop: ${messageOf(error)}\n`);
  process.exitCode = 1;
});
