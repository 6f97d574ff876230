// The classification extension: an output as its k best classes, `value:index[:label]`.
import { AppError } from '@edgeloop/shared/errors';
import { type NamedTensor, numbersOf } from '@edgeloop/shared/tensor-data';

/** BYTES of shape `[batch, k]` (`[k]` for an output of one dimension), best first. Throws `invalid_request` for BYTES. */
export function classify(output: NamedTensor, k: number, labels: readonly string[] | undefined): NamedTensor {
  const { name, shape } = output;
  const values = numbersOf(output);
  if (!values) throw new AppError('invalid_request', `output "${name}" is BYTES, which can't be classified`);
  const batch = shape.length > 1 ? (shape[0] ?? 1) : 1;
  const width = batch === 0 ? 0 : values.length / batch;
  const best = Math.min(k, width);
  const data: string[] = [];
  for (let row = 0; row < batch; row++) {
    const scores = Array.from({ length: width }, (_, i) => ({ i, value: values[row * width + i] ?? Number.NaN }));
    scores.sort(byValue);
    for (const { i, value } of scores.slice(0, best)) data.push(text(output, value, i, labels));
  }
  return { name, datatype: 'BYTES', shape: shape.length > 1 ? [batch, best] : [best], data };
}

/** What is no number comes last. */
function byValue(a: { value: number }, b: { value: number }): number {
  if (Number.isNaN(a.value) || Number.isNaN(b.value))
    return Number(Number.isNaN(a.value)) - Number(Number.isNaN(b.value));
  return a.value === b.value ? 0 : b.value - a.value;
}

function text({ datatype }: NamedTensor, value: number, index: number, labels: readonly string[] | undefined): string {
  const label = labels?.[index];
  const number = datatype.startsWith('FP') ? value.toFixed(6) : String(value);
  return label === undefined ? `${number}:${index}` : `${number}:${index}:${label}`;
}
