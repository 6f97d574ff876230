// A model that is fetched over a network that cuts connections and lets them stall, again and again.
import { createPrivateKey, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sha256 } from '@edgeloop/shared/node/digests';
import { createFleetKey, signRelease } from '@edgeloop/shared/node/signing';
import { Release } from '@edgeloop/shared/release';
import { afterEach, expect, it } from 'vitest';
import { createDevicePort } from '../../identity/device-port.ts';
import { listenHttps } from '../../identity/device-port-fixture.ts';
import { createModelStore } from '../store.ts';
import { createBandwidth } from './bandwidth.ts';
import { fetchModel, verifyModel } from './fetch.ts';
import { segmentBytes, segmentsOf } from './segments-fixture.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

type Fate = 'cut' | 'stall';

/** Each connection through it ends after so many bytes to the device: cut, or silent from then on. */
class BadProxy {
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  readonly ends: Fate[] = [];
  bytes = 0;
  #connections = 0;

  constructor(target: number) {
    this.#server = createServer((device) => this.#carry(device, connect(target, '127.0.0.1')));
    closing.push(() => {
      for (const socket of this.#sockets) socket.destroy();
      this.#server.close();
    });
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const address: AddressInfo | string | null = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    return address.port;
  }

  #carry(device: Socket, upstream: Socket): void {
    const nth = this.#connections++;
    const fate: Fate = nth % 8 === 2 ? 'stall' : 'cut';
    // In the end it is a good network.
    const isBad = nth < 16;
    // Some end before anything was said, some within a segment, some after several.
    let left = [700, 0.4, 1.7, 3.2, 2.1][nth % 5] ?? 1;
    if (left < 100) left *= segmentBytes;
    for (const socket of [device, upstream]) {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        device.destroy();
        upstream.destroy();
      });
    }
    device.pipe(upstream);
    upstream.on('data', (bytes) => {
      if (isBad && left <= 0) return;
      this.bytes += bytes.length;
      left -= bytes.length;
      device.write(bytes);
      if (!isBad || left > 0) return;
      this.ends.push(fate);
      if (fate === 'cut') device.destroy();
    });
  }
}

it('arrives over connections that are cut and stall, and what has come does not come again', {
  timeout: 120_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'flapping-'));
  closing.push(() => rmSync(folder, { recursive: true }));
  const fleet = createFleetKey();
  const bytes = randomBytes(20 * segmentBytes);
  const document = Buffer.from(
    JSON.stringify(
      Release.parse({
        ...{ format: 1, name: 'm', version: 1, signature: { inputs: [], outputs: [] }, manifest: {} },
        artifact: { digest: sha256(bytes), sizeBytes: bytes.length, segments: segmentsOf(bytes) },
        golden: { samples: [] },
      }),
    ),
  );
  const release = sha256(document);
  const blobs = new Map([
    [release, document],
    [sha256(bytes), bytes],
  ]);
  const server = await listenHttps((request, response) => {
    const blob = blobs.get(request.url?.split('/').at(-1) ?? '') ?? Buffer.alloc(0);
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const part = range === null ? blob : blob.subarray(Number(range[1]), Number(range[2]) + 1);
    response.writeHead(range === null ? 200 : 206, { 'content-length': part.length });
    response.end(part);
  });
  closing.push(() => server.close());
  const proxy = new BadProxy(server.port);
  const tls = { ca: server.ca };
  const port = createDevicePort({ hosts: ['127.0.0.1'], port: await proxy.listen(), tls, silenceMs: 1000 });
  closing.push(() => port.close());
  const bandwidth = createBandwidth(undefined);
  const source = { port, store: createModelStore(folder), trustedKeys: [fleet.publicKeyPem], bandwidth };
  const signature = signRelease(release, createPrivateKey(fleet.privateKeyPem));
  const target = { name: 'm', version: 1, release, signature, rolloutId: 'r' };
  const signal = AbortSignal.timeout(110_000);

  let failures = 0;
  for (let isThere = false; !isThere; ) {
    try {
      await fetchModel(source, target, { keep: [], signal });
      isThere = true;
    } catch (error) {
      // Never a word against the model.
      expect(error).toMatchObject({ code: 'unavailable' });
      failures += 1;
    }
  }
  await verifyModel(source, target, signal);
  expect(readFileSync((await source.store.modelFiles(target)).path).equals(bytes)).toBe(true);
  expect(failures).toBeGreaterThan(3);
  expect(new Set(proxy.ends)).toEqual(new Set(['cut', 'stall']));
  // A segment at most is lost with each connection, beside what TLS and HTTP take.
  expect(proxy.bytes).toBeLessThan(bytes.length * 1.02 + proxy.ends.length * (segmentBytes + 16_384));
});
