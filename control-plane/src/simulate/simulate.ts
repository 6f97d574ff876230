// edgeloop simulate, from the first device's joining to the removal of the last.
import { CreatedJoinToken, JoinToken } from '@edgeloop/shared/api/access';
import { MetricResult } from '@edgeloop/shared/api/metrics';
import { Rollout } from '@edgeloop/shared/api/rollouts';
import { AppError } from '@edgeloop/shared/errors';
import { pause } from '@edgeloop/shared/node/backoff';
import { quantile } from '@edgeloop/shared/sketches/ddsketch';
import type { ApiClient } from '../cli/client.ts';
import { SimulatedFleet } from './fleet.ts';
import { type RunModel, runModelOf } from './model.ts';
import { removeSimulated } from './removal.ts';
import type { FleetSettings } from './settings.ts';
import type { Tally } from './tally.ts';

export interface Simulation {
  devices: number;
  /** NAME or NAME:VERSION of a registered model. */
  model: string | undefined;
  settings: Omit<FleetSettings, 'joinToken' | 'model'>;
  /** From one window of a device to its next. */
  windowMs: number;
  /** After the first window. */
  durationMs: number;
  /** After the first window: every connection breaks. */
  stormAfterMs: number | undefined;
  /** How long the last windows may take to be acknowledged. */
  drainMs: number;
  /** Devices stay in the fleet, offline. */
  keep: boolean;
}

export interface SimulationResult {
  run: string;
  model: string;
  version: number;
  devices: number;
  seconds: number;
  windows: Tally['windows'] & { lost: number };
  /** `counted`: what the control plane says of them. */
  requests: { made: number; counted: number };
  reports: number;
  bytes: Tally['bytes'];
  connects: number;
  connectionsLost: number;
  /** From sending a batch to its acknowledgement. */
  acknowledgedMs: { p50: number | undefined; p99: number | undefined };
  /** Until all that were connected had connected again; null when they did not before the end. */
  storm?: { backAfterMs: number | null };
  removed: number;
}

interface Watch {
  /** Ends the windows early; the rest is done. */
  signal: AbortSignal;
  say: (line: string) => void;
  live: (line: string) => void;
}

const steadyMs = 600_000;
const countedMs = 30_000;

export async function simulate(api: ApiClient, simulation: Simulation, watch: Watch): Promise<SimulationResult> {
  const { devices } = simulation;
  const fleet = new SimulatedFleet(devices);
  try {
    const what = await runModelOf(api, simulation.model);
    await joinAll(api, fleet, { simulation, what, watch });
    await rollOut(api, fleet, { simulation, what, watch });
    const { seconds, storm, tally } = await run(fleet, simulation, watch);
    const counted = await countedRequests(api, { simulation, what, expected: tally.requests });
    await fleet.end();
    const removed = simulation.keep
      ? 0
      : await removeSimulated(api, simulation.settings.run, (n) => watch.live(`${n} of ${devices} devices removed`));
    return { ...resultOf(tally, { simulation, what }), seconds, ...storm, removed, ...counted };
  } catch (error) {
    fleet.kill();
    if (!simulation.keep) await removeSimulated(api, simulation.settings.run, () => undefined);
    throw error;
  }
}

interface Stage {
  simulation: Simulation;
  what: RunModel;
  watch: Watch;
}

async function joinAll(api: ApiClient, fleet: SimulatedFleet, { simulation, what, watch }: Stage): Promise<void> {
  const { devices, settings } = simulation;
  const { id, token } = await api.send('POST', '/join-tokens', CreatedJoinToken, { uses: devices });
  const joined = new AbortController();
  const showing = fleet.until(() => false, {
    timeoutMs: Number.POSITIVE_INFINITY,
    signal: joined.signal,
    seen: ({ joined: n, connected }) => watch.live(`${n} of ${devices} devices joined, ${connected} connected`),
  });
  try {
    await fleet.join({ ...settings, joinToken: token, model: what.model });
  } finally {
    joined.abort();
    await showing.catch(() => false);
    await api.send('DELETE', `/join-tokens/${id}`, JoinToken);
  }
}

/** Windows count for what a device was told to run only. */
async function rollOut(api: ApiClient, fleet: SimulatedFleet, { simulation, what, watch }: Stage): Promise<void> {
  const { devices, settings } = simulation;
  const { model, version } = what;
  await api.send('POST', '/rollouts', Rollout, {
    ...{ model: model.name, version, selector: `run=${settings.run}`, waves: [{ percent: 100 }], bakeSeconds: 0 },
    gates: { minRequests: 0 },
  });
  const serving = (tally: Tally) => tally.serving[version] ?? 0;
  const all = await fleet.until((tally) => serving(tally) >= devices, {
    timeoutMs: steadyMs,
    signal: watch.signal,
    seen: (tally) => watch.live(`${serving(tally)} of ${devices} devices run ${model.name} ${version}`),
  });
  watch.signal.throwIfAborted();
  if (!all)
    throw new AppError(
      'timeout',
      `not all simulated devices were told to run ${model.name} ${version}; see its rollout`,
    );
}

async function run(fleet: SimulatedFleet, simulation: Simulation, watch: Watch) {
  const { durationMs, stormAfterMs, drainMs } = simulation;
  const startedAt = performance.now();
  const show = (tally: Tally) => watch.live(lineOf(simulation, tally));
  fleet.make(simulation.windowMs);
  const storm =
    stormAfterMs === undefined || stormAfterMs >= durationMs
      ? undefined
      : stormOf(fleet, { afterMs: stormAfterMs, leftMs: durationMs - stormAfterMs + drainMs, watch });
  await fleet.until(() => false, { timeoutMs: durationMs, signal: watch.signal, seen: show });
  fleet.make(null);
  await fleet.until(({ windows }) => windows.waiting === 0, { timeoutMs: drainMs, seen: show });
  const seconds = (performance.now() - startedAt) / 1000;
  const backAfterMs = await storm;
  return {
    seconds,
    tally: await fleet.tally(),
    ...(storm && { storm: { storm: { backAfterMs: backAfterMs ?? null } } }),
  };
}

/** Resolves with how long it took, or undefined. */
async function stormOf(
  fleet: SimulatedFleet,
  { afterMs, leftMs, watch }: { afterMs: number; leftMs: number; watch: Watch },
): Promise<number | undefined> {
  if (!(await pause(afterMs, watch.signal))) return undefined;
  const { connects, connected } = await fleet.tally();
  watch.say(`${connected} connections break`);
  fleet.breakOff();
  const startedAt = performance.now();
  const back = await fleet.until((tally) => tally.connects >= connects + connected, {
    timeoutMs: leftMs,
    signal: watch.signal,
  });
  if (!back) return undefined;
  const backAfterMs = Math.round(performance.now() - startedAt);
  watch.say(`all back after ${(backAfterMs / 1000).toFixed(1)} s`);
  return backAfterMs;
}

function lineOf({ devices }: Simulation, { connected, windows }: Tally): string {
  const { made, sent, acknowledged, waiting, resent, heldBack } = windows;
  const counts = `${connected} of ${devices} connected; windows: ${made} made, ${sent} sent, ${acknowledged} acknowledged, ${waiting} waiting`;
  return `${counts}${resent > 0 ? `, ${resent} sent again` : ''}${heldBack > 0 ? `, ${heldBack} held back` : ''}`;
}

/** By the control plane, once it counts all or does not count more any more. */
async function countedRequests(
  api: ApiClient,
  { simulation, what, expected }: { simulation: Simulation; what: RunModel; expected: number },
): Promise<Pick<SimulationResult, 'requests'>> {
  const { settings, windowMs, durationMs, drainMs } = simulation;
  const around = Math.abs(settings.faults.clock.offsetMs) + windowMs + durationMs + drainMs + 3_600_000;
  const query = {
    ...{ metric: 'requests', model: what.model.name, selector: `run=${settings.run}` },
    ...{ from: Math.round(Date.now() - around), to: Math.round(Date.now() + around) },
  };
  const deadline = performance.now() + countedMs;
  for (;;) {
    const { series } = await api.get('/metrics/query', MetricResult, query);
    const counted = series.reduce((sum, { points }) => sum + (points[0]?.value ?? 0), 0);
    if (counted === expected || performance.now() > deadline) return { requests: { made: expected, counted } };
    await pause(500, new AbortController().signal);
  }
}

function resultOf(tally: Tally, { simulation, what }: { simulation: Simulation; what: RunModel }) {
  const { windows, reports, bytes, connects, losses: connectionsLost, acknowledgedMs } = tally;
  return {
    ...{ run: simulation.settings.run, model: what.model.name, version: what.version, devices: simulation.devices },
    windows: { ...windows, lost: windows.made - windows.acknowledged },
    ...{ reports, bytes, connects, connectionsLost },
    acknowledgedMs: { p50: quantile(acknowledgedMs, 0.5), p99: quantile(acknowledgedMs, 0.99) },
  };
}
