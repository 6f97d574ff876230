// edgeloop simulate.
import { randomBytes } from 'node:crypto';
import { AppError } from '@edgeloop/shared/errors';
import { type Command, InvalidArgumentError } from 'commander';
import { type ApiClient, defaultUrl } from '../cli/client.ts';
import { action, numeric } from '../cli/command.ts';
import { globalsOf, printFields, printJson } from '../cli/output.ts';
import type { Faults } from './settings.ts';
import type { Simulation, SimulationResult } from './simulate.ts';

interface Options {
  devices: number;
  model?: string;
  window: number;
  windowsPerSecond?: number;
  requests: number;
  duration: number;
  day: number;
  seed: number;
  stormAfter?: number;
  drain: number;
  keep?: true;
  errorRate: number;
  drift: number;
  driftAfter: number;
  driftSigmas: number;
  deadSensor: number;
  stuckSensor: number;
  slow: number;
  flapping: number;
  loseAcks: number;
  wrongClock: number;
  clockOffset: number;
  clean?: true;
}

const activateMs = 200;
const reportMs = 180_000;
/** Of the machine's limit of open files, what a control plane beside this can give to devices. */
const shareOfFiles = 0.75;
const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const plainEveryMs = 5000;

export function registerSimulateCommand(program: Command): void {
  program
    .command('simulate')
    .description(
      'simulated devices over real MQTT and TLS; their ids begin with sim-, their labels have simulated=true',
    )
    .option('--devices <n>', 'how many', whole, 10)
    .option('--model <name[:version]>', 'a registered model, whose manifest says what its features look like')
    .option('--window <time>', 'from one window of a device to its next', time, 60_000)
    .option('--windows-per-second <n>', 'of all devices, instead of --window', positive)
    .option('--requests <n>', 'requests a minute of a device at noon', positive, 60)
    .option('--duration <time>', 'of the windows', time, 60_000)
    .option('--day <time>', 'how long a day with its quiet night is', time, 86_400_000)
    .option('--seed <n>', 'the same gives the same devices', whole, 1)
    .option('--storm-after <time>', 'every connection breaks, and all connect again', time)
    .option('--drain <time>', 'how long the last windows may take to be acknowledged', time, 60_000)
    .option('--keep', 'leave the devices in the fleet, offline')
    .option('--error-rate <share>', 'of the requests: they fail', share, 0)
    .option('--drift <share>', 'of the devices: their features move', share, 0)
    .option('--drift-after <time>', 'when they move', time, 0)
    .option('--drift-sigmas <n>', 'how far, in standard deviations', numeric, 1)
    .option('--dead-sensor <share>', 'of the devices: the first feature is missing', share, 0)
    .option('--stuck-sensor <share>', 'of the devices: the first feature does not change', share, 0)
    .option('--slow <share>', 'of the devices: ten times the latency', share, 0)
    .option('--flapping <share>', 'of the devices: they lose their connection again and again', share, 0)
    .option('--lose-acks <share>', 'of the acknowledgements: they do not arrive', share, 0)
    .option('--wrong-clock <share>', 'of the devices: their clock is off', share, 0)
    .option('--clock-offset <time>', 'by how much, for example 3h or -2d', signedTime, 3_600_000)
    .option('--clean', 'only remove what former simulations left behind')
    .action(
      action(async ({ api, json }, options: Options, command: Command) => {
        if (options.clean) return clean(api, json);
        const result = await run(api, { options, json, isLocal: isLocal(globalsOf(command).url) });
        if (json) printJson(result);
        else show(result);
        if (result.windows.lost > 0) process.exitCode = 1;
      }),
    );
}

async function clean(api: ApiClient, json: boolean): Promise<void> {
  const { removeSimulated } = await import('./removal.ts');
  const removed = await removeSimulated(api, undefined, () => undefined);
  if (json) printJson({ removed });
  else process.stdout.write(`${removed} simulated devices removed\n`);
}

async function run(
  api: ApiClient,
  { options, json, isLocal }: { options: Options; json: boolean; isLocal: boolean },
): Promise<SimulationResult> {
  const { openFiles } = await import('./fleet.ts');
  const { simulate } = await import('./simulate.ts');
  const most = Math.floor(openFiles() * shareOfFiles);
  const terminal = createTerminal(json);
  if (isLocal && options.devices > most)
    terminal.say(`a control plane on this machine has room for about ${most} devices; raise ulimit -n for it for more`);
  const interrupt = new AbortController();
  const stop = () => interrupt.abort(new AppError('unavailable', 'interrupted'));
  process.once('SIGINT', stop).once('SIGTERM', stop);
  try {
    return await simulate(api, simulationOf(options), { signal: interrupt.signal, ...terminal });
  } finally {
    terminal.end();
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

function simulationOf(options: Options): Simulation {
  const { devices, model, windowsPerSecond, duration: durationMs, drain: drainMs, keep = false } = options;
  return {
    ...{ devices, model, durationMs, drainMs, keep, stormAfterMs: options.stormAfter },
    windowMs: windowsPerSecond === undefined ? options.window : (devices * 1000) / windowsPerSecond,
    settings: {
      run: randomBytes(4).toString('hex'),
      labels: {},
      ...{ seed: options.seed, requestsPerMinute: options.requests, dayMs: options.day, activateMs, reportMs },
      faults: faultsOf(options),
    },
  };
}

function faultsOf(options: Options): Faults {
  const { errorRate, deadSensor, stuckSensor, slow, flapping, loseAcks: lostAcks } = options;
  return {
    ...{ errorRate, deadSensor, stuckSensor, slow, flapping, lostAcks },
    drift: { share: options.drift, afterMs: options.driftAfter, sigmas: options.driftSigmas },
    clock: { share: options.wrongClock, offsetMs: options.clockOffset },
  };
}

/** On a terminal one line that changes; elsewhere a line now and then; with `--json` nothing. */
function createTerminal(json: boolean) {
  const isTerminal = process.stderr.isTTY === true;
  let last = 0;
  const write = (text: string) => void (json || process.stderr.write(text));
  const clear = isTerminal ? '\r\x1b[K' : '';
  return {
    say: (line: string) => write(`${clear}${line}\n`),
    live(line: string) {
      if (isTerminal) return write(`${clear}${line}`);
      if (performance.now() - last < plainEveryMs) return;
      last = performance.now();
      write(`${line}\n`);
    },
    end: () => write(clear),
  };
}

function show(result: SimulationResult): void {
  const { windows, requests, acknowledgedMs, storm } = result;
  const ms = (value: number | undefined) => (value === undefined ? undefined : `${value.toFixed(0)} ms`);
  const { made, acknowledged, lost, resent, heldBack } = windows;
  printFields([
    [
      'run',
      `${result.run}: ${result.devices} devices, ${result.model} ${result.version}, ${result.seconds.toFixed(0)} s`,
    ],
    [
      'windows',
      `${made} made, ${acknowledged} acknowledged, ${lost} lost, ${resent} sent again, ${heldBack} held back`,
    ],
    ['requests', `${requests.made} made, ${requests.counted} counted by the control plane`],
    ['acknowledged after', `${ms(acknowledgedMs.p50) ?? '-'} (median), ${ms(acknowledgedMs.p99) ?? '-'} (p99)`],
    ['connections', `${result.connects} made, ${result.connectionsLost} lost`],
    ...(storm ? [['storm', stormText(storm.backAfterMs)] as [string, string]] : []),
    ['removed', `${result.removed} devices`],
  ]);
}

function stormText(backAfterMs: number | null): string {
  return backAfterMs === null ? 'not all came back' : `all back after ${(backAfterMs / 1000).toFixed(1)} s`;
}

function isLocal(url: string | undefined): boolean {
  return ['127.0.0.1', 'localhost', '[::1]'].includes(new URL(defaultUrl(process.env, url)).hostname);
}

function whole(text: string): number {
  if (!/^\d{1,6}$/.test(text) || Number(text) < 1) throw new InvalidArgumentError('must be a whole number from 1');
  return Number(text);
}

function positive(text: string): number {
  const value = numeric(text);
  if (value <= 0) throw new InvalidArgumentError('must be above 0');
  return value;
}

function share(text: string): number {
  const value = numeric(text);
  if (value < 0 || value > 1) throw new InvalidArgumentError('must be a share from 0 to 1');
  return value;
}

function time(text: string): number {
  const value = signedTime(text);
  if (value < 0) throw new InvalidArgumentError('must not be negative');
  return value;
}

/** In milliseconds. */
function signedTime(text: string): number {
  const [, number, unit] = /^(-?\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text) ?? [];
  const ms = Object.entries(units).find(([name]) => name === unit)?.[1];
  if (number === undefined || ms === undefined)
    throw new InvalidArgumentError('must be a time such as 500ms, 30s, 5m, 2h or 1d');
  return Number(number) * ms;
}
