// edgeloop rollouts.
import { pageOf } from '@edgeloop/shared/api/paging';
import { Rollout, RolloutDetail, type RolloutState } from '@edgeloop/shared/api/rollouts';
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
          ['ID', 'MODEL', 'VERSION', 'STATE', 'SELECTOR', 'CREATED', 'BY'],
          page.items.map((each) => [
            each.id,
            each.model,
            each.version,
            stateText(each.state),
            each.plan.selector || '(all)',
            timeText(each.createdAt),
            each.createdBy,
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
  for (const [name, description] of [
    ['approve', 'let a rollout that awaits approval begin'],
    ['pause', 'stop advancing; devices keep what they have'],
    ['resume', 'go on where it paused'],
    ['cancel', 'end it; devices keep what they have'],
    ['rollback', 'take every device back to the last version that completed there'],
  ] as const) {
    rollouts
      .command(`${name} <id>`)
      .description(description)
      .option('--reason <text>', 'for the history', '')
      .action(
        action(async ({ api, json }, id: string, options: { reason: string }) => {
          const rollout = await api.send('POST', `${path(id)}/${name}`, Rollout, { reason: options.reason });
          if (json) return printJson(rollout);
          printLine(`${rollout.id}: ${stateText(rollout.state)}`);
        }),
      );
  }
}

interface CreateOptions {
  selector: string;
  waves: string;
  bake: number;
  approval?: boolean;
  maxErrorRate: number;
  minRequests: number;
  onFailure: string;
  watch?: boolean;
}

function registerCreate(rollouts: Command): void {
  rollouts
    .command('create <model> <version>')
    .description('release a version in waves')
    .option('--selector <selector>', 'which devices; all without it', '')
    .option('--waves <percents>', 'growing percentages', '10,50,100')
    .option('--bake <seconds>', 'how long a device must serve healthily', numeric, 600)
    .option('--max-error-rate <share>', 'gate, 0 to 1', numeric, 0.02)
    .option('--min-requests <n>', 'requests needed before a wave is judged', numeric, 20)
    .option('--on-failure <policy>', 'rollback or pause', 'rollback')
    .option('--approval', 'wait for `edgeloop rollouts approve`')
    .option('--watch', 'follow it until it ends')
    .action(
      action(async (context, model: string, version: string, options: CreateOptions) => {
        const rollout = await context.api.send('POST', '/rollouts', Rollout, {
          model,
          version: numeric(version),
          selector: options.selector,
          waves: options.waves.split(',').map((percent) => ({ percent: numeric(percent) })),
          bakeSeconds: options.bake,
          gates: { maxErrorRate: options.maxErrorRate, minRequests: options.minRequests },
          onFailure: options.onFailure,
          approval: options.approval === true,
        });
        if (options.watch === true) return watch(context, rollout.id);
        if (context.json) return printJson(rollout);
        printLine(`${rollout.id}: ${stateText(rollout.state)}; follow it: edgeloop rollouts watch ${rollout.id}`);
      }),
    );
}

async function watch({ api, json }: CommandContext, id: string): Promise<void> {
  let last = '';
  for (;;) {
    const detail = await api.get(path(id), RolloutDetail);
    const line = progressText(detail);
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

function progressText(detail: RolloutDetail): string {
  const counts = new Map<string, number>();
  for (const device of detail.devices) counts.set(device.state, (counts.get(device.state) ?? 0) + 1);
  const devices = [...counts].map(([state, count]) => `${count} ${state}`).join(', ');
  const gates = detail.gates
    .filter((gate) => gate.verdict !== 'passed')
    .map((gate) => `${gate.gate} ${gate.verdict}: ${gate.detail}`);
  return [stateText(detail.state), devices, ...gates].filter((part) => part !== '').join('; ');
}

function printDetail(detail: RolloutDetail): void {
  printLine(`${detail.model} version ${detail.version}: ${stateText(detail.state)}`);
  printTable(
    ['DEVICE', 'WAVE', 'STATE', 'DETAIL'],
    detail.devices.map((device) => [device.deviceId, device.wave + 1, device.state, device.detail]),
  );
  printTable(
    ['GATE', 'VERDICT', 'DETAIL'],
    detail.gates.map((gate) => [gate.gate, gate.verdict, gate.detail]),
  );
  for (const entry of detail.history) printLine(`${timeText(entry.at)}  ${entry.text}`);
}

function path(id: string): string {
  return `/rollouts/${encodeURIComponent(id)}`;
}
