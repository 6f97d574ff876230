import { createPrivateKey, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import type { DesiredModel } from '@edgeloop/shared/messages';
import { sha256 } from '@edgeloop/shared/node/digests';
import { createFleetKey, signRelease } from '@edgeloop/shared/node/signing';
import { Release } from '@edgeloop/shared/release';
import type { Abilities } from '@edgeloop/shared/variants';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type DeviceDatabase, openDatabase } from '../../database/open.ts';
import { createDevicePort, type DevicePort } from '../../identity/device-port.ts';
import { listenHttps, type PortFixture } from '../../identity/device-port-fixture.ts';
import type { ModelFiles } from '../../process/ipc.ts';
import { pendingWrites } from '../../storage/pending-writes-fixture.ts';
import { createFileCheck } from '../file-check.ts';
import { createModelStore } from '../store.ts';
import type { Proof } from '../trying/prove.ts';
import { createQuarantine } from '../trying/quarantine.ts';
import { createBandwidth } from './bandwidth.ts';
import { fetchModel, verifyModel } from './fetch.ts';
import { ModelDriver } from './model-driver.ts';
import { quickest } from './quickest.ts';
import { segmentBytes, segmentsOf } from './segments-fixture.ts';
import { createStateStore } from './state-store.ts';

const log = pino({ level: 'silent' });
const fleet = createFleetKey();
const device: Abilities = {
  ...{ arch: 'arm64', platform: 'linux', memoryBytes: 2 ** 30, cpus: 4, cpuFeatures: undefined, providers: ['cpu'] },
  agentVersion: '1.0.0',
};
const blobs = new Map<string, Buffer>();
let folder = '';
let database: DeviceDatabase;
let server: PortFixture;
let port: DevicePort;
let stop: AbortController;
let running: ModelDriver | undefined;
let fetchedBytes = 0;
/** What the serving process was given last. */
let loaded: ModelFiles | undefined;
/** What proofs come to, by variant; nothing is wrong with others. */
let proofs: Record<string, Proof> = {};
let proved: string[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'agent-variants-'));
  database = openDatabase(join(folder, 'agent.db'), log);
  blobs.clear();
  [fetchedBytes, loaded, proofs, proved, running] = [0, undefined, {}, [], undefined];
  stop = new AbortController();
  server = await listenHttps((request, response) => {
    const blob = blobs.get(request.url?.split('/').at(-1) ?? '');
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    if (blob === undefined) return void response.writeHead(404).end();
    const bytes = range === null ? blob : blob.subarray(Number(range[1]), Number(range[2]) + 1);
    if (range !== null) fetchedBytes += bytes.length;
    response.writeHead(range === null ? 200 : 206, { 'content-length': bytes.length }).end(bytes);
  });
  port = createDevicePort({ hosts: ['127.0.0.1'], port: server.port, tls: { ca: server.ca } });
});
afterEach(async () => {
  stop.abort();
  await running?.close();
  await port.close();
  server.close();
  database.$client.close();
  rmSync(folder, { recursive: true });
});

const artifactOf = (bytes: Buffer) => {
  blobs.set(sha256(bytes), bytes);
  return { digest: sha256(bytes), sizeBytes: bytes.length, segments: segmentsOf(bytes) };
};
const plainBytes = randomBytes(3 * segmentBytes);
const int8Bytes = Buffer.concat([plainBytes.subarray(0, 2 * segmentBytes), randomBytes(segmentBytes)]);

function publish(version: number, more: object = {}): DesiredModel {
  const release = {
    ...{ format: 1, name: 'm', version, artifact: artifactOf(plainBytes), signature: { inputs: [], outputs: [] } },
    ...{ manifest: {}, golden: { samples: [] }, ...more },
  };
  const document = Buffer.from(JSON.stringify(Release.parse(release)));
  const digest = sha256(document);
  blobs.set(digest, document);
  const signature = signRelease(digest, createPrivateKey(fleet.privateKeyPem));
  return { name: 'm', version, release: digest, signature, rolloutId: `r${version}` };
}
const int8 = (requires: object = {}, more: object = {}) => ({
  name: 'int8',
  artifact: artifactOf(int8Bytes),
  requires,
  ...more,
});

const store = () => createModelStore(join(folder, 'models'));
const source = (abilities: Abilities | undefined = device) => ({
  port,
  store: store(),
  trustedKeys: [fleet.publicKeyPem],
  bandwidth: createBandwidth(undefined),
  abilities: async () => abilities,
});
const filesIn = (version: number) =>
  readdirSync(join(folder, 'models', 'm', String(version)))
    .filter((name) => name.endsWith('.onnx'))
    .sort();

async function boot(more: Partial<ConstructorParameters<typeof ModelDriver>[0]> = {}): Promise<ModelDriver> {
  const serving = {
    up: async () => undefined,
    load: async (files: ModelFiles) => {
      loaded = files;
    },
    activate: async () => undefined,
    unload: async () => undefined,
    attach: async () => undefined,
    detach: async () => undefined,
    tell: () => undefined,
  };
  running = new ModelDriver({
    states: createStateStore(database, pendingWrites(), log),
    fileCheck: createFileCheck(log),
    store: store(),
    serving: { ...serving, processes: [serving] },
    source,
    prove: async ({ variant = 'one file' }, _signal, measure) => {
      proved.push(`${variant}${measure ? ' measured' : ''}`);
      return proofs[variant] ?? {};
    },
    tuningOf: () => undefined,
    tune: async () => undefined,
    quarantine: createQuarantine(database, pendingWrites(), Date.now),
    probationMs: 50,
    hold: () => undefined,
    shortage: () => undefined,
    log,
    onChange: () => undefined,
    ...more,
  });
  await running.start(stop.signal, true);
  await running.restore(() => undefined, 0);
  return running;
}
const bring = async (driver: ModelDriver, model: DesiredModel, generation = 1) => {
  driver.setDesired({ generation, models: [model] });
  await vi.waitFor(
    () => {
      const [report] = driver.report();
      if (report?.candidate?.state !== 'failed')
        expect(report).toMatchObject({ lastGood: model.version, candidate: null });
    },
    { timeout: 15_000 },
  );
  return driver.report()[0];
};
const took = (medianMs: number): Proof => ({ measured: { medianMs, runs: 15 } });

describe('a version with variants', () => {
  it('is run by the first whose requirements hold, and only that one is fetched', async () => {
    const cuda = { name: 'cuda', artifact: artifactOf(randomBytes(100)), requires: { provider: 'cuda' } };
    const tolerance = { absolute: 0.5, relative: 0 };
    const acceptance = { maxMemoryMb: 100 };
    const target = publish(1, { variants: [cuda, int8({ arch: ['arm64'] }, { tolerance })], acceptance });
    const report = await bring(await boot(), target);
    expect(report?.active).toMatchObject({
      variant: 'int8',
      variantWhy: 'the first that fits: cuda needs the execution provider cuda, it has cpu',
    });
    expect(loaded).toMatchObject({ variant: 'int8', golden: { tolerance }, manifest: { acceptance } });
    expect(readFileSync(loaded?.path ?? '').equals(int8Bytes)).toBe(true);
    expect(filesIn(1)).toEqual(['model.int8.onnx']);
    expect(fetchedBytes).toBe(int8Bytes.length);
    expect(proved).toEqual(['int8']);
  });

  it('is run by the plain file where nothing else fits', async () => {
    const report = await bring(await boot(), publish(1, { variants: [int8({ arch: ['x64'] })] }));
    expect(report?.active).toMatchObject({ variant: 'default', variantWhy: expect.stringContaining('it is arm64') });
    expect(filesIn(1)).toEqual(['model.onnx']);
  });

  it('is run by one file as before, of which nothing is said', async () => {
    const report = await bring(await boot(), publish(1));
    expect(report?.active).not.toHaveProperty('variant');
    expect(loaded).not.toHaveProperty('variant');
  });

  it('is refused by its contract where none fits, with what each needs', async () => {
    const plain = { name: 'default', requires: { memoryMb: 4096 } };
    const report = await bring(await boot(), publish(1, { variants: [int8({ arch: ['x64'] }), plain] }));
    expect(report?.candidate).toMatchObject({ state: 'failed', error: { code: 'unsupported', kind: 'contract' } });
    expect(report?.candidate?.error?.message).toBe(
      'no variant of m 1 fits this device: int8 needs arch x64, it is arm64; default needs 4096 MB of memory, it has 1024',
    );
  });

  it('shares segments among its variants and with other versions', async () => {
    const both = publish(1, { variants: [int8()], select: 'measure' });
    await fetchModel(source(), both, { keep: [], signal: stop.signal });
    expect(fetchedBytes).toBe(plainBytes.length + segmentBytes);
    await verifyModel(source(), both, stop.signal);
    const later = publish(2, { variants: [int8({ arch: ['x64'] })] });
    await fetchModel(source(), later, { keep: [], signal: stop.signal });
    expect(fetchedBytes).toBe(plainBytes.length + segmentBytes);
  });

  it('goes on with its plain file where an agent of before runs that', async () => {
    const target = publish(1, { variants: [int8()] });
    const former = publish(1);
    await fetchModel(source(), former, { keep: [], signal: stop.signal });
    await verifyModel(source(), former, stop.signal);
    writeFileSync(join(folder, 'models', 'm', '1', 'release.json'), blobs.get(target.release) ?? '');
    await fetchModel(source(), target, { keep: [], signal: stop.signal });
    expect(store().choiceOf(target)).toMatchObject({ variant: 'default' });
    expect(filesIn(1)).toEqual(['model.onnx']);
  });
});

describe('a version whose variants are measured', () => {
  it('keeps the quickest, and the files of no other', async () => {
    proofs = { int8: took(3), default: took(7) };
    const driver = await boot();
    const report = await bring(
      driver,
      publish(1, { variants: [{ name: 'default', requires: {} }, int8()], select: 'measure' }),
    );
    expect(proved).toEqual(['default measured', 'int8 measured']);
    expect(report?.active).toMatchObject({
      variant: 'int8',
      variantWhy: 'the quickest here: default 7 ms; int8 3 ms',
      measured: { medianMs: 3, runs: 15 },
    });
    expect(filesIn(1)).toEqual(['model.int8.onnx']);
    stop.abort();
    await running?.close();
    stop = new AbortController();
    expect((await boot()).report()[0]?.active).toMatchObject({ variant: 'int8', measured: { medianMs: 3 } });
    await vi.waitFor(() => expect(loaded?.variant).toBe('int8'));
    expect(proved).toHaveLength(2);
  });

  it('leaves out one that fails, and fails when all do', async () => {
    const failure = { code: 'unsupported', message: 'it takes 9 MB', kind: 'contract' } as const;
    proofs = { int8: { failure, ...took(3) }, default: took(7) };
    const driver = await boot();
    const first = await bring(driver, publish(1, { variants: [int8()], select: 'measure' }));
    expect(first?.active).toMatchObject({
      variant: 'default',
      variantWhy: 'the quickest here: int8 failed: it takes 9 MB; default 7 ms',
    });
    proofs = { int8: { failure }, default: { failure: { ...failure, kind: 'golden', message: 'golden sample 0' } } };
    const second = await bring(driver, publish(2, { variants: [int8()], select: 'measure' }), 2);
    expect(second).toMatchObject({ active: { version: 1, variant: 'default' }, lastGood: 1 });
    expect(second?.candidate?.error).toEqual({
      code: 'unsupported',
      message: 'int8 failed: it takes 9 MB; default failed: golden sample 0',
      kind: 'contract',
    });
  });

  it('stays in the stated order for a difference within the noise', () => {
    const names = (a: number, b: number) =>
      quickest([
        { name: 'a', proof: took(a) },
        { name: 'b', proof: took(b) },
      ]).choice?.variant;
    expect(names(10, 9.8)).toBe('a');
    expect(names(10, 9)).toBe('b');
  });
});

it('goes back to the variant that was good', async () => {
  const driver = await boot();
  await bring(driver, publish(1, { variants: [int8()] }));
  await bring(driver, publish(2), 2);
  const report = await bring(driver, publish(1, { variants: [int8()] }), 3);
  expect(report?.active).toMatchObject({ version: 1, variant: 'int8' });
  expect(existsSync(join(folder, 'models', 'm', '1', 'variant.json'))).toBe(true);
});

it('is refused when a bound is broken, and what was good goes on', async () => {
  const driver = await boot();
  await bring(driver, publish(1));
  const message = 'the 90 % quantile of 20 runs takes 9 ms on this device, its bound is 5 ms';
  proofs = { 'one file': { failure: { code: 'unsupported', message, kind: 'contract' } } };
  const report = await bring(driver, publish(2, { acceptance: { maxLatencyMs: 5 } }), 2);
  expect(report).toMatchObject({
    active: { version: 1 },
    candidate: { version: 2, error: { kind: 'contract', message } },
  });
});

describe('the end of a probation', () => {
  it('runs the golden samples again where the version answers, and goes back when one does not reproduce', async () => {
    const asked: string[] = [];
    const driver = await boot({
      rerunGolden: async ({ version }) => {
        asked.push(`${version}`);
        if (version === 2) throw new AppError('model_rejected', 'golden sample 0: output "y" value 0 is 2, expected 1');
      },
    });
    await bring(driver, publish(1));
    const report = await bring(
      driver,
      publish(2, { golden: { samples: [], tolerance: {} }, manifest: { description: '2' } }),
      2,
    );
    expect(asked).toEqual(['1', '2']);
    expect(report).toMatchObject({ active: { version: 1 }, lastGood: 1, candidate: { version: 2, state: 'failed' } });
    expect(report?.candidate?.error).toMatchObject({
      kind: 'golden',
      message: 'at the end of its probation, golden sample 0: output "y" value 0 is 2, expected 1',
    });
  });

  it('holds nothing against a version whose samples did not come to be run', async () => {
    const hindered = [new AppError('unavailable', 'too many wait'), new AppError('unavailable', 'too many wait')];
    const driver = await boot({
      rerunGolden: async () => {
        const error = hindered.pop();
        if (error !== undefined) throw error;
      },
    });
    expect(await bring(driver, publish(1))).toMatchObject({ lastGood: 1, candidate: null });
    expect(hindered).toEqual([]);
  });

  it('judges a few requests, too', async () => {
    const driver = await boot({ probationMs: 1500 });
    const [one, two] = [publish(1), publish(2)];
    await bring(driver, one);
    driver.setDesired({ generation: 2, models: [two] });
    await vi.waitFor(() => expect(driver.report()[0]?.candidate?.state).toBe('probation'), { timeout: 15_000 });
    driver.update([{ name: 'm', version: 2, release: two.release, succeeded: 0, failed: 4 }], 0);
    const report = await bring(driver, two, 2);
    expect(report).toMatchObject({ active: { version: 1 }, candidate: { error: { kind: 'probation' } } });
    expect(report?.candidate?.error?.message).toBe('4 of 4 requests failed in its probation');
  });
});

it('tries a step again that does not end, and says so', async () => {
  let waits = 0;
  const never = (signal: AbortSignal) =>
    new Promise<void>((_, reject) => {
      waits += 1;
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
  const gone = {
    up: never,
    load: async () => undefined,
    activate: async () => undefined,
    unload: async () => undefined,
    attach: async () => undefined,
    detach: async () => undefined,
    tell: () => undefined,
  };
  const driver = await boot({ deadlineMs: 2000, serving: { ...gone, processes: [gone] } });
  driver.setDesired({ generation: 1, models: [publish(1)] });
  await vi.waitFor(
    () => expect(driver.report()[0]?.candidate?.error?.message).toBe('the step "load" did not end within 2 s'),
    { timeout: 15_000 },
  );
  await vi.waitFor(() => expect(waits).toBeGreaterThan(1), { timeout: 15_000 });
});
