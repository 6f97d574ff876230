// What a model said, in a few numbers: how sure it was, the values of a regression, the boxes in a picture.
import type { Manifest } from '@edgeloop/shared/manifest';
import { detect } from '@edgeloop/shared/meaning/detection';
import { scoreRows } from '@edgeloop/shared/meaning/predictions';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import { numbersOf } from '@edgeloop/shared/tensor-data';
import type { Summaries } from '../record.ts';
import { layoutOf } from './picture.ts';
import type { Summarised } from './request.ts';
import { tensorSummary } from './tensor.ts';

/** Rows, outputs, and numbers of a row that are told by themselves; more of them are told as a tensor. */
const mostRows = 64;
const mostOutputs = 4;
const mostColumns = 8;

export function answerSummaries(
  { interpretation, manifest }: Summarised,
  inputs: readonly NamedTensor[],
  outputs: readonly NamedTensor[],
  rows: number,
): Summaries {
  const { detection, scores } = interpretation;
  if (detection !== undefined) return boxSummaries({ interpretation, manifest }, inputs, outputs);
  if (scores === undefined) {
    const states = new Set(interpretation.states.values());
    const said = outputs.filter(({ name }) => !states.has(name));
    // It is in every record by itself.
    if (singleValue(manifest, said, rows) !== undefined) return { summaries: [], texts: {} };
    return { summaries: valueSummaries(interpretation.labels, said, rows), texts: {} };
  }
  const table = scoreRows(scores, outputs, rows);
  if (table === undefined || typeof table === 'string') return { summaries: [], texts: {} };
  const values = table.slice(0, mostRows).map(entropyOf);
  return { summaries: [{ of: 'values', name: 'output:entropy', values }], texts: {} };
}

/** What a regression says to one row, when that is one number. */
export function singleValue({ task }: Manifest, outputs: readonly NamedTensor[], rows: number): number | undefined {
  const [output] = outputs;
  if (task !== 'regression' || rows !== 1 || outputs.length !== 1 || output?.data.length !== 1) return undefined;
  return numbersOf(output)?.[0];
}

/** From 0, sure of one class, to 1, all alike. Scores that are no shares are taken as logits. */
function entropyOf(scores: readonly number[]): number {
  if (scores.length < 2) return 0;
  const highest = Math.max(...scores);
  const shares = scores.some((score) => score < 0) ? scores.map((score) => Math.exp(score - highest)) : scores;
  const total = shares.reduce((sum, share) => sum + share, 0);
  const entropy = shares.reduce((sum, share) => (share > 0 ? sum - (share / total) * Math.log(share / total) : sum), 0);
  return entropy / Math.log(scores.length);
}

function boxSummaries(
  { interpretation, manifest }: Summarised,
  inputs: readonly NamedTensor[],
  outputs: readonly NamedTensor[],
): Summaries {
  const none: Summaries = { summaries: [], texts: {} };
  const { detection, labels, pictures } = interpretation;
  const [picture] = pictures;
  const tensor = picture && inputs.find(({ name }) => name === picture.spec.name);
  const size = picture && tensor && layoutOf(picture.image, tensor.shape);
  // Boxes of several pictures at once are not told apart.
  if (detection === undefined || size?.pictures !== 1) return none;
  const found = detect({ detection, labels: labels?.length, activation: manifest.outputs.activation }, outputs, size);
  if (typeof found === 'string') return none;
  const { seen } = found;
  const area = size.width * size.height;
  const areas = seen.map(({ box }) => ((box.right - box.left) * (box.bottom - box.top)) / area);
  return {
    summaries: [
      { of: 'values', name: 'output:boxes', values: [seen.length] },
      { of: 'values', name: 'output:box-score', values: seen.map(({ score }) => score) },
      { of: 'values', name: 'output:box-area', values: areas },
    ],
    texts: { 'output:box-classes': seen.map(({ place }) => labels?.[place] ?? String(place)) },
  };
}

/** `output:value` of an answer that is one number, `output:NAME` of named ones. */
function valueSummaries(
  labels: readonly string[] | undefined,
  outputs: readonly NamedTensor[],
  rows: number,
): Summaries['summaries'] {
  return outputs.slice(0, mostOutputs).flatMap((output) => {
    const values = numbersOf(output);
    const width = values === undefined ? 0 : values.length / Math.max(1, rows);
    if (values === undefined || !Number.isInteger(width) || width < 1 || width > mostColumns) {
      const told = tensorSummary(output);
      return told === undefined ? [] : [{ of: 'tensor', name: `output:${output.name}`, values: told }];
    }
    const looked = Math.min(mostRows, rows);
    return Array.from({ length: width }, (_, column) => ({
      of: 'values',
      name: nameOf(labels, outputs.length, { output: output.name, column, width }),
      values: Array.from({ length: looked }, (_unused, row) => values[row * width + column] ?? Number.NaN),
    }));
  });
}

function nameOf(
  labels: readonly string[] | undefined,
  outputs: number,
  { output, column, width }: { output: string; column: number; width: number },
): string {
  if (outputs > 1) return width === 1 ? `output:${output}` : `output:${output}:${column}`;
  return width === 1 ? 'output:value' : `output:${labels?.[column] ?? column}`;
}
