// The parts of a window that not every agent sends, put together without losing counts: on the device and in the control plane.
import { type LabelledOutcomes, mergeOutcomes } from './labelled-outcomes.ts';
import { mergeUsage, type ResourceUsage } from './resource-usage.ts';
import { CategoryBuilder, type CategoryCounts } from './sketches/category-counts.ts';
import { QuantileSketchBuilder } from './sketches/ddsketch.ts';
import { type ValueSketch, ValueSketchBuilder } from './sketches/value-sketch.ts';
import type { Window } from './telemetry.ts';

export type WindowParts = Pick<
  Window,
  'queueMs' | 'batchRows' | 'sampled' | 'signals' | 'categories' | 'labelled' | 'resources'
>;

/** Named signals beyond these are left out, so that no model makes windows of any size. */
export const mostSignals = 4096;

/** A sum of parts that more is added to. */
export class WindowPartsSum {
  #queue: QuantileSketchBuilder | undefined;
  #batch: QuantileSketchBuilder | undefined;
  #sampled: Window['sampled'];
  readonly #signals = new Map<string, ValueSketchBuilder>();
  readonly #categories = new Map<string, CategoryBuilder>();
  #labelled: LabelledOutcomes | undefined;
  #resources: ResourceUsage | undefined;

  add({ queueMs, batchRows, sampled, signals = {}, categories = {}, labelled, resources }: WindowParts): void {
    if (queueMs !== undefined) {
      this.#queue ??= new QuantileSketchBuilder();
      this.#queue.merge(queueMs);
    }
    if (batchRows !== undefined) {
      this.#batch ??= new QuantileSketchBuilder();
      this.#batch.merge(batchRows);
    }
    if (sampled !== undefined) {
      const { features, requests } = this.#sampled ?? { features: 0, requests: 0 };
      this.#sampled = { features: features + sampled.features, requests: requests + sampled.requests };
    }
    for (const [name, sketch] of Object.entries(signals)) this.#signal(name)?.merge(sketch);
    for (const [name, counts] of Object.entries(categories)) this.#category(name)?.merge(counts);
    if (labelled !== undefined) this.#labelled = this.#labelled ? mergeOutcomes(this.#labelled, labelled) : labelled;
    if (resources !== undefined) this.#resources = this.#resources ? mergeUsage(this.#resources, resources) : resources;
  }

  /** A request that was run: how long it waited, and of one request of each run how many rows the run had. */
  ran(queueMs: number | undefined, batchRows: number | undefined): void {
    if (queueMs !== undefined) {
      this.#queue ??= new QuantileSketchBuilder();
      this.#queue.add(queueMs);
    }
    if (batchRows === undefined) return;
    this.#batch ??= new QuantileSketchBuilder();
    this.#batch.add(batchRows);
  }

  sample(what: 'features' | 'requests', count: number): void {
    this.#sampled ??= { features: 0, requests: 0 };
    this.#sampled[what] += count;
  }

  value(name: string, value: number): void {
    this.#signal(name)?.add(value);
  }

  category(name: string, category: string): void {
    this.#category(name)?.add(category);
  }

  /** Without what nothing was added to. */
  result(): WindowParts {
    return {
      ...(this.#queue && { queueMs: this.#queue.toJSON() }),
      ...(this.#batch && { batchRows: this.#batch.toJSON() }),
      ...(this.#sampled && { sampled: { ...this.#sampled } }),
      ...(this.#signals.size > 0 && { signals: told<ValueSketch>(this.#signals) }),
      ...(this.#categories.size > 0 && { categories: told<CategoryCounts>(this.#categories) }),
      ...(this.#labelled && { labelled: this.#labelled }),
      ...(this.#resources && { resources: this.#resources }),
    };
  }

  #signal(name: string): ValueSketchBuilder | undefined {
    return held(this.#signals, name, () => new ValueSketchBuilder());
  }

  #category(name: string): CategoryBuilder | undefined {
    return held(this.#categories, name, () => new CategoryBuilder());
  }
}

function held<T>(all: Map<string, T>, name: string, create: () => T): T | undefined {
  const known = all.get(name);
  if (known !== undefined || all.size >= mostSignals) return known;
  const created = create();
  all.set(name, created);
  return created;
}

function told<T>(builders: ReadonlyMap<string, { toJSON(): T }>): Record<string, T> {
  return Object.fromEntries([...builders].map(([name, builder]) => [name, builder.toJSON()]));
}
