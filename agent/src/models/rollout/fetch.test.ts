import { createPrivateKey, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DesiredModel } from '@edgeloop/shared/messages';
import { sha256 } from '@edgeloop/shared/node/digests';
import { createFleetKey, signRelease } from '@edgeloop/shared/node/signing';
import { Release } from '@edgeloop/shared/release';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../../../../test/support/until.ts';
import { createDevicePort, type DevicePort } from '../../identity/device-port.ts';
import { listenHttps, type PortFixture } from '../../identity/device-port-fixture.ts';
import { DamagedFile } from '../failure.ts';
import { createModelStore } from '../store.ts';
import { createBandwidth } from './bandwidth.ts';
import { download } from './download.ts';
import { type FetchSource, fetchModel, verifyModel } from './fetch.ts';
import { segmentBytes, segmentsOf } from './segments-fixture.ts';
import { placed } from './segments-on-disk.ts';

const fleet = createFleetKey();
const blobs = new Map<string, Buffer>();
let folder = '';
let server: PortFixture;
let source: FetchSource & { port: DevicePort };
let bytesSent = 0;
let knowsRanges = true;
/** Ranges of artifacts that were asked for. */
let requests: string[] = [];
/** What the server does to the body of an artifact's range. */
let disturb: (bytes: Buffer, response: ServerResponse) => Buffer | undefined = (bytes) => bytes;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'agent-models-'));
  blobs.clear();
  bytesSent = 0;
  disturb = (bytes) => bytes;
  server = await listenHttps((request, response) => {
    const blob = blobs.get(request.url?.split('/').at(-1) ?? '');
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    if (blob === undefined) response.writeHead(404).end();
    else if (range === null) response.end(blob);
    else if (!knowsRanges) {
      requests.push('whole');
      response.end(blob);
    } else {
      requests.push(range[0]);
      const whole = blob.subarray(Number(range[1]), Number(range[2]) + 1);
      response.writeHead(206, { 'content-length': whole.length });
      const bytes = disturb(whole, response);
      bytesSent += bytes?.length ?? 0;
      if (bytes !== undefined) response.end(bytes);
    }
  });
  const port = createDevicePort({ hosts: ['127.0.0.1'], port: server.port, tls: { ca: server.ca } });
  source = {
    port,
    store: createModelStore(folder),
    trustedKeys: [fleet.publicKeyPem],
    bandwidth: createBandwidth(undefined),
  };
  knowsRanges = true;
  requests = [];
});
afterEach(async () => {
  await source.port.close();
  server.close();
  rmSync(folder, { recursive: true });
});

function publish(version: number, bytes: Buffer, artifact: { digest?: string } = {}, name = 'm'): DesiredModel {
  const release: Release = Release.parse({
    format: 1,
    name,
    version,
    artifact: { digest: sha256(bytes), sizeBytes: bytes.length, segments: segmentsOf(bytes), ...artifact },
    signature: { inputs: [], outputs: [] },
    manifest: {},
    golden: { samples: [] },
  });
  const document = Buffer.from(JSON.stringify(release));
  const digest = sha256(document);
  blobs.set(digest, document);
  blobs.set(sha256(bytes), bytes);
  const signature = signRelease(digest, createPrivateKey(fleet.privateKeyPem));
  return { name, version, release: digest, signature, rolloutId: 'r' };
}

const fetched = (target: DesiredModel, keep: string[] = []) =>
  fetchModel(source, target, { keep, signal: AbortSignal.timeout(60_000) });
const verified = (target: DesiredModel, from: FetchSource = source) =>
  verifyModel(from, target, AbortSignal.timeout(60_000));
const modelPath = (version: number) => join(folder, 'm', String(version), 'model.onnx');

describe('a model that is fetched', () => {
  it('is on disk byte for byte once verified, and not before', async () => {
    const bytes = randomBytes(3 * segmentBytes + 17);
    const target = publish(1, bytes);
    await fetched(target);
    expect(existsSync(modelPath(1))).toBe(false);
    await verified(target);
    expect(readFileSync(modelPath(1)).equals(bytes)).toBe(true);
    expect(await source.store.modelFiles(target)).toMatchObject({ path: modelPath(1), golden: { samples: [] } });
  });

  it('goes on where a broken transfer stopped', async () => {
    const bytes = randomBytes(6 * segmentBytes);
    const target = publish(1, bytes);
    disturb = (whole, response) => {
      response.write(whole.subarray(0, 4 * segmentBytes + 100), () => response.destroy());
      return undefined;
    };
    await expect(fetched(target)).rejects.toMatchObject({ code: 'unavailable' });
    disturb = (whole) => whole;
    await fetched(target);
    expect(bytesSent).toBe(2 * segmentBytes);
    await verified(target);
    expect(readFileSync(modelPath(1)).equals(bytes)).toBe(true);
  });

  it('takes unchanged segments from another version on disk', async () => {
    const first = randomBytes(8 * segmentBytes);
    const second = Buffer.from(first);
    randomBytes(10).copy(second, 5 * segmentBytes);
    const [one, two] = [publish(1, first), publish(2, second)];
    await fetched(one);
    await verified(one);
    bytesSent = 0;
    await fetched(two);
    expect(bytesSent).toBe(segmentBytes);
    await verified(two);
    expect(readFileSync(modelPath(2)).equals(second)).toBe(true);
  });

  it('takes segments from versions of other models, too', async () => {
    const shared = randomBytes(3 * segmentBytes);
    const one = publish(1, Buffer.concat([randomBytes(segmentBytes), shared]), {}, 'other');
    await fetched(one);
    await verified(one);
    bytesSent = 0;
    const two = publish(1, Buffer.concat([shared, randomBytes(100)]));
    await fetched(two);
    expect(bytesSent).toBe(100);
    await verified(two);
  });

  it('is fetched once where the same bytes lie in several places', async () => {
    const piece = randomBytes(segmentBytes);
    const bytes = Buffer.concat([piece, randomBytes(segmentBytes), piece, piece, Buffer.alloc(2 * segmentBytes)]);
    const target = publish(1, bytes);
    await fetched(target);
    expect(bytesSent).toBe(3 * segmentBytes);
    await verified(target);
    expect(readFileSync(modelPath(1)).equals(bytes)).toBe(true);
  });

  it('comes whole, once, from a server that knows no ranges', async () => {
    const first = randomBytes(9 * segmentBytes);
    const second = Buffer.from(first);
    for (const place of [1, 4, 7]) randomBytes(10).copy(second, place * segmentBytes);
    const one = publish(1, first);
    await fetched(one);
    await verified(one);
    const two = publish(2, second);
    knowsRanges = false;
    requests = [];
    await fetched(two);
    expect(requests).toEqual(['whole']);
    await verified(two);
  });

  it('comes in several ranges at a time where what has changed is scattered', async () => {
    const first = randomBytes(16 * segmentBytes);
    const second = Buffer.from(first);
    for (const place of [1, 4, 7, 10, 13]) randomBytes(10).copy(second, place * segmentBytes);
    const one = publish(1, first);
    await fetched(one);
    await verified(one);
    const two = publish(2, second);
    requests = [];
    const waiting: (() => void)[] = [];
    let most = 0;
    disturb = (whole, response) => {
      if (requests.length === 1) return whole;
      waiting.push(() => response.end(whole));
      most = Math.max(most, waiting.length);
      if (waiting.length === 3 || requests.length === 5) for (const answer of waiting.splice(0)) answer();
      return undefined;
    };
    await fetched(two);
    expect(most).toBe(3);
    await verified(two);
    expect(readFileSync(modelPath(2)).equals(second)).toBe(true);
  });

  it.each(['device', 'order'] as const)('comes no faster than the %s allows', async (whose) => {
    // 64 kB at 1024 kbit/s take half a second.
    const bandwidth = createBandwidth(whose === 'device' ? 1024 : undefined);
    const target = { ...publish(1, randomBytes(64_000)), ...(whose === 'order' ? { bandwidthKbps: 1024 } : {}) };
    const begunMs = performance.now();
    await fetchModel({ ...source, bandwidth }, target, { keep: [], signal: AbortSignal.timeout(60_000) });
    expect(performance.now() - begunMs).toBeGreaterThan(495);
    await verified(target);
  });

  it('waits for the slower of two bounds, not for both in turn', async () => {
    const bytes = randomBytes(1000);
    publish(1, bytes);
    const file = await open(join(folder, 'file'), 'w');
    let letGo = (): void => undefined;
    const first = {
      took: () =>
        new Promise<void>((resolve) => {
          letGo = resolve;
        }),
    };
    const second = { took: async () => letGo() };
    const missing = placed(segmentsOf(bytes));
    const path = `/device/v1/blobs/${sha256(bytes)}`;
    const signal = AbortSignal.timeout(20_000);
    await download({ port: source.port, path, file, missing, bandwidths: [first, second], signal });
    await file.close();
    expect(readFileSync(join(folder, 'file')).equals(bytes)).toBe(true);
  });

  it('ends at once when it is given up while it waits for its turn on a slow link', async () => {
    const target = publish(1, randomBytes(64_000));
    const ending = new AbortController();
    const fetching = fetchModel({ ...source, bandwidth: createBandwidth(1) }, target, {
      keep: [],
      signal: ending.signal,
    });
    await until('a request', async () => requests[0]);
    ending.abort();
    await expect(fetching).rejects.toThrow();
  });

  it('is asked for again when a segment arrives with a wrong byte', async () => {
    const target = publish(1, randomBytes(2 * segmentBytes));
    let tampered = false;
    disturb = (whole) => {
      const bytes = Buffer.from(whole);
      if (!tampered) bytes.writeUInt8(bytes.readUInt8(0) ^ 1, 0);
      tampered = true;
      return bytes;
    };
    await fetched(target);
    await verified(target);
  });

  it('is refused when its bytes stay wrong', async () => {
    const target = publish(1, randomBytes(segmentBytes));
    disturb = (whole) => Buffer.alloc(whole.length);
    await expect(fetched(target)).rejects.toMatchObject({ code: 'integrity' });
    expect(existsSync(modelPath(1))).toBe(false);
  });

  it('is refused when its release is signed by another key or is another one', async () => {
    const target = publish(1, randomBytes(100));
    const stranger = createPrivateKey(createFleetKey().privateKeyPem);
    await expect(fetched({ ...target, signature: signRelease(target.release, stranger) })).rejects.toThrow(
      /signed by no key that this device trusts/,
    );
    await expect(fetched({ ...target, version: 2 })).rejects.toThrow(/is one of m 1/);
    blobs.set(target.release, Buffer.from('{}'));
    await expect(fetched(target)).rejects.toThrow(/does not have the desired SHA-256/);
  });

  it('is fetched again, what was changed of it only, when its file was changed on disk', async () => {
    const bytes = randomBytes(4 * segmentBytes);
    const target = publish(1, bytes);
    await fetched(target);
    const partial = source.store.partialPath(target);
    const spoilt = readFileSync(partial);
    spoilt.writeUInt8(spoilt.readUInt8(segmentBytes) ^ 1, segmentBytes);
    writeFileSync(partial, spoilt);
    await expect(verified(target)).rejects.toBeInstanceOf(DamagedFile);
    expect(existsSync(modelPath(1))).toBe(false);
    bytesSent = 0;
    await fetched(target);
    await verified(target);
    expect(bytesSent).toBe(segmentBytes);
    expect(readFileSync(modelPath(1)).equals(bytes)).toBe(true);
  });

  it('is refused and removed when its release names another file than its segments make', async () => {
    const bytes = randomBytes(100);
    const target = publish(1, bytes, { digest: sha256(randomBytes(100)) });
    blobs.set(JSON.parse(blobs.get(target.release)?.toString() ?? '').artifact.digest, bytes);
    await fetched(target);
    await expect(verified(target)).rejects.toMatchObject({ code: 'integrity' });
    await expect(verified(target)).rejects.toBeInstanceOf(DamagedFile);
    expect(await source.store.list('m')).toEqual([]);
  });

  it('is verified without a connection, and not before the fleet is known', async () => {
    const target = publish(1, randomBytes(100));
    await fetched(target);
    await expect(verified(target, { ...source, trustedKeys: undefined })).rejects.toMatchObject({
      code: 'unavailable',
    });
    await verified(target, { ...source, port: undefined });
    await fetchModel({ ...source, port: undefined }, target, { keep: [], signal: AbortSignal.timeout(60_000) });
    expect(existsSync(modelPath(1))).toBe(true);
  });

  it('lies beside another release of its number as long as that must be kept, and shares its segments', async () => {
    const first = randomBytes(3 * segmentBytes);
    const second = Buffer.concat([first.subarray(0, 2 * segmentBytes), randomBytes(segmentBytes)]);
    const [one, two] = [publish(1, first), publish(1, second)];
    await fetched(one);
    await verified(one);
    bytesSent = 0;
    await fetched(two, [one.release]);
    await verified(two);
    expect(bytesSent).toBe(segmentBytes);
    expect(readFileSync(source.store.modelPath(one)).equals(first)).toBe(true);
    expect(readFileSync(source.store.modelPath(two)).equals(second)).toBe(true);
    // Found again by a store that knows nothing of before.
    const anew = createModelStore(folder);
    expect(await anew.isComplete(two)).toBe(true);
    expect((await anew.list('m')).map(({ release }) => release)).toEqual([one.release, two.release]);
    await anew.collect('m', [two], 0);
    expect(await anew.isComplete(one)).toBe(false);
    expect(await anew.isComplete(two)).toBe(true);
  });

  it('goes when it was never whole and nobody wants it, and stays where its document was damaged', async () => {
    const { store } = source;
    const [wanted, spare, begun] = [1, 2, 3].map((version) => publish(version, randomBytes(200)));
    if (!wanted || !spare || !begun) return expect.unreachable();
    for (const release of [wanted, spare]) {
      await fetched(release);
      await verified(release);
    }
    await fetched(begun);
    expect(existsSync(store.partialPath(begun))).toBe(true);
    writeFileSync(join(store.folderOf(wanted), 'release.json'), 'damaged');
    await store.collect('m', [wanted], 1);
    expect((await store.list('m')).map(({ version }) => version)).toEqual([1, 2]);
    await store.collect('m', [wanted], 0);
    expect((await store.list('m')).map(({ version }) => version)).toEqual([1]);
  });

  it('takes the place of another release of its number that nobody needs', async () => {
    const [one, two] = [publish(1, randomBytes(200)), publish(1, randomBytes(300))];
    await fetched(one);
    await verified(one);
    await fetched(two);
    expect(await source.store.isComplete(two)).toBe(false);
    await verified(two);
    expect((await source.store.list('m')).map(({ release }) => release)).toEqual([two.release]);
  });
});
