// `edgeloop server`: environment, signals, exit code.
import { AppError } from '@edgeloop/shared/errors';
import { pino } from 'pino';
import { type ControlPlane, startControlPlane } from './composition/control-plane.ts';
import { endWithin } from './composition/end-within.ts';
import { readConfig } from './config.ts';

const deadlineMs = 10_000;
/** After the deadline, for what is cut by it to end in order. */
const graceMs = 1000;

/** Runs until SIGTERM or SIGINT, and gives the exit code. A second signal ends the process at once. */
export async function runServer(environment: NodeJS.ProcessEnv): Promise<number> {
  // What this process and its children write is for its own user only.
  process.umask(0o077);
  // A start may be long, and ends with the deadline as well.
  const asked = firstSignal().then(() => {
    endWithin(deadlineMs + graceMs);
    return AbortSignal.timeout(deadlineMs);
  });
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
  await controlPlane.close(await asked);
  // Whatever still holds the process does not hold it any longer.
  setTimeout(() => process.exit(0), graceMs).unref();
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
