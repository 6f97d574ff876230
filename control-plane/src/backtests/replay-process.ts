// Runs one version over captured rows, one request a row as devices do, in a process of its own: the model may end its process,
// never return or take all memory.
import { closeSync, openSync, readSync } from 'node:fs';
import { AppError } from '@edgeloop/shared/errors';
import { type Interpretation, interpret } from '@edgeloop/shared/meaning/interpretation';
import { answerBounded } from '@edgeloop/shared/node/bounded-process';
import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { fromOrt, toOrt } from '../registry/ort-tensors.ts';
import { openRunnable, type RunnableModel, reasonOf } from '../registry/runnable.ts';
import { feedOf, lackingFeature, namesOf, type Reading, readingOf, unfeedable } from './feeding.ts';
import { noAnswer, type ReplayAnswer, type Replayed, ReplayInput } from './replay.ts';

async function replayAll(input: ReplayInput): Promise<ReplayAnswer> {
  const { manifest, layouts, layoutOf, budgetMs } = input;
  const model = await openRunnable(input.path, manifest);
  const meaning = interpret(manifest, model.signature);
  const unfit = unfeedable(meaning, model.signature);
  if (unfit !== undefined) return { unfit };
  const feeds = layouts.map((layout) =>
    lackingFeature(manifest, layout) === undefined ? feedOf(meaning, layout) : undefined,
  );
  const answers = new Answers(layoutOf.length);
  const until = performance.now() + budgetMs;
  const file = openSync(input.rows, 'r');
  try {
    for (const layout of layoutOf) {
      if (performance.now() > until) break;
      const row = readRow(file, layouts[layout]?.length ?? 0);
      const feed = feeds[layout];
      if (feed === undefined) answers.none('unfit');
      else await answer(feed(row), { model, meaning, row, answers });
    }
  } finally {
    closeSync(file);
  }
  const kind = meaning.scores === undefined ? 'numbers' : 'classes';
  return { replayed: { kind, ...answers.result((count) => namesOf(meaning, model.signature, count)) } };
}

interface Asking {
  model: RunnableModel;
  meaning: Interpretation;
  row: Float32Array;
  answers: Answers;
}

async function answer(
  fed: ReturnType<ReturnType<typeof feedOf>>,
  { model, meaning, row, answers }: Asking,
): Promise<void> {
  if (typeof fed === 'string') return answers.none('refused', fed);
  let reading: Reading;
  try {
    const tensors = Object.fromEntries(fed.map((tensor) => [tensor.name, toOrt(tensor)]));
    const startedMs = performance.now();
    const results = await model.run(tensors);
    answers.took(performance.now() - startedMs);
    const outputs = model.signature.outputs.map((spec) => fromOrt(spec, results[spec.name]));
    reading = readingOf(meaning, outputs, row);
  } catch (error) {
    return answers.none('failed', reasonOf(error).slice(0, 300));
  }
  if ('refused' in reading) answers.none('refused', reading.refused);
  else if ('none' in reading) answers.none('failed', reading.none);
  else if ('class' in reading) answers.named(reading.class);
  else answers.numbered(reading.numbers);
}

function readRow(file: number, width: number): Float32Array {
  const row = new Float32Array(width);
  const bytes = new Uint8Array(row.buffer);
  for (let read = 0; read < bytes.length; ) {
    const more = readSync(file, bytes, read, bytes.length - read, null);
    if (more === 0) throw new AppError('internal', 'the file of rows is shorter than it should be');
    read += more;
  }
  return row;
}

/** Answers in the order of the rows. */
class Answers {
  readonly #codes: Int32Array<ArrayBuffer>;
  readonly #places = new Map<string, number>();
  readonly #latency = new QuantileSketchBuilder();
  readonly #reasons = new Map<string, string>();
  readonly #counts = { refused: 0, failed: 0, unfit: 0 };
  #numbers: { width: number; data: Float64Array<ArrayBuffer> } | undefined;
  #done = 0;

  constructor(rows: number) {
    this.#codes = new Int32Array(rows);
  }

  took(ms: number): void {
    this.#latency.add(ms);
  }

  named(name: string): void {
    const place = this.#places.get(name) ?? this.#places.size;
    this.#places.set(name, place);
    this.#codes[this.#done++] = place;
  }

  numbered(values: readonly number[]): void {
    this.#numbers ??= {
      width: values.length,
      data: new Float64Array(this.#codes.length * values.length).fill(Number.NaN),
    };
    const { width, data } = this.#numbers;
    if (values.length === width) {
      data.set(values, this.#done * width);
      this.#codes[this.#done++] = 0;
    } else this.none('failed', `${values.length} numbers, ${width} for other samples`);
  }

  none(how: keyof typeof noAnswer, reason?: string): void {
    this.#counts[how] += 1;
    if (reason !== undefined && !this.#reasons.has(how)) this.#reasons.set(how, reason);
    this.#codes[this.#done++] = noAnswer[how];
  }

  result(namesOf: (count: number) => string[]): Omit<Replayed, 'kind'> {
    const numbers = this.#numbers && {
      values: namesOf(this.#numbers.width).map((name, at) => ({ name, range: this.#range(at) })),
      data: this.#numbers.data.subarray(0, this.#done * this.#numbers.width),
    };
    const { refused, failed } = this.#counts;
    return {
      ...{ done: this.#done, classes: [...this.#places.keys()], codes: this.#codes.subarray(0, this.#done) },
      ...{ numbers: numbers ?? null, refused, failed, reasons: [...this.#reasons.values()] },
      latencyMs: this.#latency.toJSON(),
    };
  }

  /** From the 5th to the 95th percentile. */
  #range(at: number): number {
    const { width, data } = this.#numbers ?? { width: 1, data: new Float64Array() };
    const own = Float64Array.from({ length: this.#done }, (_, row) => data[row * width + at] ?? Number.NaN)
      .filter(Number.isFinite)
      .sort();
    const quantile = (q: number) => own[Math.round(q * (own.length - 1))] ?? 0;
    return quantile(0.95) - quantile(0.05);
  }
}

answerBounded(async (input): Promise<ReplayAnswer> => {
  try {
    return await replayAll(ReplayInput.parse(input));
  } catch (error) {
    if (error instanceof AppError && error.code === 'model_rejected') return { rejected: error.message };
    throw error;
  }
});
