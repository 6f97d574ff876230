// Backend cases asked together with others: a case whose first dimension is made free, asked alone and then among requests of
// other values and other numbers of rows, which may share its runs.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type AnsweredTensor, binaryBody, elementTexts, outputsOf, post, type WireTensor } from '../../support/v2.ts';
import { answerDifference, type BackendCase, type Sample, type Signature, samplesOf } from './cases.ts';
import { withConstants, withFreeRows } from './free-rows.ts';

/** The same case with a free first dimension. */
export interface RowsVariant {
  bytes: Uint8Array;
  sample: Sample;
}

export interface JoinedOutcome {
  /** The agent lets requests share runs. */
  joins: boolean;
  /** Rows of its largest run. */
  largest: number;
  failure: string | undefined;
}

const atOnce = 24;
const rounds = 3;

/** With all inputs free, and with the first alone while the others are constants: settings, weights. */
export function rowsVariants(each: BackendCase, signature: Signature): RowsVariant[] {
  const [folder] = each.dataSets;
  if (folder === undefined) return [];
  const [sample] = samplesOf(each, signature);
  const model = withFreeRows(readFileSync(each.modelPath));
  const [first, ...rest] = signature.inputs;
  if (!sample || !first) return [];
  const files = rest.map(({ name }, i) => ({ name, path: join(folder, `input_${i + 1}.pb`) }));
  // Rows of an input that has another number of them are none of the others'.
  const isWhole = sample.inputs.every(({ shape }) => shape[0] === sample.inputs[0]?.shape[0]);
  const all = isWhole ? [{ bytes: model, sample }] : [];
  if (rest.length === 0 || !files.every(({ path }) => existsSync(path))) return all;
  const constants = files.map(({ name, path }) => ({ name, bytes: readFileSync(path) }));
  return [...all, { bytes: withConstants(model, constants), sample: { ...sample, inputs: sample.inputs.slice(0, 1) } }];
}

const Stats = z.object({
  model_stats: z.array(
    z.object({
      batch_stats: z.array(z.object({ batch_size: z.number() })),
      runtime: z.object({ batchable: z.boolean() }),
    }),
  ),
});

async function statsOf(url: string, model: string) {
  const answer = await fetch(`${url}/v2/models/${model}/stats`);
  return answer.ok ? Stats.parse(await answer.json()).model_stats[0] : undefined;
}

/** Asks the variant that is served as `model`; undefined when it could not be loaded, as ONNX Runtime or its test may have it. */
export async function askJoined(
  url: string,
  model: string,
  { sample }: RowsVariant,
): Promise<JoinedOutcome | undefined> {
  const before = await statsOf(url, model);
  if (!before) return undefined;
  if (!before.runtime.batchable) return { joins: false, largest: 0, failure: undefined };
  const ask = async (inputs: readonly WireTensor[]) => {
    const { body, jsonBytes } = binaryBody(inputs);
    return outputsOf(
      await post(`${url}/v2/models/${model}/infer`, body, { 'inference-header-content-length': String(jsonBytes) }),
    );
  };
  const requests = variationsOf(sample.inputs);
  const alone: AnsweredTensor[][] = [];
  for (const inputs of requests) alone.push(await ask(inputs));
  let failure: string | undefined;
  for (let round = 0; round < rounds && failure === undefined; round++) {
    const order = Array.from({ length: atOnce }, (_, i) => (i * (2 * round + 1) + round) % requests.length);
    const together = await Promise.all(order.map((at) => ask(requests[at] ?? [])));
    failure = order
      .map((at, i) => answerDifference(together[i] ?? [], alone[at] ?? []))
      .find((difference) => difference !== undefined);
  }
  const after = await statsOf(url, model);
  return {
    joins: true,
    largest: Math.max(0, ...(after?.batch_stats.map(({ batch_size }) => batch_size) ?? [])),
    failure,
  };
}

/** The same rows in other orders and numbers, of other magnitudes where they are floats. */
function variationsOf(inputs: readonly WireTensor[]): WireTensor[][] {
  const rows = inputs[0]?.shape[0] ?? 0;
  const orders = Array.from({ length: 6 }, (_, i) =>
    Array.from({ length: i % 2 === 0 ? rows : Math.max(1, rows - 1) }, (_, row) => (row * (i + 1) + i) % rows),
  );
  return orders.map((order, i) => inputs.map((input) => scaled(rowsOf(input, order), [1, 3, 0.5][i % 3] ?? 1)));
}

function rowsOf(input: WireTensor, order: readonly number[]): WireTensor {
  const { datatype, shape, bytes } = input;
  if (datatype === 'BYTES') return input;
  const width = bytes.length / (shape[0] ?? 1);
  const parts = order.map((row) => bytes.subarray(row * width, (row + 1) * width));
  return { ...input, shape: [order.length, ...shape.slice(1)], bytes: new Uint8Array(Buffer.concat(parts)) };
}

function scaled(input: WireTensor, factor: number): WireTensor {
  if (input.datatype !== 'FP32') return input;
  const values = Float32Array.from(elementTexts(input), (text) => Number(JSON.parse(text)) * factor);
  return { ...input, bytes: new Uint8Array(values.buffer) };
}
