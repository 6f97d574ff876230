// Whether two versions say the same of one input: classifiers by their class, row by row, all others by the numbers of their
// outputs. Pure.
import type { Predictions } from '@edgeloop/shared/meaning/predictions';
import { type NamedTensor, numbersOf } from '@edgeloop/shared/tensor-data';

/** What a version said: of classifiers the classes, of others the output tensors. */
export type Said = { kind: 'classes'; predictions: Predictions } | { kind: 'tensors'; outputs: readonly NamedTensor[] };

export interface Agreement {
  /** Rows that were compared; what no classifier says counts as one. */
  rows: number;
  agreed: number;
  /** By how much scores of the classes differ, or the numbers of the outputs at most. */
  differences: number[];
}

/** Numbers agree that differ by no more: models that were trained anew never say the very same. */
const tolerance = { absolute: 1e-3, relative: 0.05 };

export function agreementOf(former: Said, fresh: Said): Agreement {
  if (former.kind === 'classes')
    return ofClasses(former.predictions, fresh.kind === 'classes' ? fresh.predictions : undefined);
  return ofTensors(former.outputs, fresh.kind === 'tensors' ? fresh.outputs : []);
}

function ofClasses(former: Predictions, fresh: Predictions | undefined): Agreement {
  const rows = former.predicted.length;
  if (fresh?.predicted.length !== rows) return { rows, agreed: 0, differences: [] };
  const agreed = former.predicted.filter((name, row) => fresh.predicted[row] === name).length;
  const differences = (former.scores ?? []).flatMap((score, row) => {
    const other = fresh.scores?.[row];
    return other === undefined ? [] : [Math.abs(score - other)];
  });
  return { rows, agreed, differences };
}

function ofTensors(former: readonly NamedTensor[], fresh: readonly NamedTensor[]): Agreement {
  let most = 0;
  let same = true;
  for (const one of former) {
    const other = fresh.find(({ name }) => name === one.name);
    const difference = other === undefined ? undefined : differenceOf(one, other);
    same &&= difference?.within === true;
    most = Math.max(most, difference?.most ?? 0);
  }
  return { rows: 1, agreed: same ? 1 : 0, differences: [most] };
}

/** Undefined where they cannot be compared. */
function differenceOf(one: NamedTensor, other: NamedTensor): { within: boolean; most: number } | undefined {
  if (one.datatype !== other.datatype || one.shape.join() !== other.shape.join()) return undefined;
  const [a, b] = [numbersOf(one), numbersOf(other)];
  if (a === undefined || b === undefined) return { within: isSame(one, other), most: 0 };
  let most = 0;
  let within = true;
  for (let i = 0; i < a.length; i++) {
    const [x = 0, y = 0] = [a[i], b[i]];
    if (Object.is(x, y)) continue;
    const difference = Math.abs(x - y);
    within &&= difference <= tolerance.absolute + tolerance.relative * Math.max(Math.abs(x), Math.abs(y));
    if (Number.isFinite(difference)) most = Math.max(most, difference);
  }
  return { within, most };
}

function isSame({ data: one }: NamedTensor, { data: other }: NamedTensor): boolean {
  if (one.length !== other.length) return false;
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false;
  return true;
}
