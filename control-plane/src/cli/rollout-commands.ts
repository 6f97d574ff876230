// edgeloop rollouts.
import { RolloutForecast } from '@edgeloop/shared/api/forecasts';
import { pageOf } from '@edgeloop/shared/api/paging';
import { kindOf, Rollout, RolloutDetail, type RolloutState } from '@edgeloop/shared/api/rollouts';
import { AppError } from '@edgeloop/shared/errors';
import type { Command } from 'commander';
import { backtestEnded, printBacktest } from './backtest-command.ts';
import { action, type CommandContext, group } from './command.ts';
import { printJson, printLine, printTable, timeText } from './output.ts';
import { addPlanOptions, bodyOf, type PlanOptions } from './rollout-plan.ts';

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
    .command('approve <id>')
    .description('let a rollout, or the wave of it that awaits approval, begin')
    .option('--wave <name>', 'the wave that you approve; refused when another one waits; the one that waits without it')
    .option('--reason <text>', 'for the history', '')
    .action(
      action(async (context, id: string, options: { reason: string; wave?: string }) => {
        const { state } =
          options.wave === undefined ? await context.api.get(path(id), RolloutDetail, { devices: 'none' }) : {};
        const waits = state?.phase === 'awaiting_approval' ? state.name : undefined;
        await act(context, id, { name: 'approve', wave: waits, ...options });
      }),
    );
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
  { name, ...said }: { name: string; reason: string; rollback?: true; wave?: string | undefined },
): Promise<void> {
  const rollout = await api.send('POST', `${path(id)}/${name}`, Rollout, said);
  if (json) return printJson(rollout);
  printLine(`${rollout.id}: ${statusText(rollout)}`);
}

function registerCreate(rollouts: Command): void {
  const create = rollouts
    .command('create <model> <version>')
    .description('release a version in waves; the version is a number or an alias, as candidate');
  addPlanOptions(create)
    .option('--watch', 'follow it until it ends')
    .action(
      action(async (context, model: string, version: string, options: PlanOptions & { watch?: boolean }) => {
        const rollout = await context.api.send('POST', '/rollouts', Rollout, bodyOf(model, version, options));
        if (options.watch === true) return watch(context, rollout.id);
        if (context.json) return printJson(rollout);
        printLine(`${rollout.id}: ${stateText(rollout.state)}; follow it: edgeloop rollouts watch ${rollout.id}`);
      }),
    );
  const plan = rollouts.command('plan <model> <version>');
  addPlanOptions(
    plan.description('say what a rollout would do: its waves, how long they take, what its gates would see'),
  )
    .option('--backtest', 'run the version over captured samples first; else the newest backtest is shown')
    .action(
      action(async ({ api, json }, model: string, version: string, options: PlanOptions & { backtest?: true }) => {
        const body = { ...bodyOf(model, version, options), backtest: options.backtest === true };
        const asked = await api.send('POST', '/rollouts/plan', RolloutForecast, body);
        const backtest =
          options.backtest === true && asked.backtest ? await backtestEnded(api, asked.backtest) : asked.backtest;
        const forecast = { ...asked, backtest };
        if (json) return printJson(forecast);
        printForecast(forecast);
      }),
    );
}

function printForecast({ model, version, devices, conflicting, supersedes, waves, backtest }: RolloutForecast): void {
  printLine(`${model} version ${version} on ${devices} devices`);
  for (const id of conflicting)
    printLine(`${id} is ahead of this server: edgeloop devices resolve ${id} --follow or --keep`);
  for (const id of supersedes) printLine(`takes over devices of the rollout ${id}`);
  const beside = { rest: 'the rest', last_period: 'the last period of the old version', nothing: 'nothing' };
  printTable(
    ['WAVE', 'NAME', 'KIND', 'DEVICES', 'OFFLINE', 'HELD', 'OUT OF WINDOW', 'COMPARED WITH', 'DETAIL'],
    waves.map(({ counts, ...wave }) => [
      ...[wave.wave + 1, wave.name, wave.kind ?? 'serve', wave.devices, counts?.offline ?? wave.offline.length],
      ...[counts?.held ?? wave.held.length, counts?.outOfWindow ?? wave.outOfWindow.length],
      ...[wave.kind === undefined ? beside[wave.comparedWith] : 'the same devices', wave.detail],
    ]),
  );
  for (const { wave, held, outOfWindow, zoneUnknown } of waves) {
    for (const { deviceId, until, reason } of held)
      printLine(`wave ${wave + 1}: ${deviceId} is held back until ${timeText(until)} at the latest: ${reason}`);
    for (const { deviceId, until, timeZone } of outOfWindow)
      printLine(`wave ${wave + 1}: ${deviceId} is out of window until ${timeText(until)} (${timeZone})`);
    for (const deviceId of zoneUnknown) printLine(`wave ${wave + 1}: ${deviceId} reports no time zone`);
  }
  printTable(
    ['WAVE', 'GATE', 'MODE', 'DETAIL'],
    waves.flatMap((wave) => wave.gates.map((gate) => [wave.wave + 1, gate.gate, gate.mode, gate.detail])),
  );
  if (backtest) printBacktest(backtest);
  else printLine(`no backtest yet: edgeloop models backtest ${model} ${version}`);
}

async function watch({ api, json }: CommandContext, id: string): Promise<void> {
  let last = '';
  for (;;) {
    // The devices of a large fleet are asked for once, at the end.
    const detail = await api.get(path(id), RolloutDetail, { devices: 'none' });
    const line = statusText(detail);
    if (line !== last && !json) printLine(`${timeText(Date.now())}  ${line}`);
    last = line;
    if (ended(detail.state)) {
      if (json) printJson(await api.get(path(id), RolloutDetail));
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
      return `awaiting approval${state.name === undefined ? '' : ` of the wave ${state.name}`}`;
    case 'completed':
      return 'completed';
  }
}

/** The server's own sentence; of servers that have none, the state. */
function statusText({ status, state }: Rollout): string {
  return status ?? stateText(state);
}

function printDetail(detail: RolloutDetail): void {
  printLine(`${detail.model} version ${detail.version}: ${statusText(detail)}`);
  if (detail.backtest) printLine(`backtest: ${detail.backtest.summary}`);
  printTable(
    ['DEVICE', 'WAVE', 'STATE', 'DETAIL'],
    detail.devices.map(({ deviceId, wave, state, detail: words, variant }) => [
      ...[deviceId, waveLabel(detail, wave), state, variant === undefined ? words : `${words} (${variant})`],
    ]),
  );
  const waves = detail.waves.flatMap(({ wave, outcome, counts, gates }) =>
    (gates.length === 0 ? [undefined] : gates).map((gate) => [
      ...[waveLabel(detail, wave), outcome, countsText(counts)],
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

function waveLabel({ plan }: RolloutDetail, wave: number): string {
  const kind = kindOf(plan.waves[wave]);
  return kind === 'serve' ? String(wave + 1) : `${wave + 1} ${kind}`;
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
