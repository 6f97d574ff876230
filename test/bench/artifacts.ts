// `pnpm bench artifacts`: what a device fetches of a new version of a model, when it holds the one before: by the segments of
// its release, and by blocks of a fixed size for comparison.
import { randomFillSync } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sha256 } from '@edgeloop/shared/node/digests';
import { type Place, sourceOf } from '@edgeloop/shared/onnx/fields';
import { tensorPlaces } from '@edgeloop/shared/onnx/tensor-places';
import type { Artifact } from '@edgeloop/shared/release';
import type { SegmentManifest } from '@edgeloop/shared/segments';
import { describeArtifact } from '../../control-plane/src/registry/artifact.ts';
import { mobileNet, perceptron } from '../support/onnx-models.ts';
import { temporaryFolder } from '../support/programs.ts';
import type { BenchOptions } from './inference.ts';
import { machine, printTable, writeResult } from './report.ts';
import { atMost, type Target } from './targets.ts';

const blockBytes = 256 * 1024;

interface Change {
  what: string;
  bytes: Buffer;
  /** Bytes that are new for sure: the layer. */
  newBytes: number;
}

export async function benchArtifacts({ data }: BenchOptions): Promise<void> {
  const folder = await temporaryFolder();
  const rows: string[][] = [];
  const targets: Target[] = [];
  try {
    for (const { name, bytes, further = [] } of modelsOf(data)) {
      const before = await describedAs(folder.path, bytes);
      rows.push([name, `${before.segments.length} segments`, kilobytes(bytes.length), '', '', '']);
      for (const { what, bytes: after, newBytes } of [...changesOf(bytes), ...further]) {
        const described = await describedAs(folder.path, after);
        const fetched = fetchedBytes(before.segments, described.segments);
        rows.push([
          '',
          what,
          kilobytes(newBytes),
          kilobytes(fetched),
          kilobytes(listBytes(described)),
          kilobytes(fetchedBytes(blocksOf(bytes), blocksOf(after))),
        ]);
        // What cannot be less than one segment is no share of the layer.
        if (newBytes > 1024 * 1024) targets.push(atMost(`${name}, ${what}: fetched / new`, [fetched / newBytes], 1.02));
      }
    }
  } finally {
    await folder.remove();
  }
  printTable(['model', 'change', 'new', 'fetched', 'segments in the release', 'by blocks of 256 KiB'], rows);
  printTable(
    ['target', 'measured', ''],
    targets.map(({ what, measured, met }) => [what, measured, met ? 'met' : 'NOT MET']),
  );
  console.log(writeResult('artifacts', { machine: machine(), rows, targets }));
}

interface BenchedModel {
  name: string;
  bytes: Buffer;
  /** Changes of this model alone. */
  further?: Change[];
}

/**
 * Twelve layers of 1024, 50 MB as they come from training; a network of the size and with the layers of MobileNetV2 1.4, whose
 * weights are made up; and each model that is found.
 */
function* modelsOf(data: string | undefined): Generator<BenchedModel> {
  yield { name: 'wide', bytes: Buffer.from(perceptron(Array.from({ length: 13 }, () => 1024))) };
  const mobile = Buffer.from(mobileNet());
  const quantised = Buffer.from(mobileNet({ quantised: true }));
  const inserted = Buffer.from(mobileNet({ inserted: 64 * 1024 }));
  yield {
    ...{ name: 'mobile', bytes: mobile },
    further: [
      { what: 'a layer of 256 KiB in front', bytes: inserted, newBytes: 256 * 1024 },
      { what: 'its quantised variant', bytes: quantised, newBytes: quantised.length },
    ],
  };
  yield { name: 'mobile, quantised', bytes: quantised };
  if (data === undefined) return;
  for (const entry of readdirSync(data, { recursive: true, encoding: 'utf8' })) {
    if (entry.endsWith('.onnx') && statSync(join(data, entry)).size > 1024 * 1024)
      yield { name: entry, bytes: readFileSync(join(data, entry)) };
  }
}

function changesOf(bytes: Buffer): Change[] {
  const places = tensorPlaces(sourceOf(bytes), 8 * 1024);
  const overwritten = (place: Place | undefined): Change['bytes'] => {
    const changed = Buffer.from(bytes);
    if (place !== undefined) randomFillSync(changed, place.start, place.end - place.start);
    return changed;
  };
  const sizeOf = (place: Place | undefined) => (place === undefined ? 0 : place.end - place.start);
  const [first] = places;
  const last = places.at(-1);
  const largest = places.toSorted((a, b) => sizeOf(b) - sizeOf(a))[0];
  return [
    { what: 'nothing', bytes, newBytes: 0 },
    { what: 'a longer name of the producer', bytes: withProducer(bytes), newBytes: 40 },
    { what: 'the first layer', bytes: overwritten(first), newBytes: sizeOf(first) },
    { what: 'the largest layer', bytes: overwritten(largest), newBytes: sizeOf(largest) },
    { what: 'the last layer', bytes: overwritten(last), newBytes: sizeOf(last) },
  ];
}

/** Later fields of the same number win, and protobuf allows them in any order; so this one may stand before all others. */
function withProducer(bytes: Buffer): Buffer {
  const name = Buffer.from('a producer with quite a long name, 1.2.3');
  return Buffer.concat([Buffer.from([0x12, name.length]), name, bytes]);
}

async function describedAs(folder: string, bytes: Buffer): Promise<Artifact> {
  const path = join(folder, 'model.onnx');
  writeFileSync(path, bytes);
  return describeArtifact(path);
}

function blocksOf(bytes: Buffer): SegmentManifest {
  return Array.from({ length: Math.ceil(bytes.length / blockBytes) }, (_, place) => {
    const block = bytes.subarray(place * blockBytes, (place + 1) * blockBytes);
    return { sizeBytes: block.length, digest: sha256(block) };
  });
}

function fetchedBytes(before: SegmentManifest, after: SegmentManifest): number {
  const held = new Set(before.map(({ digest }) => digest));
  const fetched = new Map(after.filter(({ digest }) => !held.has(digest)).map((each) => [each.digest, each.sizeBytes]));
  return [...fetched.values()].reduce((sum, bytes) => sum + bytes, 0);
}

function listBytes({ segments }: Artifact): number {
  return JSON.stringify(segments).length;
}

function kilobytes(bytes: number): string {
  return `${(bytes / 1024).toFixed(bytes < 10_240 ? 1 : 0)} KiB`;
}
