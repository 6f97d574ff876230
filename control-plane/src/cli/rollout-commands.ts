// edgeloop rollouts.
import { RolloutForecast } from '@edgeloop/shared/api/forecasts';
import { pageOf } from '@edgeloop/shared/api/paging';
import { type PlannedWave, Rollout, RolloutDetail, type RolloutState } from '@edgeloop/shared/api/rollouts';
import { AppError } from '@edgeloop/shared/errors';
import type { Command } from 'commander';
import { action, type CommandContext, group, numeric } from './command.ts';
import { printJson, printLine, printTable, timeText } from './output.ts';

export function registerRolloutCommands(program: Command): void {
  const rollouts = group(program, 'rollouts', 'staged releases of model versions');
  registerCreate(rollouts);
  rollouts
    .command('list')
    .description('list rollouts, newest first')
    .option('--model <name>', 'of one model')
    .action(
      action(async ({ api, json }, options: { model?: string }) => {
        const page = await api.get('/rollouts', pageOf(Rollout), { ...options, limit: 100 });
        if (json) return printJson(page.items);
        printTable(
          ['ID', 'MODEL', 'VERSION', 'STATE', 'SELECTOR', 'CREATED', 'BY', 'STATUS'],
          page.items.map((each) => [
            each.id,
            each.model,
            each.version,
            each.state.phase.replaceAll('_', ' '),
            each.plan.selector || '(all)',
            timeText(each.createdAt),
            each.createdBy,
            each.status,
          ]),
        );
      }),
    );
  rollouts
    .command('show <id>')
    .description('show one rollout with its devices and gates')
    .action(
      action(async ({ api, json }, id: string) => {
        const detail = await api.get(path(id), RolloutDetail);
        if (json) return printJson(detail);
        printDetail(detail);
      }),
    );
  rollouts
    .command('watch <id>')
    .description('follow a rollout until it ends; exit code 0 only when it completed')
    .action(action((context, id: string) => watch(context, id)));
  registerActions(rollouts);
}

function registerActions(rollouts: Command): void {
  for (const [name, description] of [
    ['approve', 'let a rollout that awaits approval begin'],
    ['pause', 'stop advancing; devices keep what they have'],
    ['resume', 'go on where it paused'],
    ['retry', 'let the devices that failed or took too long try once more, and no others'],
    ['rollback', 'take every device back to the last version that completed there'],
  ] as const) {
    rollouts
      .command(`${name} <id>`)
      .description(description)
      .option('--reason <text>', 'for the history', '')
      .action(
        action(async (context, id: string, options: { reason: string }) => {
          await act(context, id, { name, reason: options.reason });
        }),
      );
  }
  rollouts
    .command('cancel <id>')
    .description('end it; devices that run the version keep it, no other gets it')
    .option('--reason <text>', 'for the history', '')
    .option('--rollback', 'take the version back from the devices that run it, too')
    .action(
      action((context, id: string, options: { reason: string; rollback?: true }) =>
        act(context, id, { name: 'cancel', ...options }),
      ),
    );
}

async function act(
  { api, json }: CommandContext,
  id: string,
  { name, ...said }: { name: string; reason: string; rollback?: true },
): Promise<void> {
  const rollout = await api.send('POST', `${path(id)}/${name}`, Rollout, said);
  if (json) return printJson(rollout);
  printLine(`${rollout.id}: ${statusText(rollout)}`);
}

interface CreateOptions {
  selector: string;
  waves: string;
  canary: string[];
  spread?: string;
  rate?: string;
  maxUnavailable?: string;
  bake: number;
  deployTimeout?: number;
  approval?: boolean;
  maxErrorRate: number;
  minRequests: number;
  maxFailedDevices?: number;
  minHealthyDevices?: number;
  maxLoss?: number;
  minLabels?: number;
  maxRatio?: number;
  drift?: string;
  onFailure: string;
  rollbackOf?: string;
  offline?: string;
  offlineAfter?: number;
  priority?: number;
  alias?: string;
  watch?: boolean;
}

const collect = (value: string, former: string[]) => [...former, value];

function registerCreate(rollouts: Command): void {
  const create = rollouts
    .command('create <model> <version>')
    .description('release a version in waves; the version is a number or an alias, as candidate');
  addPlanOptions(create)
    .option('--watch', 'follow it until it ends')
    .action(
      action(async (context, model: string, version: string, options: CreateOptions) => {
        const rollout = await context.api.send('POST', '/rollouts', Rollout, bodyOf(model, version, options));
        if (options.watch === true) return watch(context, rollout.id);
        if (context.json) return printJson(rollout);
        printLine(`${rollout.id}: ${stateText(rollout.state)}; follow it: edgeloop rollouts watch ${rollout.id}`);
      }),
    );
  const plan = rollouts.command('plan <model> <version>');
  addPlanOptions(
    plan.description('say what a rollout would do: its waves, how long they take, what its gates would see'),
  ).action(
    action(async ({ api, json }, model: string, version: string, options: CreateOptions) => {
      const forecast = await api.send('POST', '/rollouts/plan', RolloutForecast, bodyOf(model, version, options));
      if (json) return printJson(forecast);
      printForecast(forecast);
    }),
  );
}

function addPlanOptions(command: Command): Command {
  return command
    .option('--selector <selector>', 'which devices; all without it', '')
    .option('--waves <waves>', 'growing percentages, and numbers of devices as 5n; the last is 100', '10,50,100')
    .option('--canary <selector>', 'a group that comes before the waves; may be given again', collect, [])
    .option('--spread <label>', 'each wave takes the same share of the devices of each value of the label')
    .option('--rate <rate>', 'devices a minute, as 10 or start:factor:growAfter:cap, as 10:2:50:500')
    .option('--max-unavailable <label=n>', 'so many devices of one value of the label under way at a time')
    .option('--bake <seconds>', 'how long a device must serve healthily', numeric, 600)
    .option('--deploy-timeout <seconds>', 'how long a reachable device may take to serve', numeric)
    .option('--max-error-rate <share>', 'gate, 0 to 1', numeric, 0.02)
    .option('--min-requests <n>', 'requests needed before a wave is judged', numeric, 20)
    .option('--max-loss <share>', 'accuracy that may be lost, 0 to 1', numeric)
    .option('--min-labels <n>', 'labels needed where labels come', numeric)
    .option('--max-ratio <factor>', 'growth of the latency that is allowed', numeric)
    .option('--drift <mode>', 'of predicted classes: gate, warn or off')
    .option('--max-failed-devices <share>', 'gate, 0 to 1', numeric)
    .option('--min-healthy-devices <share>', 'of a wave, offline ones among them, 0 to 1', numeric)
    .option('--on-failure <policy>', 'rollback or pause', 'rollback')
    .option('--rollback-of <which>', 'touched (what this rollout gave) or all that run the version')
    .option('--offline <policy>', 'skip or wait')
    .option(
      '--offline-after <seconds>',
      'with skip: how long a device is offline before a wave ends without it',
      numeric,
    )
    .option('--priority <n>', '-100 to 100; the highest under way has a device', numeric)
    .option('--alias <name>', 'the name that is moved to the version when it completes')
    .option('--approval', 'wait for `edgeloop rollouts approve`');
}

function bodyOf(model: string, version: string, options: CreateOptions) {
  return { model, version: /^\d+$/.test(version) ? numeric(version) : version, ...planOf(options) };
}

function printForecast({ model, version, devices, conflicting, supersedes, waves }: RolloutForecast): void {
  printLine(`${model} version ${version} on ${devices} devices`);
  for (const id of conflicting)
    printLine(`${id} is ahead of this server: edgeloop devices resolve ${id} --follow or --keep`);
  for (const id of supersedes) printLine(`takes over devices of the rollout ${id}`);
  const beside = { rest: 'the rest', last_period: 'the last period of the old version', nothing: 'nothing' };
  printTable(
    ['WAVE', 'DEVICES', 'OFFLINE', 'COMPARED WITH', 'DETAIL'],
    waves.map((wave) => [wave.wave + 1, wave.devices, wave.offline.length, beside[wave.comparedWith], wave.detail]),
  );
  printTable(
    ['WAVE', 'GATE', 'MODE', 'DETAIL'],
    waves.flatMap((wave) => wave.gates.map((gate) => [wave.wave + 1, gate.gate, gate.mode, gate.detail])),
  );
}

function planOf(options: CreateOptions) {
  const { maxErrorRate, minRequests, maxFailedDevices, minHealthyDevices } = options;
  const { maxLoss, minLabels, maxRatio, drift } = options;
  const waves: PlannedWave[] = [
    ...options.canary.map((selector) => ({ selector })),
    ...options.waves.split(',').map(waveOf),
  ];
  return {
    selector: options.selector,
    waves,
    spread: options.spread,
    rate: options.rate === undefined ? undefined : rateOf(options.rate),
    maxUnavailable: options.maxUnavailable === undefined ? undefined : unavailableOf(options.maxUnavailable),
    bakeSeconds: options.bake,
    deployTimeoutSeconds: options.deployTimeout,
    gates: {
      ...{ maxErrorRate, minRequests, maxFailedDevices, minHealthyDevices },
      accuracy: { maxLoss, minLabels },
      latency: { maxRatio },
      drift: { mode: drift },
    },
    onFailure: options.onFailure,
    rollbackOf: options.rollbackOf,
    offlineDevices: options.offline,
    offlineAfterSeconds: options.offlineAfter,
    priority: options.priority,
    alias: options.alias,
    approval: options.approval === true,
  };
}

function waveOf(text: string): PlannedWave {
  const given = text.trim();
  if (given.endsWith('n')) return { devices: numeric(given.slice(0, -1)) };
  return { percent: numeric(given.endsWith('%') ? given.slice(0, -1) : given) };
}

function rateOf(text: string) {
  const [start, factor, growAfter, cap] = text.split(':').map((part) => numeric(part));
  return { start, factor, growAfter, cap };
}

function unavailableOf(text: string) {
  const at = text.indexOf('=');
  if (at < 1)
    throw new AppError('invalid_request', `--max-unavailable "${text}" must have the form label=n, as site=2`);
  return { label: text.slice(0, at), devices: numeric(text.slice(at + 1)) };
}

async function watch({ api, json }: CommandContext, id: string): Promise<void> {
  let last = '';
  for (;;) {
    const detail = await api.get(path(id), RolloutDetail);
    const line = statusText(detail);
    if (line !== last && !json) printLine(`${timeText(Date.now())}  ${line}`);
    last = line;
    if (ended(detail.state)) {
      if (json) printJson(detail);
      if (detail.state.phase !== 'completed')
        throw new AppError('conflict', `the rollout did not complete: ${stateText(detail.state)}`);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

function ended(state: RolloutState): boolean {
  return ['completed', 'cancelled', 'superseded', 'rolled_back'].includes(state.phase);
}

function stateText(state: RolloutState): string {
  switch (state.phase) {
    case 'running':
      return `running wave ${state.wave + 1}, ${state.step}`;
    case 'paused':
    case 'rolling_back':
    case 'rolled_back':
      return `${state.phase.replace('_', ' ')}: ${state.reason}`;
    case 'superseded':
      return `superseded by ${state.by}`;
    case 'cancelled':
      return state.reason === '' ? 'cancelled' : `cancelled: ${state.reason}`;
    case 'awaiting_approval':
    case 'completed':
      return state.phase.replace('_', ' ');
  }
}

/** The server's own sentence; of servers that have none, the state. */
function statusText({ status, state }: Rollout): string {
  return status ?? stateText(state);
}

function printDetail(detail: RolloutDetail): void {
  printLine(`${detail.model} version ${detail.version}: ${statusText(detail)}`);
  printTable(
    ['DEVICE', 'WAVE', 'STATE', 'DETAIL'],
    detail.devices.map((device) => [device.deviceId, device.wave + 1, device.state, device.detail]),
  );
  const waves = detail.waves.flatMap(({ wave, outcome, counts, gates }) =>
    (gates.length === 0 ? [undefined] : gates).map((gate) => [
      ...[wave + 1, outcome, countsText(counts)],
      ...[gate?.gate, gate && verdictText(gate), gate?.detail],
    ]),
  );
  printTable(['WAVE', 'OUTCOME', 'DEVICES', 'GATE', 'VERDICT', 'DETAIL'], waves);
  printTable(
    ['GATE NOW', 'VERDICT', 'DETAIL'],
    detail.gates.map((gate) => [gate.gate, verdictText(gate), gate.detail]),
  );
  for (const entry of detail.history) printLine(`${timeText(entry.at)}  ${entry.text}`);
}

function countsText(counts: Record<string, number>): string {
  return Object.entries(counts)
    .map(([state, count]) => `${count} ${state.replaceAll('_', ' ')}`)
    .join(', ');
}

function verdictText({ verdict, blocking }: RolloutDetail['gates'][number]): string {
  if (blocking !== false || verdict === 'passed') return verdict;
  return verdict === 'failed' ? 'warns' : 'not waited for';
}

function path(id: string): string {
  return `/rollouts/${encodeURIComponent(id)}`;
}
