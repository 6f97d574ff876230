// Brings segments of a file over the network: several ranges at a time, each segment written as soon as it is whole and right,
// so that whatever ends a transfer costs little.
import type { FileHandle } from 'node:fs/promises';
import { AppError } from '@edgeloop/shared/errors';
import { sha256 } from '@edgeloop/shared/node/digests';
import type { DevicePort } from '../../identity/device-port.ts';
import type { Bandwidth } from './bandwidth.ts';
import type { PlacedSegment } from './segments-on-disk.ts';

export interface Download {
  port: DevicePort;
  path: string;
  file: FileHandle;
  /** In the order of the file. */
  missing: readonly PlacedSegment[];
  /** Each is a bound of its own. */
  bandwidths: readonly Bandwidth[];
  signal: AbortSignal;
  /** A segment has come, and is right. */
  onProgress?: (() => void) | undefined;
}

/** One request asks for so much at most, so that little is lost with a connection. */
const rangeBytes = 8 * 1024 * 1024;
const rangesAtATime = 3;
const triesPerSegment = 3;

/** @throws AppError `integrity` for bytes that stay wrong, `unavailable` when a transfer broke */
export async function download(options: Download): Promise<void> {
  let left = options.missing;
  for (let tries = 0; left.length > 0; tries += 1) {
    if (tries === triesPerSegment)
      throw new AppError('integrity', `${left.length} segments arrived with wrong bytes ${tries} times`);
    left = await downloadOnce(options, left);
  }
}

/** Those of `segments` that came with wrong bytes. */
async function downloadOnce(options: Download, segments: readonly PlacedSegment[]): Promise<PlacedSegment[]> {
  const [first, ...others] = ranges(firstOfEach(segments));
  if (first === undefined) return [];
  const transfer = new Transfer(options, segments);
  // Alone: its answer tells whether the server knows ranges.
  await transfer.range(first);
  if (transfer.left > 0) await inParallel(others, options.signal, (range, signal) => transfer.range(range, signal));
  return transfer.wrong.sort(byPlace);
}

class Transfer {
  readonly wrong: PlacedSegment[] = [];
  readonly #options: Download;
  /** Places of the same bytes. */
  readonly #places = new Map<string, PlacedSegment[]>();

  constructor(options: Download, segments: readonly PlacedSegment[]) {
    this.#options = options;
    for (const segment of segments)
      this.#places.set(segment.digest, [...(this.#places.get(segment.digest) ?? []), segment]);
  }

  /** Segments that have not come yet, right or wrong; the same bytes count once. */
  get left(): number {
    return this.#places.size;
  }

  async range(segments: readonly PlacedSegment[], signal = this.#options.signal): Promise<void> {
    const { port, path } = this.#options;
    const start = segments[0]?.offset ?? 0;
    const last = segments.at(-1);
    const end = last === undefined ? start : last.offset + last.sizeBytes;
    const headers = { range: `bytes=${start}-${end - 1}` };
    const answer = await port.send({ method: 'GET', path, headers, signal });
    // A server that does not know ranges sends the whole file.
    const isRange = answer.statusCode === 206;
    const wanted = isRange ? segments : this.#all();
    let missing = wanted.length;
    try {
      missing = await this.#read(answer.body, { position: isRange ? start : 0, wanted, signal });
    } catch (cause) {
      interrupted(cause, signal);
    }
    if (missing > 0) throw new AppError('unavailable', `the transfer of ${path} ended ${missing} segments early`);
  }

  /** Returns how many of the wanted did not come. */
  async #read(
    body: AsyncIterable<Buffer>,
    { position, wanted, signal }: { position: number; wanted: readonly PlacedSegment[]; signal: AbortSignal },
  ): Promise<number> {
    const queue = [...wanted];
    let at = position;
    let held: Buffer = Buffer.alloc(0);
    const skip = (bytes: number): void => {
      held = held.subarray(bytes);
      at += bytes;
    };
    for await (const piece of body) {
      // Side by side: one after the other two bounds of one rate would halve it.
      await Promise.all(this.#options.bandwidths.map((bandwidth) => bandwidth.took(piece.length, signal)));
      held = held.length === 0 ? piece : Buffer.concat([held, piece]);
      for (let segment = queue[0]; segment !== undefined; segment = queue[0]) {
        skip(Math.min(held.length, segment.offset - at));
        if (at < segment.offset || held.length < segment.sizeBytes) break;
        await this.#take(segment, held.subarray(0, segment.sizeBytes));
        skip(segment.sizeBytes);
        queue.shift();
      }
      if (queue.length === 0) break;
    }
    return queue.length;
  }

  async #take(segment: PlacedSegment, bytes: Buffer): Promise<void> {
    const places = this.#places.get(segment.digest) ?? [];
    this.#places.delete(segment.digest);
    if (sha256(bytes) !== segment.digest) return void this.wrong.push(...places);
    for (const { offset } of places) await this.#options.file.write(bytes, 0, bytes.length, offset);
    this.#options.onProgress?.();
  }

  #all(): PlacedSegment[] {
    const left = [...this.#places.values()].flatMap(([first]) => first ?? []);
    return left.sort(byPlace);
  }
}

function byPlace(a: PlacedSegment, b: PlacedSegment): number {
  return a.offset - b.offset;
}

/** What the file has in several places is fetched once. */
function firstOfEach(segments: readonly PlacedSegment[]): PlacedSegment[] {
  const seen = new Set<string>();
  return segments.filter(({ digest }) => !seen.has(digest) && seen.add(digest));
}

/** Runs of neighbouring segments. */
function ranges(segments: readonly PlacedSegment[]): PlacedSegment[][] {
  const runs: PlacedSegment[][] = [];
  for (const segment of segments) {
    const run = runs.at(-1);
    const first = run?.[0];
    const last = run?.at(-1);
    const joins =
      first !== undefined &&
      last !== undefined &&
      last.offset + last.sizeBytes === segment.offset &&
      segment.offset + segment.sizeBytes - first.offset <= rangeBytes;
    if (joins) run?.push(segment);
    else runs.push([segment]);
  }
  return runs;
}

/** The first failure ends all; rejects with it once none goes on. */
async function inParallel(
  ranges: readonly PlacedSegment[][],
  signal: AbortSignal,
  fetch: (range: PlacedSegment[], signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const left = [...ranges];
  const failing = new AbortController();
  const both = AbortSignal.any([signal, failing.signal]);
  const lane = async (): Promise<void> => {
    for (let range = left.shift(); range !== undefined; range = left.shift()) await fetch(range, both);
  };
  const lanes = Array.from({ length: rangesAtATime }, () => lane().catch((error: unknown) => failing.abort(error)));
  await Promise.all(lanes);
  failing.signal.throwIfAborted();
}

/** A connection that broke is no fault of the release. */
export function interrupted(cause: unknown, signal: AbortSignal): never {
  signal.throwIfAborted();
  if (cause instanceof AppError) throw cause;
  throw new AppError('unavailable', 'the connection to the control plane broke during a transfer', { cause });
}
