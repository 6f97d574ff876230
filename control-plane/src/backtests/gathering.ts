// Takes captured samples of the last days out of the database into a file that a model can be run over: page by page, spread
// over the time, with bounds on number, bytes and time.
import { type FileHandle, open } from 'node:fs/promises';
import type { BacktestCreate } from '@edgeloop/shared/api/backtests';
import { AppError } from '@edgeloop/shared/errors';
import { featureNames, type Manifest } from '@edgeloop/shared/manifest';
import { type Labels, matches, parseSelector, type Selector } from '@edgeloop/shared/selector';
import type { Data, FieldSample } from '../data/data.ts';
import { type Layout, lackingFeature } from './feeding.ts';

export interface GatheringDeps {
  samples: Pick<Data, 'fieldSamples'>;
  /** What devices run a version by. Throws `not_found`. */
  contract: (model: string, version: number) => Promise<{ manifest: Manifest; digest: string }>;
  /** Of devices that may connect. */
  labelsOf: (deviceId: string) => Labels | undefined;
  now: () => number;
}

export interface Gathering {
  model: string;
  candidate: { version: number; manifest: Manifest };
  asked: BacktestCreate;
  path: string;
  signal: AbortSignal;
}

/** A sample without its values, which are in the file. */
type GatheredSample = Omit<FieldSample, 'values' | 'inferenceId'>;

export interface Gathered {
  /** In the order of the file. */
  samples: GatheredSample[];
  layouts: Layout[];
  layoutOf: Uint16Array<ArrayBuffer>;
  leftOut: Map<string, number>;
  cut: string | null;
}

/** Parts of the time that give the same number of samples, as far as they have them. */
const parts = 48;
const pageBytes = 1024 ** 2;
const mostBytes = 512 * 1024 ** 2;
const mostMs = 120_000;
const dayMs = 86_400_000;

export async function gather(deps: GatheringDeps, gathering: Gathering): Promise<Gathered> {
  const file = await open(gathering.path, 'w', 0o600);
  try {
    return await new Gatherer(deps, gathering, file).run();
  } finally {
    await file.close();
  }
}

/** A part of the time, read as far as its samples are wanted. */
interface Part {
  pages: AsyncGenerator<readonly FieldSample[]>;
  rest: FieldSample[];
}

class Gatherer {
  readonly #deps: GatheringDeps;
  readonly #given: Gathering;
  readonly #file: FileHandle;
  readonly #samples: GatheredSample[] = [];
  readonly #places: number[] = [];
  readonly #layouts: Layout[] = [];
  /** By version that answered: the place of its layout, or why its samples cannot be asked. */
  readonly #versions = new Map<number, number | string>();
  readonly #leftOut = new Map<string, number>();
  readonly #selector: Selector;
  readonly #untilMs = performance.now() + mostMs;
  #bytes = 0;
  #cut: string | null = null;

  constructor(deps: GatheringDeps, given: Gathering, file: FileHandle) {
    this.#deps = deps;
    this.#given = given;
    this.#file = file;
    this.#selector = parseSelector(given.asked.selector);
  }

  /** In rounds: each part gives its share, and what some do not have the others give in the next round. */
  async run(): Promise<Gathered> {
    const { limit } = this.#given.asked;
    let open = this.#parts();
    while (open.length > 0 && this.#samples.length < limit && this.#cut === null) {
      const share = Math.ceil((limit - this.#samples.length) / open.length);
      const more: Part[] = [];
      for (const part of open) {
        const quota = Math.min(this.#samples.length + share, limit);
        if (await this.#take(part, quota)) more.push(part);
        if (this.#cut !== null) break;
      }
      open = more;
    }
    if (open.length > 0)
      this.#cut ??= `${this.#samples.length} samples spread over the time, as many as were asked for`;
    return {
      ...{ samples: this.#samples, layouts: this.#layouts, layoutOf: Uint16Array.from(this.#places) },
      ...{ leftOut: this.#leftOut, cut: this.#cut },
    };
  }

  /** Newest first. */
  #parts(): Part[] {
    const { model, candidate, asked } = this.#given;
    const width = Math.max(featureNames(candidate.manifest).length, 1);
    const pageRows = Math.max(1, Math.min(500, Math.floor(pageBytes / (4 * width))));
    const span = (asked.days * dayMs) / parts;
    const end = this.#deps.now() + 1;
    return Array.from({ length: parts }, (_, at) => {
      const [from, to] = [end - (at + 1) * span, end - at * span];
      return { pages: this.#deps.samples.fieldSamples({ model, from, to, pageRows }), rest: [] };
    });
  }

  /** Until there are `quota` samples in all; false when the part has no more. */
  async #take(part: Part, quota: number): Promise<boolean> {
    for (;;) {
      this.#given.signal.throwIfAborted();
      const rows: Float32Array[] = [];
      let at = 0;
      for (; at < part.rest.length && this.#samples.length < quota; at++) {
        const sample = part.rest[at];
        if (sample !== undefined && (await this.#takes(sample))) rows.push(sample.values);
      }
      part.rest = part.rest.slice(at);
      await this.#write(rows);
      if (this.#samples.length >= quota || this.#cut !== null) return true;
      const { done, value } = await part.pages.next();
      if (done === true) return false;
      part.rest = [...value];
      // Reading a page of SQLite is synchronous: others have their turn in between.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async #takes({ values, inferenceId: _id, ...sample }: FieldSample): Promise<boolean> {
    if (this.#selector.length > 0) {
      const labels = this.#deps.labelsOf(sample.deviceId);
      if (labels === undefined || !matches(this.#selector, labels)) return false;
    }
    const layout = await this.#layoutOf(sample.version);
    const reason = typeof layout === 'string' ? layout : misfit(this.#layouts[layout], values, sample.version);
    if (reason !== undefined) {
      this.#leftOut.set(reason, (this.#leftOut.get(reason) ?? 0) + 1);
      return false;
    }
    this.#samples.push(sample);
    this.#places.push(Number(layout));
    return true;
  }

  async #write(rows: readonly Float32Array[]): Promise<void> {
    const bytes = Buffer.concat(
      rows.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength)),
    );
    if (bytes.length > 0) await this.#file.writeFile(bytes);
    this.#bytes += bytes.length;
    if (this.#bytes > mostBytes)
      this.#cut = `only ${this.#samples.length} samples, which are ${mostBytes / 1024 ** 2} MB`;
    if (performance.now() > this.#untilMs)
      this.#cut = `only ${this.#samples.length} samples, which took ${mostMs / 1000} s to read`;
  }

  async #layoutOf(version: number): Promise<number | string> {
    const known = this.#versions.get(version) ?? (await this.#learn(version));
    this.#versions.set(version, known);
    return known;
  }

  async #learn(version: number): Promise<number | string> {
    const { model, candidate } = this.#given;
    let layout: Layout;
    try {
      layout = featureNames((await this.#deps.contract(model, version)).manifest);
    } catch (error) {
      if (error instanceof AppError && error.code === 'not_found')
        return `version ${version}, which answered them, is not known here any more`;
      throw error;
    }
    const lacking = lackingFeature(candidate.manifest, layout);
    if (lacking !== undefined)
      return `version ${candidate.version} takes the feature "${lacking}", which samples of version ${version} do not have`;
    this.#layouts.push(layout);
    return this.#layouts.length - 1;
  }
}

function misfit(layout: Layout | undefined, values: Float32Array, version: number): string | undefined {
  if (values.length === layout?.length) return undefined;
  return `they have other values than version ${version} names features`;
}
