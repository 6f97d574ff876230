import { fork } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { createTraining } from './training.ts';
import {
  createWorkshop,
  driftAlert,
  ended,
  endlessTrainer,
  pipelineSpec,
  slowTrainer,
  until,
  type Workshop,
} from './training-fixture.ts';

// Each run starts a few processes, on machines that may be busy.
vi.setConfig({ testTimeout: 120_000 });

let workshop: Workshop;
let stopping: AbortController;
beforeEach(async () => {
  workshop = await createWorkshop();
  stopping = new AbortController();
});
afterEach(async () => {
  stopping.abort();
  await workshop.close();
});

function startTraining() {
  const training = workshop.openTraining();
  training.start(stopping.signal);
  return training;
}

type Training = ReturnType<typeof createTraining>;
const whenEnded = (training: Training, id: string) => until(() => training.run(id), ended);
const onlyRun = async (training: Training) => (await training.runs({ limit: 10 })).items[0]?.id ?? '';
async function actions(subject: string) {
  const { audit } = workshop.database.tables;
  const rows = await workshop.database.read.select().from(audit);
  return rows.filter((row) => row.subject === subject).map((row) => row.action);
}

describe('a run', () => {
  it('trains, evaluates, registers and releases the first version, and leaves nothing on disk', async () => {
    const training = startTraining();
    await workshop.importRows();
    await training.apply('key:ann', pipelineSpec({ release: { bakeSeconds: 0 }, manifest: { description: 'sorts' } }));
    const started = await training.startRun('key:ann', 'sort', {});
    expect(started).toMatchObject({ status: 'queued', cause: { kind: 'manual', by: 'key:ann' }, seed: 1 });
    const run = await whenEnded(training, started.id);
    expect(run.error).toBeNull();
    expect(run).toMatchObject({ status: 'succeeded', registeredVersion: 1, rolloutId: `rollout-of-${run.id}` });
    expect(run.evaluation).toMatchObject({ won: true, champion: null, championVersion: null });
    expect(run.metrics.accuracy).toBeGreaterThan(0.9);
    expect(run.steps.filter((step) => step.name === 'validation_accuracy').length).toBeGreaterThan(5);
    expect(workshop.releases).toEqual([{ model: 'sorter', version: 1, runId: run.id }]);
    const version = await workshop.registry.version('sorter', 1);
    expect(version).toMatchObject({
      goldenSamples: 8,
      lineage: { source: 'training', runId: run.id, pipeline: 'sort' },
    });
    expect(version.lineage.dataset).toEqual(run.dataset);
    expect(version.manifest).toMatchObject({ task: 'classification', description: 'sorts' });
    expect(version.manifest.monitoring.reference?.accuracy).toBeCloseTo(run.metrics.accuracy ?? 0, 9);
    const { lines } = await training.logs(run.id);
    expect(lines.map((line) => line.text).join('\n')).toMatch(/epoch 3: train_loss [\s\S]*won: accuracy/);
    await until(
      () => readdir(join(workshop.folder, 'training')),
      (names) => names.length === 0,
    );
    expect(await actions(`run/${run.id}`)).toEqual(['run.start', 'run.end']);
  });

  it('is rejected when it does not beat the champion, with the same bytes for the same inputs', async () => {
    const training = startTraining();
    await workshop.importRows();
    await training.apply('key:ann', pipelineSpec());
    await whenEnded(training, (await training.startRun('key:ann', 'sort', {})).id);
    const second = await whenEnded(training, (await training.startRun('key:ann', 'sort', {})).id);
    expect(second).toMatchObject({ status: 'rejected', registeredVersion: null });
    expect(second.evaluation).toMatchObject({ won: false, championVersion: 1, gain: { value: 0 } });
    expect((await workshop.registry.model('sorter')).versions.length).toBe(1);
    expect(workshop.releases).toEqual([]);
  });

  it('fails with a reason when there is no data to train on, and leaves nothing on the stop signal', async () => {
    const joined = vi.spyOn(AbortSignal, 'any');
    const training = startTraining();
    await training.apply('key:ann', pipelineSpec());
    const run = await whenEnded(training, (await training.startRun('key:ann', 'sort', {})).id);
    expect(run).toMatchObject({ status: 'failed', stage: 'done' });
    expect(run.error).toMatch(/data: dataset "points" has no version/);
    expect(joined).not.toHaveBeenCalled();
    joined.mockRestore();
  });

  it('ends when it is cancelled while it trains', async () => {
    const training = startTraining();
    await workshop.importRows();
    await training.apply('key:ann', pipelineSpec({ trainer: endlessTrainer }));
    const { id } = await training.startRun('key:ann', 'sort', {});
    await until(
      () => training.run(id),
      (run) => run.steps.length > 3,
    );
    expect(await training.cancel('key:ann', id)).toMatchObject({ status: 'running' });
    expect(await whenEnded(training, id)).toMatchObject({ status: 'cancelled', error: null });
    expect((await training.cancel('key:ann', id)).status).toBe('cancelled');
    expect(await actions(`run/${id}`)).toEqual(['run.start', 'run.cancel', 'run.end']);
  });

  it('is cancelled at once while it waits its turn, and never starts', async () => {
    const training = workshop.openTraining();
    await training.apply('key:ann', pipelineSpec());
    const { id } = await training.startRun('key:ann', 'sort', {});
    expect(await training.cancel('key:ann', id)).toMatchObject({ status: 'cancelled', stage: 'done', startedAt: null });
  });

  it('goes on after a restart in the midst of training', async () => {
    await workshop.importRows();
    const first = startTraining();
    await first.apply('key:ann', pipelineSpec({ trainer: slowTrainer }));
    const { id } = await first.startRun('key:ann', 'sort', {});
    await until(
      () => first.run(id),
      (run) => run.steps.length > 3,
    );
    await first.close();
    expect(await first.run(id)).toMatchObject({ status: 'running', stage: 'training', endedAt: null });
    const second = startTraining();
    const run = await whenEnded(second, id);
    expect(run).toMatchObject({ status: 'succeeded', registeredVersion: 1 });
    expect(run.steps.filter((step) => step.name === 'train_loss').length).toBe(slowTrainer.parameters.epochs);
  });
});

describe('a control plane that is killed while it trains', () => {
  it('is followed by one that ends the trainer and carries the run to its end', async () => {
    const program = fileURLToPath(new URL('./killed-fixture.ts', import.meta.url));
    const child = fork(program, [workshop.folder], { execArgv: sourceExecArgv(import.meta.url) });
    const id = await new Promise<string>((resolve, reject) => {
      child.once('message', (message) => resolve(String(message)));
      child.once('exit', () => reject(new Error('the control plane ended before it trained')));
    });
    const pid = Number(await readFile(join(workshop.folder, 'training', `${id}.pid`), 'utf8'));
    const killed = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await killed;
    const run = await whenEnded(startTraining(), id);
    expect(run).toMatchObject({ status: 'succeeded', registeredVersion: 1 });
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  });
});

describe('stages that are done again', () => {
  it('register one version and start one rollout for one run', async () => {
    const training = startTraining();
    await workshop.importRows();
    await training.apply('key:ann', pipelineSpec({ release: {} }));
    const { id } = await training.startRun('key:ann', 'sort', {});
    await whenEnded(training, id);
    await training.close();
    // As if the server had been killed before it could write down what registration gave.
    const { runs } = workshop.database.tables;
    const forgotten = { status: 'running', stage: 'registration', registeredVersion: null, rolloutId: null };
    await workshop.database.transact(async (tx) => {
      await tx.update(runs).set({ ...forgotten, endedAt: null });
    });
    const run = await whenEnded(startTraining(), id);
    expect(run).toMatchObject({ status: 'succeeded', registeredVersion: 1, rolloutId: `rollout-of-${id}` });
    expect((await workshop.registry.model('sorter')).versions.length).toBe(1);
    expect(workshop.releases.length).toBe(1);
  });
});

describe('an alert', () => {
  const trigger = { onDrift: true, minLabels: 400, cooldownSeconds: 3600 };

  it('starts one run that waits for labels, learns from the field and beats the champion', async () => {
    const training = startTraining();
    await workshop.importRows();
    await training.apply('key:ann', pipelineSpec({ trigger }));
    await whenEnded(training, (await training.startRun('key:ann', 'sort', {})).id);
    const alert = driftAlert();
    await workshop.captureRows({ rows: 300, predictedAt: alert.startedAt - 1, border: 1 });
    await training.onAlert(alert);
    await training.onAlert(alert);
    const id = await onlyRun(training);
    await until(
      () => training.run(id),
      (run) => run.status === 'waiting_for_labels',
    );
    expect((await training.runs({ limit: 10 })).items.length).toBe(2);
    await workshop.captureRows({ rows: 5000, predictedAt: alert.startedAt + 1, border: 0.6 });
    training.wake();
    const run = await whenEnded(training, id);
    expect(run).toMatchObject({ status: 'succeeded', registeredVersion: 2, dataset: { version: 2 } });
    expect(run.cause).toEqual({ kind: 'alert', alertId: alert.id });
    expect(run.evaluation).toMatchObject({ won: true, championVersion: 1 });
    expect(run.evaluation?.gain?.low).toBeGreaterThan(0);
    const version = await workshop.registry.version('sorter', 2);
    expect(version.lineage.parent).toBe(1);
    // The field after the alert, without what any version trains on: 30 % of 5,000 rows, more or less.
    expect(version.manifest.monitoring.reference?.rows).toBeGreaterThan(1300);
    expect(version.manifest.monitoring.reference?.rows).toBeLessThan(1700);
  });

  it('within the cool-down is skipped, which the audit log says once', async () => {
    const training = workshop.openTraining();
    await training.apply('key:ann', pipelineSpec({ trigger }));
    await training.onAlert(driftAlert());
    await training.cancel('key:ann', await onlyRun(training));
    await training.onAlert(driftAlert({ id: 'alert-2' }));
    await training.onAlert(driftAlert({ id: 'alert-2' }));
    expect((await training.runs({ limit: 10 })).items.length).toBe(1);
    const said = ['pipeline.apply', 'pipeline.trigger', 'pipeline.trigger.skip'];
    expect(await actions('pipeline/sort')).toEqual(said);
  });

  it('of a sensor fault starts nothing, which the audit log says, until it is seen to be wider', async () => {
    const training = workshop.openTraining();
    await training.apply('key:ann', pipelineSpec({ trigger }));
    const fault = { device: 'a', signal: 'x', kind: 'stuck', detail: 'its values stand at 3' } as const;
    const scope = { kind: 'device', devices: ['a'], detail: 'a alone of 9 devices', faults: [fault] } as const;
    const alone = driftAlert({ scope: { ...scope, devices: ['a'], faults: [fault] } });
    await training.onAlert(alone);
    await training.onAlert(alone);
    expect((await training.runs({ limit: 10 })).items).toEqual([]);
    expect(await actions('pipeline/sort')).toEqual(['pipeline.apply', 'pipeline.trigger.skip']);
    await training.onAlert({ ...alone, scope: { kind: 'fleet', devices: [], detail: '9 of 9 devices' } });
    expect((await training.runs({ limit: 10 })).items).toHaveLength(1);
  });

  it('of another kind or model starts nothing', async () => {
    const training = workshop.openTraining();
    await training.apply('key:ann', pipelineSpec({ trigger }));
    await training.onAlert(driftAlert({ kind: 'accuracy' }));
    await training.onAlert(driftAlert({ model: 'other' }));
    expect((await training.runs({ limit: 10 })).items).toEqual([]);
  });
});
