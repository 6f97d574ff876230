import { createPrivateKey } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import type { DesiredModel } from '@edgeloop/shared/messages';
import { segmentsOf, sha256 } from '@edgeloop/shared/node/digests';
import { createFleetKey, signRelease } from '@edgeloop/shared/node/signing';
import { Release } from '@edgeloop/shared/release';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type DeviceDatabase, openDatabase } from '../../database/open.ts';
import { createDevicePort } from '../../identity/device-port.ts';
import type { ModelFiles } from '../../process/ipc.ts';
import { pendingWrites } from '../../storage/pending-writes-fixture.ts';
import { createModelStore } from '../store.ts';
import { createQuarantine } from '../trying/quarantine.ts';
import { ModelDriver } from './model-driver.ts';
import { createStateStore } from './state-store.ts';

const log = pino({ level: 'silent' });
const fleet = createFleetKey();
// Nobody listens there: all releases of these tests are on disk already.
const port = createDevicePort({ hosts: ['127.0.0.1'], port: 1, tls: {} });

let folder = '';
let database: DeviceDatabase;
let stop: AbortController;
let running: ModelDriver | undefined;
/** What the serving process was asked for; `refuse` makes a load fail. */
const asked: string[] = [];
const refuse = new Set<number>();
const whenLoading = new Map<number, () => void>();

const serving = {
  up: async () => undefined,
  load: async ({ version }: ModelFiles) => {
    asked.push(`load ${version}`);
    whenLoading.get(version)?.();
    if (refuse.has(version)) throw new AppError('model_rejected', 'cannot be loaded');
  },
  activate: async (_name: string, version: number) => void asked.push(`activate ${version}`),
  unload: async (_name: string, version: number) => void asked.push(`unload ${version}`),
  tell: () => undefined,
};

function release(version: number, rolloutId = `r${version}`): DesiredModel {
  const bytes = Buffer.from(`model ${version}`);
  const document = Buffer.from(
    JSON.stringify(
      Release.parse({
        format: 1,
        name: 'm',
        version,
        artifact: { digest: sha256(bytes), sizeBytes: bytes.length, segments: segmentsOf(bytes) },
        signature: { inputs: [], outputs: [] },
        manifest: {},
        golden: { samples: [] },
      }),
    ),
  );
  const at = join(folder, 'models', 'm', String(version));
  mkdirSync(at, { recursive: true });
  writeFileSync(join(at, 'release.json'), document);
  writeFileSync(join(at, 'model.onnx'), bytes);
  const digest = sha256(document);
  const signature = signRelease(digest, createPrivateKey(fleet.privateKeyPem));
  return { name: 'm', version, release: digest, signature, rolloutId };
}

async function boot(cleanStop: boolean, probationMs = 150): Promise<ModelDriver> {
  stop = new AbortController();
  const store = createModelStore(join(folder, 'models'));
  running = new ModelDriver({
    states: createStateStore(database, pendingWrites(), log),
    store,
    serving,
    source: () => ({ port, store, fleetKey: fleet.publicKeyPem }),
    prove: async () => undefined,
    tuningOf: () => undefined,
    tune: async () => undefined,
    quarantine: createQuarantine(database, pendingWrites(), Date.now),
    probationMs,
    log,
    onChange: () => {},
  });
  await running.start(stop.signal, cleanStop);
  await running.restore();
  return running;
}

const modelOf = (driver: ModelDriver) => driver.report()[0];
const settled = (driver: ModelDriver, lastGood: number) =>
  vi.waitFor(() => expect(modelOf(driver)).toMatchObject({ lastGood, candidate: null }), { timeout: 15_000 });

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'agent-driver-'));
  database = openDatabase(join(folder, 'agent.db'), log);
  asked.length = 0;
  refuse.clear();
  whenLoading.clear();
});
afterEach(async () => {
  stop.abort();
  await running?.close();
  database.$client.close();
  rmSync(folder, { recursive: true });
});

describe('bringing a model to what is desired', () => {
  it('keeps the former version loaded until probation is over, then lets it go', async () => {
    const driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    driver.setDesired({ generation: 2, models: [release(2)] });
    await settled(driver, 2);
    await vi.waitFor(() => expect(asked.at(-1)).toBe('unload 1'), { timeout: 15_000 });
    expect(asked).toEqual(['load 1', 'activate 1', 'load 2', 'activate 2', 'unload 1']);
  });

  it('leaves what answers alone when the new version cannot be loaded, and tries it once', async () => {
    const driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    refuse.add(2);
    driver.setDesired({ generation: 2, models: [release(2)] });
    await vi.waitFor(() => expect(modelOf(driver)?.candidate?.state).toBe('failed'), { timeout: 15_000 });
    driver.setDesired({ generation: 2, models: [release(2)] });
    expect(asked.filter((each) => each === 'load 2')).toHaveLength(1);
    expect(modelOf(driver)).toMatchObject({
      active: { version: 1 },
      candidate: { error: { code: 'model_rejected' } },
    });
  });

  it('does not let a version answer that was superseded while it was loaded', async () => {
    const driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    whenLoading.set(2, () => driver.setDesired({ generation: 3, models: [release(1)] }));
    driver.setDesired({ generation: 2, models: [release(2)] });
    await vi.waitFor(() => expect(asked.at(-1)).toBe('unload 2'), { timeout: 15_000 });
    expect(asked).not.toContain('activate 2');
    expect(modelOf(driver)).toMatchObject({ active: { version: 1 }, candidate: null });
  });

  it('goes back at once when too many requests fail in probation', async () => {
    const driver = await boot(true, 60_000);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await vi.waitFor(() => expect(modelOf(driver)?.candidate?.state).toBe('probation'), { timeout: 15_000 });
    driver.update([{ name: 'm', version: 1, succeeded: 19, failed: 2 }]);
    await vi.waitFor(() => expect(modelOf(driver)?.candidate?.state).toBe('failed'), { timeout: 15_000 });
    expect(modelOf(driver)).toMatchObject({
      active: null,
      candidate: { error: { message: '2 of 21 requests failed in its probation' } },
    });
  });

  it('falls back after a crash at the first run, and serves the last good version in the next process', async () => {
    let driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    stop.abort();
    await driver.close();
    driver = await boot(true, 60_000);
    driver.setDesired({ generation: 2, models: [release(2)] });
    await vi.waitFor(() => expect(modelOf(driver)?.candidate?.state).toBe('probation'), { timeout: 15_000 });
    driver.servingDied({ crashed: true, detail: 'it was ended by SIGFPE', suspects: [] });
    expect(modelOf(driver)).toMatchObject({ active: { version: 1 }, candidate: { state: 'failed' } });
    asked.length = 0;
    await driver.restore();
    expect(asked).toEqual(['load 1', 'activate 1']);
  });

  it('quarantines a version that ends the process twice long after its probation, and leaves others alone', async () => {
    const driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    driver.setDesired({ generation: 2, models: [release(2)] });
    await settled(driver, 2);
    await vi.waitFor(() => expect(asked.at(-1)).toBe('unload 1'), { timeout: 15_000 });
    const death = (name: string) =>
      driver.servingDied({ crashed: true, detail: 'SIGFPE', suspects: [{ name, version: 2 }] });
    death('other');
    await driver.restore();
    death('m');
    expect(modelOf(driver)).toMatchObject({ active: { version: 2 }, candidate: null });
    asked.length = 0;
    await driver.restore();
    await vi.waitFor(() => expect(asked).toEqual(['load 2', 'activate 2']), { timeout: 15_000 });
    death('m');
    expect(modelOf(driver)).toMatchObject({
      active: { version: 1 },
      candidate: { version: 2, state: 'failed', error: { message: expect.stringMatching(/^quarantined: /) } },
    });
  });

  it('serves what was active after a kill without asking anybody, and counts the attempt', async () => {
    let driver = await boot(true, 60_000);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await vi.waitFor(() => expect(modelOf(driver)?.candidate?.state).toBe('probation'), { timeout: 15_000 });
    for (const state of ['probation', 'probation', 'failed']) {
      stop.abort();
      await driver.close();
      driver = await boot(false, 60_000);
      expect(modelOf(driver)?.candidate?.state).toBe(state);
    }
    expect(modelOf(driver)?.active).toBeNull();
  });

  it('serves what is on disk when the states were lost', async () => {
    release(3);
    const driver = await boot(true);
    expect(asked).toEqual(['load 3', 'activate 3']);
    expect(modelOf(driver)).toMatchObject({ active: { version: 3 }, lastGood: 3 });
  });

  it('unloads and removes a model that is no longer desired', async () => {
    const driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    driver.setDesired({ generation: 2, models: [] });
    await vi.waitFor(async () => expect(await createModelStore(join(folder, 'models')).names()).toEqual([]), {
      timeout: 15_000,
    });
    expect(asked.at(-1)).toBe('unload 1');
    expect(driver.report()).toEqual([]);
  });
});
