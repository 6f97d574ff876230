import { createPrivateKey } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import type { DesiredModel } from '@edgeloop/shared/messages';
import { sha256 } from '@edgeloop/shared/node/digests';
import { createFleetKey, signRelease } from '@edgeloop/shared/node/signing';
import { Release } from '@edgeloop/shared/release';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type DeviceDatabase, openDatabase } from '../../database/open.ts';
import { createDevicePort, type DevicePort } from '../../identity/device-port.ts';
import type { KnownModel, ModelFiles, PresentHold } from '../../process/ipc.ts';
import type { Attaching } from '../../process/serving-process.ts';
import { pendingWrites } from '../../storage/pending-writes-fixture.ts';
import { createFileCheck } from '../file-check.ts';
import { createModelStore } from '../store.ts';
import { createQuarantine } from '../trying/quarantine.ts';
import { createBandwidth } from './bandwidth.ts';
import { ModelDriver } from './model-driver.ts';
import { type ModelEvent, newModelState } from './model-state.ts';
import { segmentsOf } from './segments-fixture.ts';
import { createStateStore } from './state-store.ts';
import { next } from './transitions.ts';

const log = pino({ level: 'silent' });
const fleet = createFleetKey();
// Nobody listens there: all releases of these tests are on disk already.
const closedPort = createDevicePort({ hosts: ['127.0.0.1'], port: 1, tls: {} });

let folder = '';
let database: DeviceDatabase;
let stop: AbortController;
let running: ModelDriver | undefined;
/** What the serving process was asked for; `refuse` makes a load fail. */
const asked: string[] = [];
const refuse = new Set<number>();
/** The release that runs beside another -> that other. */
const attached = new Map<string, string>();
let short: string | undefined;
const whenLoading = new Map<number, () => void>();
/** The bytes that were loaded last. */
const loaded = new Map<number, string>();
/** What goes wrong with the next proofs; undefined: nothing. */
const proofs: (Error | undefined)[] = [];
let hold: PresentHold | undefined;
let port: DevicePort | undefined;
let saving: (() => void) | undefined;
let told: string[] = [];

const serving = {
  up: async () => undefined,
  load: async ({ version, path, manifest }: ModelFiles) => {
    asked.push(`load ${version}${manifest.isolation === 'process' ? ' on trial' : ''}`);
    whenLoading.get(version)?.();
    if (refuse.has(version)) throw new AppError('model_rejected', 'cannot be loaded');
    loaded.set(version, readFileSync(path, 'utf8'));
  },
  activate: async (_name: string, version: number) => void asked.push(`activate ${version}`),
  unload: async (_name: string, version: number) => void asked.push(`unload ${version}`),
  attach: async ({ version, release }: ModelFiles, { mode, against }: Attaching) => {
    asked.push(`attach ${version} as a ${mode}`);
    if (refuse.has(version)) throw new AppError('model_rejected', 'cannot be loaded');
    attached.set(release ?? '', against);
  },
  detach: async () => {
    asked.push('detach');
    attached.clear();
  },
  tell: (known: readonly KnownModel[]) => {
    told = known.map(({ name, version, state }) => `${name} ${version} ${state}`);
  },
};
/** What was told and loaded when callers were let in the last time. */
let letInWith: { told: string[]; asked: string[] } | undefined;
const letIn = () => {
  letInWith = { told, asked: [...asked] };
};

function release(
  version: number,
  rolloutId = `r${version}`,
  { text = `model ${version}`, at = '' } = {},
): DesiredModel {
  const bytes = Buffer.from(text);
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
  const digest = sha256(document);
  const own = join(folder, 'models', 'm', at === 'beside' ? `${version}-${digest.slice(0, 12)}` : String(version));
  mkdirSync(own, { recursive: true });
  writeFileSync(join(own, 'release.json'), document);
  writeFileSync(join(own, 'model.onnx'), bytes);
  const signature = signRelease(digest, createPrivateKey(fleet.privateKeyPem));
  return { name: 'm', version, release: digest, signature, rolloutId };
}

async function boot(cleanStop: boolean, probationMs = 150): Promise<ModelDriver> {
  stop = new AbortController();
  const store = createModelStore(join(folder, 'models'));
  const states = createStateStore(database, pendingWrites(), log);
  running = new ModelDriver({
    states: {
      ...states,
      save(state) {
        saving?.();
        return states.save(state);
      },
    },
    fileCheck: createFileCheck(log),
    store,
    serving: { ...serving, processes: [serving] },
    source: () => ({ port, trustedKeys: [fleet.publicKeyPem], bandwidth: createBandwidth(undefined) }),
    prove: async () => {
      const error = proofs.shift();
      if (error !== undefined) throw error;
      return undefined;
    },
    tuningOf: () => undefined,
    tune: async () => undefined,
    quarantine: createQuarantine(database, pendingWrites(), Date.now),
    probationMs,
    hold: () => hold,
    shortage: () => short,
    log,
    onChange: () => {},
  });
  await running.start(stop.signal, cleanStop);
  await running.restore(letIn, 0);
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
  loaded.clear();
  proofs.length = 0;
  hold = undefined;
  short = undefined;
  attached.clear();
  port = closedPort;
  saving = undefined;
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
    expect(asked).toEqual([
      ...['load 1 on trial', 'activate 1', 'load 1'],
      ...['load 2 on trial', 'activate 2', 'load 2', 'unload 1'],
    ]);
  });

  it('tries nothing new while software on the device holds it back, says so, and goes on when that is over', async () => {
    let driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    hold = { reason: 'surgery', untilMs: Date.now() + 60_000 };
    driver.setDesired({ generation: 2, models: [release(2)] });
    const isHeld = () =>
      vi.waitFor(() => expect(modelOf(driver)?.candidate?.held).toMatchObject({ by: 'hold', until: hold?.untilMs }), {
        timeout: 15_000,
      });
    await isHeld();
    stop.abort();
    await driver.close();
    driver = await boot(true);
    await isHeld();
    expect(modelOf(driver)).toMatchObject({ active: { version: 1 }, candidate: { version: 2, state: 'warming' } });
    expect(asked.join()).not.toContain('load 2');
    hold = undefined;
    await settled(driver, 2);
  });

  it('waits for a maintenance window, and follows another order at once', async () => {
    const driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    const soon = new Date(Date.now() + 3_600_000);
    const clock = (hours: number) =>
      `${String(hours % 24).padStart(2, '0')}:${String(soon.getMinutes()).padStart(2, '0')}`;
    const windows = { fetch: [{ from: clock(soon.getHours()), to: clock(soon.getHours() + 1) }] };
    driver.setDesired({ generation: 2, models: [{ ...release(2), windows }] });
    await vi.waitFor(
      () => expect(modelOf(driver)?.candidate).toMatchObject({ state: 'fetching', held: { by: 'window' } }),
      {
        timeout: 15_000,
      },
    );
    driver.setDesired({ generation: 3, models: [release(2)] });
    await settled(driver, 2);
  });

  it('leaves what answers alone when the new version cannot be loaded, and tries it once', async () => {
    const driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    refuse.add(2);
    driver.setDesired({ generation: 2, models: [release(2)] });
    await vi.waitFor(() => expect(modelOf(driver)?.candidate?.state).toBe('failed'), { timeout: 15_000 });
    driver.setDesired({ generation: 2, models: [release(2)] });
    expect(asked.filter((each) => each === 'load 2 on trial')).toHaveLength(1);
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
    const one = release(1);
    driver.setDesired({ generation: 1, models: [one] });
    await vi.waitFor(() => expect(modelOf(driver)?.candidate?.state).toBe('probation'), { timeout: 15_000 });
    driver.update([{ name: 'm', version: 1, release: one.release, succeeded: 19, failed: 2 }], 0);
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
    driver.servingDied({ crashed: true, detail: 'it was ended by SIGFPE', suspects: [{ name: 'm', version: 2 }] }, 0);
    expect(modelOf(driver)).toMatchObject({ active: { version: 1 }, candidate: { state: 'failed' } });
    asked.length = 0;
    await driver.restore(letIn, 0);
    await vi.waitFor(() => expect(asked).toEqual(['load 1', 'activate 1']), { timeout: 15_000 });
  });

  it('tells a fresh serving process what is coming before callers are let in, and loads it then', async () => {
    const driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    driver.servingDied({ crashed: false, detail: 'it was ended by SIGKILL', suspects: [] }, 0);
    asked.length = 0;
    await driver.restore(letIn, 0);
    expect(letInWith).toEqual({ told: ['m 1 LOADING'], asked: [] });
    await vi.waitFor(() => expect(asked).toEqual(['load 1', 'activate 1']), { timeout: 15_000 });
  });

  it('quarantines a version that ends the process twice long after its probation, and leaves others alone', async () => {
    const driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    driver.setDesired({ generation: 2, models: [release(2)] });
    await settled(driver, 2);
    await vi.waitFor(() => expect(asked.at(-1)).toBe('unload 1'), { timeout: 15_000 });
    const death = (name: string) =>
      driver.servingDied({ crashed: true, detail: 'SIGFPE', suspects: [{ name, version: 2 }] }, 0);
    death('other');
    await driver.restore(letIn, 0);
    death('m');
    expect(modelOf(driver)).toMatchObject({ active: { version: 2 }, candidate: null });
    asked.length = 0;
    await driver.restore(letIn, 0);
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

  /** The state that an agent left behind which was killed or stopped after these events. */
  function leftBehind(target: DesiredModel, ...events: ModelEvent[]): void {
    const wanted = next(newModelState('m'), { kind: 'desired', model: target }, 1);
    createStateStore(database, pendingWrites(), log).save(
      events.reduce((state, event) => next(state, event, 1), wanted),
    );
  }

  it.each([
    ['fetched', []],
    ['verified', [{ kind: 'fetched' }]],
    ['proved', [{ kind: 'fetched' }, { kind: 'verified' }]],
    ['loaded', [{ kind: 'fetched' }, { kind: 'verified' }, { kind: 'proved' }]],
  ] satisfies [string, ModelEvent[]][])(
    'goes on where it ended when the agent ended while a version was %s',
    async (_, events) => {
      for (const cleanStop of [true, false]) {
        leftBehind(release(1), ...events);
        port = undefined; // It is there only after the models were started.
        await settled(await boot(cleanStop), 1);
        stop.abort();
        await running?.close();
      }
    },
  );

  it('tries a version again whose proof was ended from outside', async () => {
    const killed = new AppError('unavailable', "the model's proof was ended by SIGKILL");
    const short = Object.assign(new Error('too many open files'), { code: 'EMFILE' });
    proofs.push(killed, short, undefined);
    const driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await vi.waitFor(() => expect(modelOf(driver)?.candidate?.error?.message).toMatch(/SIGKILL/), { timeout: 15_000 });
    await settled(driver, 1);
    expect(proofs).toEqual([]);
  });

  it('waits for room on the disk with the reason, also for its own state, and tries nothing new meanwhile', async () => {
    const driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    await vi.waitFor(() => expect(asked.at(-1)).toBe('load 1'), { timeout: 15_000 });
    let refusedWrites = 0;
    saving = () => {
      refusedWrites += 1;
      throw Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' });
    };
    asked.length = 0;
    driver.setDesired({ generation: 2, models: [release(2)] });
    await vi.waitFor(() => expect(refusedWrites).toBeGreaterThan(2), { timeout: 15_000 });
    expect(modelOf(driver)?.candidate?.state).toBe('fetching');
    expect(asked).toEqual([]);
    saving = undefined;
    await settled(driver, 2);
  });

  it('serves no file that was changed on disk: the former one answers until it is fetched again', async () => {
    let driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    driver.setDesired({ generation: 2, models: [release(2)] });
    await settled(driver, 2);
    // It moves in among the others, which reads the file once more.
    await vi.waitFor(() => expect(asked.at(-1)).toBe('unload 1'), { timeout: 15_000 });
    stop.abort();
    await driver.close();
    const own = join(folder, 'models', 'm', '2');
    writeFileSync(join(own, 'model.onnx'), 'model x');
    driver = await boot(true);
    expect([...loaded]).not.toContainEqual([2, 'model x']);
    await vi.waitFor(() => expect(asked.slice(-2)).toEqual(['load 1', 'activate 1']), { timeout: 15_000 });
    // Nobody answers there, which is said beside the reason.
    await vi.waitFor(
      () => {
        const { active, candidate } = modelOf(driver) ?? {};
        expect(active?.version).toBe(1);
        expect(candidate?.error?.message).toMatch(/changed on disk.*control plane does not answer/);
      },
      { timeout: 15_000 },
    );
    // As if it had been fetched.
    await vi.waitFor(() => expect(existsSync(join(own, 'model.onnx.partial'))).toBe(true), { timeout: 15_000 });
    writeFileSync(join(own, 'model.onnx.partial'), 'model 2');
    await vi.waitFor(() => expect(modelOf(driver)).toMatchObject({ active: { version: 2 }, candidate: null }), {
      timeout: 30_000,
    });
    expect(loaded.get(2)).toBe('model 2');
  });

  it('finds a file in the background that changed without a trace, and replaces it', async () => {
    let driver = await boot(true);
    const one = release(1);
    driver.setDesired({ generation: 1, models: [one] });
    await settled(driver, 1);
    stop.abort();
    await driver.close();
    const own = join(folder, 'models', 'm', '1');
    writeFileSync(join(own, 'model.onnx'), 'model y');
    const { ino, size, mtimeNs, ctimeNs } = statSync(join(own, 'model.onnx'), { bigint: true });
    const looks = `${ino} ${size} ${mtimeNs} ${ctimeNs}`;
    writeFileSync(join(own, 'model.onnx.verified'), `${sha256(Buffer.from('model 1'))} ${looks}\n`);
    driver = await boot(true);
    await vi.waitFor(
      () => expect(modelOf(driver)).toMatchObject({ active: null, candidate: { error: { code: 'unavailable' } } }),
      { timeout: 15_000 },
    );
    expect(asked.at(-1)).toBe('unload 1');
  });

  it('serves by the release document that was desired, whatever became of it and of model.json on disk', async () => {
    let driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    stop.abort();
    await driver.close();
    const own = join(folder, 'models', 'm', '1');
    writeFileSync(join(own, 'model.json'), '{"capture":{"rate":1}}');
    const document = readFileSync(join(own, 'release.json'), 'utf8');
    driver = await boot(true);
    expect(readFileSync(join(own, 'model.json'), 'utf8')).not.toMatch(/"rate": ?1,/);
    expect(modelOf(driver)?.active?.version).toBe(1);
    stop.abort();
    await driver.close();
    writeFileSync(
      join(own, 'release.json'),
      document.replace('"FP32"', '"FP64"').replace('"manifest":{', '"manifest": {'),
    );
    asked.length = 0;
    driver = await boot(true);
    await vi.waitFor(() => expect(modelOf(driver)?.active).toBeNull(), { timeout: 15_000 });
    expect(asked.filter((each) => each.startsWith('load'))).toEqual([]);
  });

  it('tries another release under the number that runs, and goes back to the former bytes', async () => {
    let driver = await boot(true);
    const one = release(1);
    driver.setDesired({ generation: 1, models: [one] });
    await settled(driver, 1);
    stop.abort();
    await driver.close();
    driver = await boot(true, 60_000);
    const other = release(1, 'again', { text: 'other 1', at: 'beside' });
    driver.setDesired({ generation: 2, models: [other] });
    await vi.waitFor(() => expect(modelOf(driver)?.candidate?.state).toBe('probation'), { timeout: 15_000 });
    expect(modelOf(driver)).toMatchObject({ active: { version: 1, release: other.release } });
    expect(loaded.get(1)).toBe('other 1');
    driver.modelDied({ name: 'm', version: 1 }, { crashed: true, detail: 'SIGFPE' }, 0);
    expect(modelOf(driver)).toMatchObject({
      active: { version: 1, release: one.release },
      candidate: { state: 'failed', release: other.release },
    });
    await vi.waitFor(() => expect(loaded.get(1)).toBe('model 1'), { timeout: 15_000 });
    expect(asked.filter((each) => each.startsWith('unload'))).toEqual([]);
    stop.abort();
    await driver.close();
    // Once more, this time for good; found again after a restart.
    driver = await boot(true);
    driver.setDesired({ generation: 3, models: [{ ...release(1, 'third', { text: 'other 1', at: 'beside' }) }] });
    await vi.waitFor(
      () => expect(modelOf(driver)).toMatchObject({ active: { release: other.release }, candidate: null }),
      {
        timeout: 15_000,
      },
    );
    stop.abort();
    await driver.close();
    loaded.clear();
    driver = await boot(true);
    expect(modelOf(driver)?.active?.release).toBe(other.release);
    expect(loaded.get(1)).toBe('other 1');
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

describe('a version beside what answers', () => {
  const told = (version: number): DesiredModel => {
    const { name: _, ...order } = release(version, 'shadowing');
    return { ...release(1), beside: { ...order, mode: 'shadow' } };
  };
  const besideIt = (driver: ModelDriver) => modelOf(driver)?.beside?.state;
  const until = (check: () => void) => vi.waitFor(check, { timeout: 15_000 });

  async function shadowing(): Promise<ModelDriver> {
    const driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    driver.setDesired({ generation: 2, models: [told(2)] });
    await until(() => expect(besideIt(driver)).toBe('running'));
    return driver;
  }

  it('is attached while it is wanted, after a restart of what serves too, and changes nothing of what answers', async () => {
    const driver = await shadowing();
    expect([...attached.values()]).toEqual([release(1).release]);
    expect(asked).not.toContain('activate 2');
    attached.clear();
    await driver.restore(letIn, 0);
    await until(() => expect(attached.size).toBe(1));
    driver.setDesired({ generation: 3, models: [release(1)] });
    await until(() => expect(attached.size).toBe(0));
    expect(modelOf(driver)).toMatchObject({ active: { version: 1 }, lastGood: 1, candidate: null });
    expect(modelOf(driver)?.beside).toBeUndefined();
  });

  it('goes on after the agent was ended in the midst of it', async () => {
    await shadowing();
    stop.abort();
    await running?.close();
    attached.clear();
    const driver = await boot(false);
    await until(() => expect(attached.size).toBe(1));
    expect(modelOf(driver)).toMatchObject({ active: { version: 1 }, beside: { state: 'running' } });
  });

  it('that cannot be loaded or crashes is refused, and goes; what answers does not notice', async () => {
    refuse.add(2);
    const driver = await boot(true);
    driver.setDesired({ generation: 1, models: [release(1)] });
    await settled(driver, 1);
    driver.setDesired({ generation: 2, models: [told(2)] });
    await until(() => expect(modelOf(driver)?.beside).toMatchObject({ state: 'failed', error: { kind: 'load' } }));
    driver.setDesired({ generation: 3, models: [told(3)] });
    await until(() => expect(besideIt(driver)).toBe('running'));
    driver.modelDied({ name: 'm', version: 3 }, { crashed: true, detail: 'SIGFPE', beside: true }, 0);
    await until(() => expect(attached.size).toBe(0));
    expect(modelOf(driver)).toMatchObject({
      active: { version: 1 },
      beside: { state: 'failed', error: { kind: 'crash' } },
    });
  });

  it('is let go of while the machine is short of something, and comes back', async () => {
    const driver = await shadowing();
    short = 'the device is short of memory: 3 MB are free';
    await until(() => expect(attached.size).toBe(0));
    expect(modelOf(driver)?.beside).toMatchObject({ state: 'suspended', error: { message: short } });
    short = undefined;
    await until(() => expect(attached.size).toBe(1));
    expect(besideIt(driver)).toBe('running');
  });

  it('gives way to a version that is to answer', async () => {
    const driver = await shadowing();
    driver.setDesired({ generation: 3, models: [release(3)] });
    await settled(driver, 3);
    await until(() => expect(attached.size).toBe(0));
    expect(modelOf(driver)?.beside).toBeUndefined();
  });
});
