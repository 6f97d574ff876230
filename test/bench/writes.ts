// What a device of a fleet writes to its disk and sends over its link: bytes of a day and of a month, at 1, 10 and 200 requests a
// second, from a few windows.
import { readFileSync } from 'node:fs';
import { device, joinToken, predict, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { type Agent, type ControlPlane, startAgent, startControlPlane, temporaryFolder } from '../support/programs.ts';
import { until } from '../support/until.ts';
import { machine, printTable, writeResult } from './report.ts';

const day = 86_400;

export async function benchWrites({ quick, only }: { quick: boolean; only?: string | undefined }): Promise<void> {
  const rates = [1, 10, 200].filter((rate) => only === undefined || only === String(rate));
  if (rates.length === 0) throw new Error(`--only ${only}: name one of the rates 1, 10 and 200`);
  const rows = [];
  for (const perSecond of rates) rows.push(await measure(perSecond, secondsFor(perSecond, quick)));
  printTable(
    ['requests/s', 'reached', 'seconds', 'MB written a day', 'by the supervisor', 'by serving', 'MB sent a month'],
    rows.map((row) =>
      [row.perSecond, row.reached, row.seconds, row.dayMb, row.supervisorMb, row.servingMb, row.monthMb].map(String),
    ),
  );
  for (const { perSecond, reached } of rows)
    if (reached < 0.98 * perSecond) console.log(`only ${reached} of ${perSecond} requests a second were answered`);
  console.log(writeResult('writes', { machine: machine(), rows }));
}

/** With few requests most of it is what the system writes every half minute, of which a minute says little. */
function secondsFor(perSecond: number, quick: boolean): number {
  if (perSecond === 1) return quick ? 205 : 615;
  return quick ? 75 : 310;
}

async function measure(perSecond: number, seconds: number) {
  const folder = await temporaryFolder();
  const plane = await startControlPlane(`${folder.path}/server`, { EDGELOOP_LOG_LEVEL: 'error' });
  const env = { EDGELOOP_LOG_LEVEL: 'error', EDGELOOP_WINDOW_SECONDS: '', EDGELOOP_SPARE_PROCESS: 'off' };
  const agent = await startAgent({ folder: `${folder.path}/agent`, id: 'bench', token: await joinToken(plane), env });
  try {
    const version = await pushVersion(plane, 'sum');
    await rolloutIn(plane, await release(plane, 'sum', version), ['completed'], 240_000);
    await serves(agent, 'sum', version);
    // What a rollout and a start write is over.
    await load(agent, perSecond, 35);
    const former = await sentBytes(plane, agent);
    const sentBefore = await sentBytes(plane, agent);
    const before = written(agent.program.pid);
    const begun = performance.now();
    await load(agent, perSecond, seconds);
    const elapsed = (performance.now() - begun) / 1000;
    const after = written(agent.program.pid);
    const daily = (bytes: number) => Math.round(((bytes / elapsed) * day) / 1e5) / 10;
    // A report does not count itself, but the one that was asked for before it.
    const report = sentBefore - former;
    const sent = (await sentBytes(plane, agent)) - sentBefore - report;
    return {
      perSecond,
      reached: Math.round((perSecond * seconds * 10) / elapsed) / 10,
      seconds: Math.round(elapsed),
      dayMb: daily(after.supervisor - before.supervisor + after.serving - before.serving),
      supervisorMb: daily(after.supervisor - before.supervisor),
      servingMb: daily(after.serving - before.serving),
      monthMb: Math.round(daily(sent) * 30),
    };
  } finally {
    await agent.stop();
    await plane.stop();
    await folder.remove();
  }
}

/** Evenly, for so long. */
async function load(agent: Agent, perSecond: number, seconds: number): Promise<void> {
  const begun = performance.now();
  const under = new Set<Promise<unknown>>();
  for (let sent = 0; sent < perSecond * seconds; sent++) {
    const waitMs = begun + (sent * 1000) / perSecond - performance.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    const one: Promise<unknown> = predict(agent.url, 'sum', { a: Math.random(), b: 1 }).finally(() =>
      under.delete(one),
    );
    under.add(one);
    if (under.size > 64) await Promise.race(under);
  }
  await Promise.all(under);
}

/** Bytes that were given to a disk, less those that were taken back before they got there. */
function written(supervisor: number): { supervisor: number; serving: number } {
  const children = readFileSync(`/proc/${supervisor}/task/${supervisor}/children`, 'utf8').trim().split(' ');
  return {
    supervisor: writtenBy(supervisor),
    serving: children.filter(Boolean).reduce((sum, pid) => sum + writtenBy(Number(pid)), 0),
  };
}

function writtenBy(pid: number): number {
  const text = readFileSync(`/proc/${pid}/io`, 'utf8');
  const of = (name: string) => Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
  return of('write_bytes') - of('cancelled_write_bytes');
}

/** As the device says itself, now: it reports a hold at once, and each report counts those before it. */
async function sentBytes(plane: ControlPlane, agent: Agent): Promise<number> {
  const known = (await device(plane, 'bench')).usage?.sentBytes;
  const body = JSON.stringify({ seconds: 600, reason: 'asked how much was sent' });
  const answer = await fetch(`${agent.url}/hold`, { method: 'PUT', body });
  if (!answer.ok) throw new Error(`PUT /hold: ${await answer.text()}`);
  return until('a report of the device', async () => {
    const present = (await device(plane, 'bench')).usage?.sentBytes;
    return present === known ? undefined : present;
  });
}
