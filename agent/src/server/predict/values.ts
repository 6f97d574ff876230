// The numbers of a regression as answers: one or several for each row, or for each window of rows.
import { type NamedTensor, tensorToJson } from '@edgeloop/shared/tensor-data';
import type { TensorSpec } from '@edgeloop/shared/tensors';

export interface Rows {
  count: number;
  /** As many as `count` where rows are not joined to windows. */
  windows: number;
}

/**
 * One value an answer; of a regression (`names` given) also several, by their names where there are as many, else by their
 * outputs where those are several. Undefined when nobody can say whose value is whose.
 */
export function values(
  outputs: readonly NamedTensor[],
  specs: readonly TensorSpec[],
  rows: Rows,
  names: readonly string[] | undefined,
): object[] | undefined {
  const parts = outputs.map((output) => {
    const declared = specs.find(({ name }) => name === output.name)?.shape ?? [];
    return { name: output.name, own: partsOf(output, answersIn(output.shape, declared, rows)) };
  });
  const count = parts[0]?.own?.length;
  if (count === undefined || parts.some(({ own }) => own?.length !== count)) return undefined;
  return inFull(
    Array.from({ length: count }, (_, at) => {
      const found = parts.map(({ name, own }) => ({ name, values: own?.[at] ?? [] }));
      const flat = found.flatMap((each) => each.values);
      if (flat.length === 1) return { value: flat[0] };
      if (!names) return undefined;
      if (names.length === flat.length)
        return { values: Object.fromEntries(flat.map((value, i) => [names[i], value])) };
      if (found.length === 1) return { values: flat };
      return {
        values: Object.fromEntries(
          found.map((each) => [each.name, each.values.length === 1 ? each.values[0] : each.values]),
        ),
      };
    }),
  );
}

function inFull(answers: readonly (object | undefined)[]): object[] | undefined {
  const found = answers.flatMap((answer) => (answer ? [answer] : []));
  return found.length === answers.length ? found : undefined;
}

/** How many answers an output of this shape holds: a row's, a window's, or one for all; undefined when none of these. */
export function answersIn(
  shape: readonly number[],
  declared: readonly number[],
  { count, windows }: Rows,
): number | undefined {
  const [first = 1, second] = shape;
  if (count === 1 || shape.length === 0) return 1;
  if (first === count) return count;
  if (windows < count && first === windows) {
    const isEachStep = second === count / windows && (shape.length > 2 || declared[1] === -1);
    return isEachStep ? count : windows;
  }
  return shape.length === 1 || first === 1 ? 1 : undefined;
}

/** The elements of each answer, as JSON has them; undefined when they don't come out even. */
function partsOf(output: NamedTensor, answers: number | undefined): unknown[][] | undefined {
  const { data } = tensorToJson(output);
  const width = data.length / (answers ?? 0);
  if (answers === undefined || width === 0 || !Number.isInteger(width)) return undefined;
  return Array.from({ length: answers }, (_, at) => data.slice(at * width, (at + 1) * width));
}
