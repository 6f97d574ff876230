// Anomaly detectors: a score for each row, and for some the model's own verdict before it, as scikit-learn has it.
import type { Manifest } from '@edgeloop/shared/manifest';
import { type NamedTensor, numbersOf } from '@edgeloop/shared/tensor-data';
import { answersIn, type Rows } from './values.ts';

/** Undefined when there is no output with one score for each. */
export function anomalies(
  meaning: Manifest['outputs'],
  outputs: readonly NamedTensor[],
  rows: Rows,
): object[] | undefined {
  const output = scoresOf(meaning, outputs);
  const scores = output && numbersOf(output);
  if (!output || !scores || answersIn(output.shape, [], rows) !== scores.length) return undefined;
  const { threshold, anomalous = 'from' } = meaning;
  const mayBeBoth = threshold === undefined;
  const own = outputs.find(
    (each) => (each !== output || mayBeBoth) && isVerdict(each, meaning) && each.data.length === scores.length,
  );
  return Array.from(scores, (score, at) => {
    const label = own && String(own.data[at]);
    const beyond =
      threshold === undefined ? verdictOf(label) : anomalous === 'from' ? score >= threshold : score < threshold;
    return {
      ...(label === undefined ? {} : { label }),
      score,
      ...(threshold === undefined ? {} : { threshold }),
      ...(beyond === undefined ? {} : { anomalous: beyond }),
    };
  });
}

/** The first of floats: a verdict before it is an integer. */
function scoresOf({ scores }: Manifest['outputs'], outputs: readonly NamedTensor[]): NamedTensor | undefined {
  if (scores !== undefined) return outputs.find(({ name }) => name === scores);
  return outputs.find(({ datatype }) => datatype.startsWith('FP')) ?? outputs[0];
}

function isVerdict({ name, datatype }: NamedTensor, { label }: Manifest['outputs']): boolean {
  return label === undefined ? datatype === 'BYTES' || /^U?INT/.test(datatype) : name === label;
}

/** scikit-learn's detectors say -1 for what is anomalous and 1 for what is not; other words are told as they are. */
function verdictOf(label: string | undefined): boolean | undefined {
  return label === '-1' ? true : label === '1' ? false : undefined;
}
