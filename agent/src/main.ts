// Command line of the agent: arguments, signals, exit codes (0 done, 64 wrong input, 69 not there, 75 in use: try
// later, 77 refused, 1 everything else).
import './parsed-seldom.ts';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { AppError, type ErrorCode, messageOf } from '@edgeloop/shared/errors';
import { Command } from 'commander';
import type { Logger } from 'pino';
import { type Config, readConfig } from './config.ts';
import { createLog } from './log.ts';
import { isStorageRefusal } from './storage/refusal.ts';
import { version } from './version.ts';

// This process waits most of the time; what answers requests is a child with a heap of its own, unless that is switched off.
if (process.env.EDGELOOP_ISOLATION !== 'off') setFlagsFromString('--optimize-for-size');
// Inputs, predictions and keys are for this user alone, also what children write of them.
process.umask(0o077);
// Each command brings in only what it needs: a stand-alone server has no use for MQTT and certificates, which cost
// 40 MB and a third of a second.

interface AddressFlags {
  host?: string;
  port?: string;
  grpcPort?: string;
  socket?: string;
  json?: boolean;
}

interface TrimFlags {
  dryRun?: boolean;
  keepGpu?: boolean;
  json?: boolean;
}

/** Beyond the drain, for folding telemetry and the goodbye. */
const extraStopMs = 5000;

const moreCores = `
With four cores or more, EDGELOOP_SERVING_PROCESSES=2 spreads callers over two whole serving processes, with the memory of two.`;
const lessMemory = `Where memory is short, EDGELOOP_SPARE_PROCESS=off saves a process that waits at times, and EDGELOOP_ISOLATION=off runs all in one: a
model that ends it, or never returns, then takes the agent with it.`;

const program = new Command('edgeloop-agent')
  .description('Runs models on this device, alone or as part of a fleet. Settings come from EDGELOOP_… variables.')
  .version(version)
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 64))
  .showHelpAfterError();

program
  .command('run')
  .description('join a fleet (EDGELOOP_JOIN, needed once) and serve the models that it wants here')
  .addHelpText('after', moreCores)
  .option('--host <host>', 'instead of EDGELOOP_AGENT_HOST')
  .option('--port <port>', 'instead of EDGELOOP_AGENT_PORT')
  .option('--grpc-port <port>', 'instead of EDGELOOP_GRPC_PORT')
  .option('--socket <path>', 'instead of EDGELOOP_AGENT_SOCKET')
  .option('--json', 'failures as JSON on stdout')
  .action((flags: AddressFlags) =>
    attempt(flags, async (config) => {
      const { runSupervisor } = await import('./supervisor.ts');
      const log = createLog('agent', config.logLevel);
      await untilSignalled(config, log, (signal) => runSupervisor(config, log, signal));
    }),
  );

program
  .command('serve')
  .description('serve a folder of models, DIR/NAME/VERSION/model.onnx, without a control plane')
  .argument('<dir>')
  .addHelpText('after', moreCores)
  .addHelpText('after', lessMemory)
  .option('--host <host>', 'instead of EDGELOOP_AGENT_HOST')
  .option('--port <port>', 'instead of EDGELOOP_AGENT_PORT')
  .option('--grpc-port <port>', 'instead of EDGELOOP_GRPC_PORT')
  .option('--socket <path>', 'instead of EDGELOOP_AGENT_SOCKET')
  .option('--json', 'failures as JSON on stdout')
  .action((dir: string, flags: AddressFlags) =>
    attempt(flags, async (config) => {
      const { serveFolder } = await import('./serve-folder.ts');
      const log = createLog('agent', config.logLevel);
      await untilSignalled(config, log, (signal) => serveFolder(dir, config, log, signal));
    }),
  );

program
  .command('status')
  .description('ask the agent that runs on this machine; exit code 0 only when it is ready')
  .option('--json', 'as JSON')
  .action((flags: AddressFlags) =>
    attempt(flags, async (config) => {
      const { formatStatus, readStatus } = await import('./status.ts');
      const status = await readStatus(config);
      process.stdout.write(`${flags.json === true ? JSON.stringify(status) : formatStatus(status)}\n`);
      process.exitCode = status.ready ? 0 : 1;
    }),
  );

program
  .command('trim')
  .description(
    'delete what this device never reads from the installed packages: libraries for other platforms, sources',
  )
  .argument('[dir]', 'folder of the installed program', fileURLToPath(new URL('..', import.meta.url)))
  .option('--dry-run', 'only say what would go')
  .option('--keep-gpu', 'keep the libraries for GPUs; they stay as well when EDGELOOP_PROVIDERS names a provider')
  .option('--json', 'as JSON')
  .action((dir: string, flags: TrimFlags) =>
    attempt(flags, async ({ providers = [] }) => {
      const { formatTrimmed, trim } = await import('./trim/trim.ts');
      const keepGpu = flags.keepGpu === true || providers.some((name) => name !== 'cpu');
      const device = { platform: process.platform, arch: process.arch, keepGpu };
      const trimmed = await trim({ folder: resolve(dir), device, dryRun: flags.dryRun === true });
      process.stdout.write(`${flags.json === true ? JSON.stringify(trimmed) : formatTrimmed(trimmed)}\n`);
    }),
  );

await program.parseAsync();
// Nothing that is left open may hold up a process that has done its work.
process.exit();

async function attempt(flags: AddressFlags, work: (config: Config) => Promise<void>): Promise<void> {
  try {
    const address = {
      EDGELOOP_AGENT_HOST: flags.host,
      EDGELOOP_AGENT_PORT: flags.port,
      EDGELOOP_GRPC_PORT: flags.grpcPort,
      EDGELOOP_AGENT_SOCKET: flags.socket,
    };
    const given = Object.fromEntries(Object.entries(address).filter(([, value]) => value !== undefined));
    await work(readConfig({ ...process.env, ...given }));
  } catch (error) {
    const code = error instanceof AppError ? error.code : 'internal';
    const failure = { error: { code, message: messageOf(error) } };
    if (flags.json === true) process.stdout.write(`${JSON.stringify(failure)}\n`);
    else process.stderr.write(`edgeloop-agent: ${messageOf(error)}\n`);
    if (code === 'internal' && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    process.exitCode = exitCodeOf(code);
  }
}

/** Runs `work` until SIGTERM or SIGINT; a second one, or the deadline, ends the process at once. */
async function untilSignalled(
  config: Config,
  log: Logger,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals) => {
    if (stop.signal.aborted) process.exit(1);
    log.info({ signal: name }, 'stopping');
    stop.abort();
    setTimeout(() => {
      log.error('did not stop in time');
      process.exit(1);
    }, config.drainMs + extraStopMs).unref();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  const unexpected = (error: unknown) => {
    // Whoever writes is to catch this; a device that serves does not end by its disk.
    if (isStorageRefusal(error)) {
      log.error({ err: error }, 'the disk refused something');
      return;
    }
    log.fatal({ err: error }, 'an unexpected failure');
    process.exitCode = 1;
    stop.abort();
  };
  process.on('unhandledRejection', unexpected);
  await work(stop.signal);
  log.info('stopped');
}

function exitCodeOf(code: ErrorCode): number {
  switch (code) {
    case 'invalid_request':
      return 64;
    case 'not_found':
    case 'unavailable':
      return 69;
    case 'conflict':
      return 75;
    case 'unauthorized':
    case 'forbidden':
      return 77;
    default:
      return 1;
  }
}
