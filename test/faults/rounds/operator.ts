// An operator as the rounds play him: asks the API until it is done, since servers and disks come back; and notes what a server that
// has trouble must not say.
import { createHash } from 'node:crypto';
import { Model, ModelVersionDetail } from '@edgeloop/shared/api/models';
import { AppError } from '@edgeloop/shared/errors';
import { release as createRollout, rolloutIn } from '../../support/fleet.ts';
import { versionForm } from '../../support/models.ts';
import { until } from '../../support/until.ts';
import { type FaultFleet, noteRelease, type Release } from './fleet.ts';
import type { Candidate } from './versions.ts';

/** What may be answered while a server is away or has no room. */
const passing = new Set(['unavailable', 'insufficient_storage', 'timeout', 'too_many_requests']);
const patienceMs = 90_000;

/** Asks again until there is an answer that is no passing trouble. @throws AppError for every other refusal */
export async function persist<T>(fleet: FaultFleet, what: string, ask: () => Promise<T>): Promise<T> {
  const answer = await until(
    what,
    async () => {
      try {
        return { value: await ask() };
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        if (passing.has(error.code)) throw error;
        if (error.code !== 'internal') return { error };
        fleet.violations.push(`${what}: the server did not say what happened: ${error.message}`);
        throw error;
      }
    },
    { timeoutMs: patienceMs, everyMs: 200, context: () => fleet.plane.program.output().slice(-3000) },
  );
  if ('error' in answer) throw answer.error;
  return answer.value;
}

/** Registers a version. One that was stored although its answer was lost is found again. */
export async function push(fleet: FaultFleet, model: string, candidate: Candidate): Promise<ModelVersionDetail> {
  const { bytes, manifest } = candidate;
  try {
    return await persist(fleet, `pushing ${model}`, () =>
      fleet.plane.api.send('POST', `/models/${model}/versions`, ModelVersionDetail, versionForm(bytes, { manifest })),
    );
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'conflict') throw error;
    return await persist(fleet, `finding what was pushed of ${model}`, () => find(fleet, model, bytes));
  }
}

async function find({ plane }: FaultFleet, model: string, bytes: Uint8Array): Promise<ModelVersionDetail> {
  const digest = createHash('sha256').update(bytes).digest('hex');
  const { versions } = await plane.api.get(`/models/${model}`, Model);
  const found = versions.find((version) => version.digest === digest);
  if (found === undefined) throw new AppError('not_found', `no version of ${model} has the bytes that were pushed`);
  return plane.api.get(`/models/${model}/versions/${found.version}`, ModelVersionDetail);
}

/** Registers a good version; it is what should answer once it is rolled out. */
export async function pushGood(fleet: FaultFleet, model: string, candidate: Candidate): Promise<Release> {
  return noteRelease(fleet, await push(fleet, model, candidate), candidate.high ?? Number.NaN);
}

const plan = { gates: { minRequests: 0, maxFailedDevices: 0 }, offlineDevices: 'wait' };

/** Rolls a version out to all and waits for the end, which must be this one. */
export async function rollOut(
  fleet: FaultFleet,
  { model, version, bakeSeconds, end }: { model: string; version: number; bakeSeconds: number; end: Ending },
): Promise<void> {
  const id = await persist(fleet, `a rollout of ${model} ${version}`, () =>
    createRollout(fleet.plane, model, version, { ...plan, bakeSeconds }),
  );
  const ended = await rolloutIn(
    fleet.plane,
    id,
    ['completed', 'rolled_back', 'paused', 'cancelled', 'superseded'],
    120_000,
  );
  const { state, devices } = ended;
  if (state.phase !== end) {
    const why = 'reason' in state ? state.reason : '';
    const told = devices.map((each) => `${each.deviceId} ${each.state} ${each.detail}`).join('; ');
    fleet.violations.push(`the rollout of ${model} ${version} ended ${state.phase}, not ${end}: ${why} (${told})`);
  }
}

export type Ending = 'completed' | 'rolled_back';
