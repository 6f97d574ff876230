// What the fleet does while a fault comes. Each activity goes on until it has reached its end in spite of the fault; what it
// sees that must not be is added to the fleet's violations.
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Dataset, DatasetVersion } from '@edgeloop/shared/api/data';
import { ResolvedDevices } from '@edgeloop/shared/api/devices';
import { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { Pipeline, Run } from '@edgeloop/shared/api/training';
import { AppError } from '@edgeloop/shared/errors';
import { request } from 'undici';
import { device } from '../../support/fleet.ts';
import { versionForm } from '../../support/models.ts';
import { until } from '../../support/until.ts';
import { type FaultFleet, models } from './fleet.ts';
import { persist, push, pushGood, rollOut } from './operator.ts';
import type { Activity } from './plan.ts';
import { type Candidate, deadlyVersion, endlessVersion, goodVersion, heavyVersion, wrongGolden } from './versions.ts';

const { changing } = models;
/** Longer than any fault lasts. */
const quietMs = 5000;
/** Longer than the probation, so that a rollout sees what happens in it. */
const badBakeSeconds = 5;

const doing: Record<Activity, (fleet: FaultFleet) => Promise<void>> = {
  telemetry: () => new Promise((resolve) => setTimeout(resolve, quietMs)),
  release,
  'refused upload': refusedUpload,
  'deadly version': (fleet) => badVersion(fleet, deadlyVersion(fleet.pushed++)),
  'endless version': (fleet) => badVersion(fleet, endlessVersion(fleet.pushed++)),
  'heavy version': (fleet) => badVersion(fleet, heavyVersion(fleet.pushed++)),
  upload: async (fleet) => void (await pushGood(fleet, 'stored', goodVersion(fleet.pushed++))),
  training,
  feedback,
  restore,
};

export function perform(activity: Activity, fleet: FaultFleet): Promise<void> {
  return doing[activity](fleet);
}

/** Gives the fleet the models that all rounds need. */
export async function equip(fleet: FaultFleet): Promise<void> {
  const first = async (model: string): Promise<void> => {
    const isolation = model === models.apart ? 'process' : 'shared';
    const good = await pushGood(fleet, model, goodVersion(fleet.pushed++, isolation));
    await rollOut(fleet, { model, version: good.version, bakeSeconds: 0, end: 'completed' });
    fleet.expected.set(model, good);
  };
  await Promise.all(Object.values(models).map(first));
}

async function release(fleet: FaultFleet): Promise<void> {
  const good = await pushGood(fleet, changing, goodVersion(fleet.pushed++));
  await rollOut(fleet, { model: changing, version: good.version, bakeSeconds: 1, end: 'completed' });
  fleet.expected.set(changing, good);
}

/** What answered before answers again afterwards, so that nothing changes in what is expected. */
async function badVersion(fleet: FaultFleet, candidate: Candidate): Promise<void> {
  const pushed = await push(fleet, changing, candidate).catch((error: unknown) => {
    // The server saw it by itself, so that no device gets it.
    if (error instanceof AppError && error.code === 'model_rejected') return undefined;
    throw error;
  });
  if (pushed === undefined) return;
  await rollOut(fleet, { model: changing, version: pushed.version, bakeSeconds: badBakeSeconds, end: 'rolled_back' });
}

async function refusedUpload(fleet: FaultFleet): Promise<void> {
  const { bytes, manifest } = goodVersion(fleet.pushed++);
  const form = () => versionForm(bytes, { manifest, golden: wrongGolden() });
  try {
    await persist(fleet, 'a push with a wrong golden sample', () =>
      fleet.plane.api.send('POST', `/models/${changing}/versions`, ModelVersionDetail, form()),
    );
    fleet.violations.push('a version whose golden sample does not reproduce was registered');
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'model_rejected') throw error;
  }
}

const dataset = 'rows';

/** A run that the server's end interrupted must come to an end too, and the next one must be whole. */
async function training(fleet: FaultFleet): Promise<void> {
  const { api } = fleet.plane;
  if ((await versionsOf(fleet)) === 0) {
    const form = new FormData();
    form.set('options', JSON.stringify({ format: 'csv', label: 'label' }));
    form.set('file', new Blob([rows()], { type: 'text/csv' }), 'rows.csv');
    await persist(fleet, 'an import', () => api.send('POST', `/datasets/${dataset}/versions`, DatasetVersion, form));
  }
  const spec = { name: 'learnt', model: 'learnt', dataset, refreshFromField: false, trainer: { kind: 'softmax' } };
  await persist(fleet, 'a pipeline', () => fleet.plane.api.send('POST', '/pipelines', Pipeline, spec));
  const run = await persist(fleet, 'a run', () =>
    fleet.plane.api.send('POST', '/pipelines/learnt/runs', Run, { seed: fleet.pushed++ }),
  );
  const ended = await until(
    `the end of run ${run.id}`,
    async () => {
      const seen = await fleet.plane.api.get(`/runs/${run.id}`, Run);
      return ['succeeded', 'rejected', 'failed', 'cancelled'].includes(seen.status) ? seen : undefined;
    },
    { timeoutMs: 90_000, context: () => fleet.plane.program.output().slice(-3000) },
  );
  if (!['succeeded', 'rejected'].includes(ended.status))
    fleet.violations.push(`a training run ended ${ended.status}: ${ended.error}`);
}

async function versionsOf(fleet: FaultFleet): Promise<number> {
  try {
    const found = await persist(fleet, 'the dataset', () => fleet.plane.api.get(`/datasets/${dataset}`, Dataset));
    return found.versions.length;
  } catch (error) {
    if (error instanceof AppError && error.code === 'not_found') return 0;
    throw error;
  }
}

/** 400 rows of a rule that a linear model learns. */
function rows(): string {
  const lines = Array.from({ length: 400 }, (_, i) => {
    const [a, b] = [(i % 20) - 10, Math.floor(i / 20) - 10.5];
    return `${a},${b},${a + b > 0 ? 'high' : 'low'}`;
  });
  return ['a,b,label', ...lines, ''].join('\n');
}

/** Truths for what was just answered, over some seconds. */
async function feedback(fleet: FaultFleet): Promise<void> {
  const sent = new Set<string>();
  const end = performance.now() + quietMs;
  while (performance.now() < end) {
    for (const { agent, callers } of fleet.agents)
      for (const id of callers
        .recent(changing)
        .filter((each) => !sent.has(each))
        .slice(0, 3)) {
        sent.add(id);
        await label(fleet, `${agent.url}/feedback/${id}`);
      }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function label({ labels }: FaultFleet, url: string): Promise<void> {
  try {
    const headers = { 'content-type': 'application/json' };
    const answer = await request(url, { method: 'POST', headers, body: '{"label":"high"}', headersTimeout: 30_000 });
    await answer.body.dump();
    if (answer.statusCode < 300) labels.accepted++;
    else if (answer.statusCode >= 500) labels.uncertain++;
  } catch {
    labels.uncertain++;
  }
}

/** Goes back to a copy of the server's folder that does not know the newest version, and gives its number again. */
async function restore(fleet: FaultFleet): Promise<void> {
  const { plane } = fleet;
  const copy = join(fleet.folder, 'copy');
  await plane.stop();
  await cp(plane.folder, copy, { recursive: true });
  await plane.start();
  await release(fleet);
  await plane.stop();
  await rm(plane.folder, { recursive: true, force: true }).catch(ofMountPoint);
  await cp(copy, plane.folder, { recursive: true });
  await plane.start();
  await leaveAlone(fleet);
  await resolveAll(fleet);
  await release(fleet);
}

/** Agents that are ahead of the server are not moved by it. */
async function leaveAlone(fleet: FaultFleet): Promise<void> {
  for (const { agent } of fleet.agents)
    await until(
      `${agent.id} shown as conflicting`,
      async () => (await device(fleet.plane, agent.id)).conflicting || undefined,
      { timeoutMs: 90_000, context: () => fleet.plane.program.output().slice(-3000) },
    );
}

/** An operator decides that they do what this server says. */
async function resolveAll(fleet: FaultFleet): Promise<void> {
  await persist(fleet, 'resolving the conflicts', () =>
    fleet.plane.api.send('POST', '/devices/resolve', ResolvedDevices, { selector: '', decision: 'follow' }),
  );
}

/** What a disk is mounted at stays, empty. */
function ofMountPoint(error: unknown): void {
  if (!(error instanceof Error && 'code' in error && error.code === 'EBUSY')) throw error;
}
