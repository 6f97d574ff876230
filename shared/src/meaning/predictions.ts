// The classes of the rows of a run, out of its output tensors.
import { type NamedTensor, numbersOf } from '../tensor-data.ts';
import { type ClassScores, type OwnLabel, withoutOnes } from './class-scores.ts';

/** Per row of a classifier: its class, and that one's score. */
export interface Predictions {
  predicted: string[];
  /** Undefined for a model that says the class alone. */
  scores: number[] | undefined;
}

/** Scores of all rows, row-major, as the model gave them. */
interface ScoreTable {
  values: ArrayLike<number>;
  rows: number;
  /** Numbers of a row. */
  width: number;
  /** The one number is the probability of the second of two classes. */
  single: boolean;
}

/** Undefined when there are no scores, or they don't fit the labels. `rows`: how many the request had. */
function scoreTable(scores: ClassScores, outputs: readonly NamedTensor[], rows: number): ScoreTable | undefined {
  const output = outputs.find(({ name }) => name === scores.output);
  const values = output && numbersOf(output);
  if (!values) return undefined;
  const width = widthOf(scores, output.shape, { rows, total: values.length });
  const count = scores.labels?.length;
  const single = width === 1 && count !== 1;
  if (!width || values.length % width !== 0) return undefined;
  if (count !== undefined && count !== (single ? 2 : width)) return undefined;
  return { values, rows: values.length / width, width, single };
}

/** How many numbers of the output belong to a row. */
function widthOf(
  { labels, flat }: ClassScores,
  shape: readonly number[],
  { rows, total }: { rows: number; total: number },
): number | undefined {
  const count = labels?.length;
  const last = shape.at(-1) ?? 1;
  if (shape.length <= 1) return flat && last === rows && (count ?? 2) === 2 ? 1 : last;
  const inner = withoutOnes(shape).at(-1) ?? 1;
  if (count !== undefined) return [last, inner].includes(count) ? count : last;
  return last > 1 || total === rows ? last : inner;
}

/**
 * Scores of each row after the activation, those of both classes where the model has one probability for two. Undefined when
 * there are none, a string when they can't be what they should.
 */
export function scoreRows(
  scores: ClassScores,
  outputs: readonly NamedTensor[],
  rows: number,
): number[][] | string | undefined {
  const table = scoreTable(scores, outputs, rows);
  if (!table) return undefined;
  const found: number[][] = [];
  for (let row = 0; row < table.rows; row++) {
    const scale = scaleOf(table, row, scores.activation);
    const own = Array.from({ length: table.width }, (_, place) => activated(numberAt(table, row, place), scale));
    if (table.single && isNoProbability(own[0])) {
      return `its one score is ${own[0]}, which is no probability; say "activation": "sigmoid" when it is a logit`;
    }
    found.push(table.single ? bothOf(own[0]) : own);
  }
  return found;
}

/** The class of each row, for the journal and for answers. An activation never changes which score is the highest. */
export function predictionsOf(
  scores: ClassScores | undefined,
  outputs: readonly NamedTensor[],
  rows: number,
): Predictions | undefined {
  if (!scores) return undefined;
  const table = scoreTable(scores, outputs, rows);
  const own = scores.own && textsOf(scores.own, outputs);
  if (!table)
    return own && scores.output === undefined ? { predicted: named(own, scores), scores: undefined } : undefined;
  const found = { predicted: [] as string[], scores: [] as number[] };
  for (let row = 0; row < table.rows; row++) {
    const scale = scaleOf(table, row, scores.activation);
    const best = table.single ? 0 : bestOf(table, row);
    const top = activated(numberAt(table, row, best), scale);
    if (table.single && isNoProbability(top)) return undefined;
    // The model's own word may differ from its highest score, as with votes.
    const text = own?.length === table.rows ? own[row] : undefined;
    const said = text === undefined ? undefined : placeOf(scores, text, table.single ? 2 : table.width);
    const highest = table.single ? Number(top > 0.5) : best;
    found.predicted.push(
      said === undefined && text !== undefined && !scores.labels ? text : labelAt(scores, said ?? highest),
    );
    const place = said ?? highest;
    found.scores.push(
      table.single
        ? place === 1
          ? top
          : 1 - top
        : place === best
          ? top
          : activated(numberAt(table, row, place), scale),
    );
  }
  return found;
}

/** Name of the class at this place. */
export function labelAt({ labels }: Pick<ClassScores, 'labels'>, place: number): string {
  return labels?.[place] ?? String(place);
}

function named(texts: readonly string[], scores: ClassScores): string[] {
  return texts.map((text) => {
    const place = placeOf(scores, text, scores.labels?.length ?? 0);
    return place === undefined ? text : labelAt(scores, place);
  });
}

function textsOf({ output }: OwnLabel, outputs: readonly NamedTensor[]): string[] | undefined {
  const data = outputs.find(({ name }) => name === output)?.data;
  return data && Array.from(data, String);
}

/** Place of the class that the model calls so. */
function placeOf({ own, labels }: ClassScores, text: string, count: number): number | undefined {
  const known = own?.places.get(text);
  if (known !== undefined) return known;
  const place = own?.isPlace ? Number(text) : (labels?.indexOf(text) ?? -1);
  return place >= 0 && place < count ? place : undefined;
}

/** What the activation of one row needs to know of the whole row. */
type RowScale = { kind: 'none' | 'sigmoid' } | { kind: 'softmax'; highest: number; sum: number };

function scaleOf(table: ScoreTable, row: number, activation: ClassScores['activation']): RowScale {
  if (activation !== 'softmax') return activation === undefined ? unscaled : sigmoid;
  let highest = Number.NEGATIVE_INFINITY;
  for (let place = 0; place < table.width; place++) highest = Math.max(highest, numberAt(table, row, place));
  let sum = 0;
  for (let place = 0; place < table.width; place++) sum += Math.exp(numberAt(table, row, place) - highest);
  return { kind: 'softmax', highest, sum };
}

const unscaled: RowScale = { kind: 'none' };
const sigmoid: RowScale = { kind: 'sigmoid' };

function activated(value: number, scale: RowScale): number {
  if (scale.kind === 'softmax') return Math.exp(value - scale.highest) / scale.sum;
  return scale.kind === 'sigmoid' ? 1 / (1 + Math.exp(-value)) : value;
}

function numberAt({ values, width }: ScoreTable, row: number, place: number): number {
  return values[row * width + place] ?? Number.NaN;
}

/** The first of the highest. */
function bestOf(table: ScoreTable, row: number): number {
  let best = 0;
  for (let place = 1; place < table.width; place++) {
    if (numberAt(table, row, place) > numberAt(table, row, best)) best = place;
  }
  return best;
}

function isNoProbability(value = Number.NaN): boolean {
  return value < 0 || value > 1;
}

function bothOf(second = Number.NaN): number[] {
  return [1 - second, second];
}
