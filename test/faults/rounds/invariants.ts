// What must hold after a round, whatever happened in it. Each check adds to the fleet's violations what it saw.
import { readdirSync } from 'node:fs';
import { Device } from '@edgeloop/shared/api/devices';
import { metricTotal } from '../../support/fleet.ts';
import { until } from '../../support/until.ts';
import { everybodyServes, type FaultFleet, isFrom, models } from './fleet.ts';
import { cutsCallers, type Round } from './plan.ts';
import { descendants, leftovers, orphans, roles } from './processes.ts';

const settleMs = 60_000;
const countsMs = 30_000;
/** Longest silence on the port, however busy the machine is; what it is on a quiet one stands in the table. */
const darkLimitMs = 45_000;

export interface Counts {
  answered: number;
  counted: number;
  uncertain: number;
  lost: number;
}

/** While callers ask: everybody gets the verified version, from the agents that the server knows to run it. */
export async function checkServing(fleet: FaultFleet): Promise<void> {
  await everybodyServes(fleet, settleMs);
  let seen: string[] = [];
  await until(
    'the devices’ reports saying so',
    async () => {
      seen = await unreported(fleet);
      return seen.length === 0 || undefined;
    },
    { timeoutMs: settleMs },
  ).catch((error: unknown) => fleet.violations.push(...(seen.length > 0 ? seen : [String(error)])));
}

/** What the devices do not report as it is. */
async function unreported({ agents, plane, expected, releases }: FaultFleet): Promise<string[]> {
  const good = new Set(releases.map(({ release }) => release));
  const seen = await Promise.all(agents.map(({ agent }) => plane.api.get(`/devices/${agent.id}`, Device)));
  return seen.flatMap(({ id, status, models: reports }) => {
    if (status !== 'online') return [`${id} is ${status}`];
    return [...expected.values()].flatMap(({ model, version, release }) => {
      const report = reports.find(({ name }) => name === model);
      const active = report?.active;
      const refused = report?.candidate?.state === 'failed' && report.candidate.release;
      return [
        ...(active?.version === version && (active.release ?? release) === release
          ? []
          : [`${id} reports ${JSON.stringify(active)} of ${model}, not version ${version}`]),
        ...(refused && good.has(refused) ? [`${id} refused a good version: ${JSON.stringify(report.candidate)}`] : []),
      ];
    });
  });
}

/** What the callers saw in this round. They rest. */
export function checkCallers(fleet: FaultFleet, round: Round): void {
  const isBad = round.activity.endsWith(' version');
  for (const { agent, ledger } of fleet.agents)
    for (const model of fleet.expected.keys()) {
      const { answers, misses, examples, darkMs } = ledger.round(model);
      for (const answer of answers.values())
        if (!fleet.releases.some((each) => isFrom(answer, each)))
          fleet.violations.push(`${agent.id}: no good version gives this answer: ${JSON.stringify(answer)}`);
      for (const [miss, count] of misses) {
        if (miss === 'cut' ? cutsCallers(round) : isExcused(miss, model, { round, isBad })) continue;
        fleet.violations.push(`${agent.id}: ${count} requests to ${model} missed (${miss}): ${examples.get(miss)}`);
      }
      if (darkMs > darkLimitMs) fleet.violations.push(`${agent.id}: ${model} was dark for ${Math.round(darkMs)} ms`);
    }
}

/**
 * Runs of a bad version may fail, and those of a model whose own process was killed. Nobody is told to come back later: who
 * asks during a rollback waits, or has the former version's answer.
 */
function isExcused(miss: string, model: string, { round, isBad }: { round: Round; isBad: boolean }): boolean {
  if (miss !== 'status 500' && miss !== 'status 504') return false;
  return (isBad && model === models.changing) || (round.fault === 'kill model process' && model === models.apart);
}

/** What the callers counted is what the server counts, with what is reported as lost. They rest. */
export async function checkCounts(fleet: FaultFleet): Promise<Counts> {
  let counts = await countsOf(fleet);
  const problems = () => [...counts.wrong, ...counts.short];
  await until(
    'the counts agreeing',
    async () => {
      counts = await countsOf(fleet);
      return problems().length === 0 || counts.wrong.length > 0 || undefined;
    },
    { timeoutMs: countsMs, everyMs: 300 },
  ).catch(() => undefined);
  fleet.violations.push(...problems());
  return counts.total;
}

/** Per version and agent: `wrong` is what time does not put right, `short` what may be on its way. */
async function countsOf({ agents, plane, expected, labels }: FaultFleet) {
  const [wrong, short]: [string[], string[]] = [[], []];
  const total: Counts = { answered: 0, counted: 0, uncertain: 0, lost: await metricTotal(plane, 'lost') };
  for (const { agent, ledger } of agents)
    for (const model of expected.keys()) {
      total.uncertain += ledger.uncertain(model);
      for (const version of ledger.versions(model)) {
        const answered = ledger.count(model, version);
        const scope = { model, version: String(version), device: agent.id };
        const counted = await metricTotal(plane, 'succeeded', scope);
        total.answered += answered;
        total.counted += counted;
        const what = `${agent.id} answered ${answered} requests with ${model} ${version}, the server counts ${counted}`;
        if (counted > answered + ledger.uncertain(model)) wrong.push(`${what}, ${ledger.uncertain(model)} uncertain`);
      }
    }
  const { answered, counted, lost } = total;
  if (counted + lost < answered)
    short.push(`${answered} requests were answered, the server counts ${counted} and ${lost} lost`);
  const known = await metricTotal(plane, 'labels', { model: models.changing });
  if (known + lost < labels.accepted) short.push(`${labels.accepted} labels were taken, the server counts ${known}`);
  return { wrong, short, total };
}

/** No process and no file is left of what was tried or broke off. */
export async function checkLeftovers(fleet: FaultFleet): Promise<void> {
  let seen: string[] = [];
  await until(
    'nothing being left over',
    async () => {
      seen = await leftOver(fleet);
      return seen.length === 0 || undefined;
    },
    { timeoutMs: 15_000, everyMs: 500 },
  ).catch(() => fleet.violations.push(...seen));
}

async function leftOver({ folder, plane, agents }: FaultFleet): Promise<string[]> {
  const programs = [plane.program.pid, ...agents.map(({ agent }) => agent.program.pid)];
  const trees = (await Promise.all(programs.map(descendants))).flat();
  const processes = [
    ...trees.filter(({ command }) => roles.passing.test(command)),
    ...((await leftovers(folder, programs)) ?? []),
    ...(await orphans()),
  ];
  const files = [plane.folder, ...agents.map((each) => each.folder)].flatMap((own) =>
    readdirSync(own, { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(new|partial|tmp)$|^tmp\/[^/]+\/./.test(name))
      .map((name) => `${own}/${name}`),
  );
  return [
    ...processes.map(({ pid, command }) => `process ${pid} is left over: ${command}`),
    ...files.map((file) => `a file is left over: ${file}`),
  ];
}
