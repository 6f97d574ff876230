import { createHash, randomFillSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeBundle } from '@edgeloop/shared/node/model-bundle';
import { encodeModel, type OnnxModel } from '@edgeloop/shared/onnx/encode';
import type { Artifact } from '@edgeloop/shared/release';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeArtifact } from './artifact.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'artifact-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function described(bytes: Uint8Array): Promise<Artifact> {
  const path = join(folder, 'file');
  writeFileSync(path, bytes);
  return describeArtifact(path);
}

/** Bytes that a device which holds `before` fetches of `after`. */
function fetchedBytes(before: Artifact, after: Artifact): number {
  const held = new Set(before.segments.map(({ digest }) => digest));
  const fetched = new Map(after.segments.filter(({ digest }) => !held.has(digest)).map((s) => [s.digest, s.sizeBytes]));
  return [...fetched.values()].reduce((sum, bytes) => sum + bytes, 0);
}

const layerFloats = 200_000;
const layerBytes = layerFloats * 4;

/** Weights as random as trained ones. */
function layer(): Float32Array {
  return randomFillSync(new Float32Array(layerFloats));
}

function modelOf(layers: readonly { name: string; data: Float32Array }[], producer = 'test'): Uint8Array {
  const model: OnnxModel = {
    irVersion: 8,
    opset: 17,
    producer: { name: producer, version: '1' },
    graph: {
      name: 'g',
      nodes: layers.map(({ name }, place) => ({
        opType: 'Add',
        inputs: [place === 0 ? 'x' : `y${place - 1}`, name],
        outputs: [`y${place}`],
      })),
      initializers: layers.map(({ name, data }) => ({ name, dims: [data.length], data })),
      inputs: [],
      outputs: [],
    },
  };
  return encodeModel(model);
}

const layers = Array.from({ length: 6 }, (_, place) => ({ name: `w${place}`, data: layer() }));

describe('the segments of a file', () => {
  it('are its bytes, in their order, of any file', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(255), fc.nat(400_000)), { maxLength: 4 }), async (runs) => {
        const bytes = Buffer.concat(
          runs.map(([value, length]) =>
            value < 200 ? randomFillSync(Buffer.alloc(length)) : Buffer.alloc(length, value),
          ),
        );
        const { digest, sizeBytes, segments } = await described(bytes);
        expect(sizeBytes).toBe(bytes.length);
        expect(digest).toBe(createHash('sha256').update(bytes).digest('hex'));
        let at = 0;
        for (const segment of segments) {
          expect(segment.sizeBytes).toBeGreaterThan(0);
          expect(segment.sizeBytes).toBeLessThanOrEqual(256 * 1024);
          const piece = bytes.subarray(at, at + segment.sizeBytes);
          expect(segment.digest).toBe(createHash('sha256').update(piece).digest('hex'));
          at += segment.sizeBytes;
        }
        expect(at).toBe(bytes.length);
      }),
      { numRuns: 20 },
    );
  });

  it.each([0, 3, 5])('cost a changed layer and little more, wherever it is stored (%i)', async (place) => {
    const before = await described(modelOf(layers));
    const changed = layers.map((each, i) => (i === place ? { ...each, data: layer() } : each));
    const fetched = fetchedBytes(before, await described(modelOf(changed)));
    expect(fetched).toBeGreaterThanOrEqual(layerBytes);
    expect(fetched).toBeLessThanOrEqual(layerBytes * 1.02);
  });

  it('cost one of them when the name of the producer gets longer', async () => {
    const before = await described(modelOf(layers));
    expect(fetchedBytes(before, await described(modelOf(layers, 'test with a longer name')))).toBeLessThan(16 * 1024);
  });

  it('cost next to nothing when layers get other names and another order', async () => {
    const before = await described(modelOf(layers));
    const renamed = layers.map(({ data }, i) => ({ name: `backbone.${i}.weight`, data })).reverse();
    expect(fetchedBytes(before, await described(modelOf(renamed)))).toBeLessThan(16 * 1024);
  });

  it('cost what is new when a layer is put in before all others', async () => {
    const before = await described(modelOf(layers));
    const fetched = fetchedBytes(before, await described(modelOf([{ name: 'new', data: layer() }, ...layers])));
    expect(fetched).toBeLessThanOrEqual(layerBytes * 1.02);
  });

  it('cost a few of them for bytes put into, or taken out of, a file that is no model', async () => {
    const bytes = randomFillSync(Buffer.alloc(4 * 1024 * 1024));
    const before = await described(bytes);
    for (const after of [
      Buffer.concat([Buffer.from('!'), bytes]),
      Buffer.concat([bytes.subarray(0, 2_000_000), Buffer.from('some bytes'), bytes.subarray(2_000_000)]),
      Buffer.concat([bytes.subarray(0, 1_000_000), bytes.subarray(1_000_100)]),
    ]) {
      expect(fetchedBytes(before, await described(after))).toBeLessThanOrEqual(2 * 256 * 1024);
    }
  });
});

describe('a file of several models', () => {
  it('costs a device only the model that has changed, whatever its size', async () => {
    const bundle = async (first: Uint8Array, second: Uint8Array) => {
      const path = join(folder, 'bundle');
      await writeBundle(path, [
        { name: 'a.onnx', bytes: first },
        { name: 'b.onnx', bytes: second },
      ]);
      return describeArtifact(path);
    };
    const [large, other] = [modelOf([{ name: 'w', data: layer() }]), modelOf([{ name: 'w', data: layer() }])];
    const before = await bundle(modelOf([], 'one'), large);
    const after = await bundle(modelOf([], 'one that is longer'), large);
    expect(fetchedBytes(before, after)).toBeLessThan(2048);
    const head = await bundle(large, other);
    expect(fetchedBytes(head, await bundle(large, modelOf([{ name: 'v', data: layer() }])))).toBeLessThan(
      other.length + 4096,
    );
    expect(after.segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBe(after.sizeBytes);
  });
});
