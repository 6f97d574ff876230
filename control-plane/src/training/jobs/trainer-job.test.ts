import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DatasetVersion } from '@edgeloop/shared/api/data';
import type { RunStep } from '@edgeloop/shared/api/training';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { isAlive } from '../../../../test/support/is-alive.ts';
import { writeParquet } from '../../data/tables.ts';
import { createRandom } from '../trainers/random.ts';
import { endlessTrainer, features, labelledRow } from '../training-fixture.ts';
import { type JobMaterial, prepareJobFolder } from './job-folder.ts';
import { jobFiles } from './trainer-contract.ts';
import { builtInTrainer, runTrainerJob, type TrainerCommand } from './trainer-job.ts';

let scratch: string;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'edgeloop-job-'));
});
afterEach(() => rm(scratch, { recursive: true, force: true }));

async function material(change: Partial<JobMaterial> = {}): Promise<JobMaterial> {
  const paths = { train: join(scratch, 'train'), validation: join(scratch, 'validation'), test: join(scratch, 'test') };
  const random = createRandom(3);
  for (const path of Object.values(paths)) {
    const rows = Array.from({ length: 200 }, () => labelledRow(random));
    const values = Float32Array.from(rows.flatMap((row) => row.values));
    await writeParquet(path, { features, values, labels: rows.map((row) => row.label), splits: [] });
  }
  const dataset: DatasetVersion = {
    dataset: 'points',
    version: 1,
    digest: '0'.repeat(64),
    rows: { train: 200, validation: 200, test: 200 },
    dropped: {},
    schema: { features, label: 'label', classes: ['high', 'low'] },
    lineage: { base: null, import: null, field: null },
    createdAt: 0,
    createdBy: 'key:test',
  };
  const trainer = { kind: 'mlp', parameters: { epochs: 5, hidden: [8] } };
  return { runId: 'run-1', trainer, seed: 7, budgetSeconds: 60, dataset, files: paths, ...change };
}

interface Options {
  command?: TrainerCommand;
  timeoutMs?: number;
  graceMs?: number;
  signal?: AbortSignal;
  onStep?: (step: RunStep) => void;
  onLine?: (text: string) => void;
}

/** Runs what `command` says, or the built-in trainer, in the prepared folder. */
function start(folder: string, options: Options = {}) {
  return runTrainerJob({
    runId: 'run-1',
    folder,
    pidPath: join(scratch, 'run-1.pid'),
    command: builtInTrainer(folder),
    timeoutMs: 60_000,
    signal: new AbortController().signal,
    onLine: () => undefined,
    onStep: () => undefined,
    ...options,
  });
}

async function prepared(name: string, change: Partial<JobMaterial> = {}): Promise<string> {
  const folder = join(scratch, name);
  await prepareJobFolder(folder, await material(change));
  return folder;
}

const node = (code: string): TrainerCommand => ({ file: process.execPath, args: ['-e', code] });

describe('the built-in trainer', () => {
  it('gives the same model bytes for the same inputs, and reports every epoch', async () => {
    const [first, second] = [await prepared('first'), await prepared('second')];
    const steps: RunStep[] = [];
    expect(await start(first, { onStep: (step) => steps.push(step) })).toEqual({ kind: 'done' });
    expect(await start(second)).toEqual({ kind: 'done' });
    const read = (folder: string, file: string) => readFile(join(folder, file));
    for (const file of [jobFiles.model, jobFiles.predictions, jobFiles.metrics])
      expect(Buffer.compare(await read(first, file), await read(second, file))).toBe(0);
    const other = await prepared('other', { seed: 8 });
    await start(other);
    expect(Buffer.compare(await read(first, jobFiles.model), await read(other, jobFiles.model))).not.toBe(0);
    expect(steps.length).toBe(15);
    expect(steps.at(-1)).toMatchObject({ step: 5, name: 'validation_accuracy' });
  });

  it('says why it refuses its input', async () => {
    const folder = await prepared('wrong', { trainer: { kind: 'mlp', parameters: { hidden: [0] } } });
    const outcome = await start(folder);
    expect(outcome).toMatchObject({ kind: 'failed', retry: false });
    expect(outcome).toHaveProperty('reason', expect.stringMatching(/exit code 64: .*parameters\.hidden/));
  });

  it('stops with SIGTERM when it is asked to', async () => {
    const folder = await prepared('endless', { trainer: endlessTrainer });
    const stopping = new AbortController();
    const outcome = start(folder, { signal: stopping.signal, onStep: () => stopping.abort(), graceMs: 60_000 });
    expect(await outcome).toEqual({ kind: 'stopped' });
  });
});

describe('a command', () => {
  it('that ignores SIGTERM is killed, with everything that it has started', async () => {
    const folder = await prepared('deaf');
    const stopping = new AbortController();
    const pids: number[] = [];
    const code = `
      process.on('SIGTERM', () => {});
      const child = require('node:child_process').spawn(process.execPath, ['-e', 'process.on("SIGTERM",()=>{});setInterval(()=>{},1000);console.log("up")'], { stdio: 'pipe' });
      child.stdout.once('data', () => console.log(process.pid + ' ' + child.pid));
      setInterval(() => {}, 1000);`;
    const onLine = (text: string) => {
      pids.push(...text.split(' ').map(Number));
      stopping.abort();
    };
    const outcome = await start(folder, { command: node(code), signal: stopping.signal, graceMs: 50, onLine });
    expect(outcome).toEqual({ kind: 'stopped' });
    expect(pids.length).toBe(2);
    await vi.waitUntil(() => !pids.some(isAlive), { timeout: 30_000 });
  });

  it('that takes too long fails, and one that asks for it may be tried again', async () => {
    const folder = await prepared('slow');
    const slow = await start(folder, { command: node('setInterval(() => {}, 1000)'), timeoutMs: 200, graceMs: 50 });
    expect(slow).toEqual({ kind: 'failed', reason: 'the trainer took longer than 0.2 s', retry: false });
    expect(await start(folder, { command: node('process.exit(75)') })).toMatchObject({ kind: 'failed', retry: true });
    const missing = await start(folder, { command: { file: join(scratch, 'nothing'), args: [] } });
    expect(missing).toMatchObject({ kind: 'failed', reason: expect.stringMatching(/could not be started/) });
  });

  it('starts in the job folder and sees nothing of the control plane’s environment', async () => {
    process.env.EDGELOOP_DATABASE_URL = 'postgres://secret';
    try {
      const folder = await prepared('curious');
      const lines: string[] = [];
      const code = 'console.log(process.cwd()); console.log(JSON.stringify(process.env))';
      await start(folder, { command: node(code), onLine: (text) => lines.push(text) });
      expect(lines[0]).toBe(folder);
      const seen: unknown = JSON.parse(lines[1] ?? '');
      expect(seen).toMatchObject({ EDGELOOP_RUN_ID: 'run-1', EDGELOOP_JOB_DIR: folder });
      expect(seen).not.toHaveProperty('EDGELOOP_DATABASE_URL');
    } finally {
      delete process.env.EDGELOOP_DATABASE_URL;
    }
  });
});
