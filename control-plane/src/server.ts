// `edgeloop server`: environment, signals, exit code.
import { AppError } from '@edgeloop/shared/errors';
import { pino } from 'pino';
import { type ControlPlane, startControlPlane } from './composition/control-plane.ts';
import { readConfig } from './config.ts';

const deadlineMs = 10_000;

/** Runs until SIGTERM or SIGINT, and gives the exit code. A second signal ends the process at once. */
export async function runServer(environment: NodeJS.ProcessEnv): Promise<number> {
  // What this process and its children write is for its own user only.
  process.umask(0o077);
  const asked = firstSignal();
  let controlPlane: ControlPlane;
  try {
    const config = readConfig(environment);
    const log = pino({ level: config.logLevel, base: null }, pino.destination({ dest: 2, sync: true }));
    controlPlane = await startControlPlane({ config, log });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    process.stderr.write(`edgeloop: ${error.message}\n`);
    return 1;
  }
  await asked;
  await controlPlane.close(AbortSignal.timeout(deadlineMs));
  // Whatever still holds the process does not hold it past the deadline.
  setTimeout(() => process.exit(0), 1000).unref();
  return 0;
}

function firstSignal(): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false;
    const stop = () => {
      if (stopping) process.exit(1);
      stopping = true;
      resolve();
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
  });
}
