// Which outputs of a classifier hold the scores of its classes and the class itself, and what the classes are called.
import type { Manifest } from '../manifest.ts';
import type { ModelSignature, TensorSpec } from '../tensors.ts';
import { listed, reject } from './rejection.ts';

type Outputs = Manifest['outputs'];

export interface ClassScores {
  /** The output with a score for each class; undefined for a model that says the class alone. */
  output: string | undefined;
  /** Its shape may be the rows alone: one probability for each. */
  flat: boolean;
  labels: readonly string[] | undefined;
  activation: Outputs['activation'];
  /** The model's own word on the class. */
  own: OwnLabel | undefined;
}

export interface OwnLabel {
  output: string;
  /** Class as the output says it -> place among the scores. */
  places: ReadonlyMap<string, number>;
  /** The output says the place itself. */
  isPlace: boolean;
}

/** Throws `model_rejected` naming the field when no output holds scores, or the labels don't fit. */
export function classScores(outputs: Outputs, signature: ModelSignature): ClassScores {
  const { labels: given, activation, label } = outputs;
  const count = given?.length ?? signature.classNames?.length;
  const spec =
    scoresOutput(outputs, signature, count) ?? (given ? undefined : scoresOutput(outputs, signature, undefined));
  if (!spec && !label) throw noScores(outputs, signature);
  if (given) checkCount(given, signature, spec !== undefined && isClassWidthSaid(spec.shape, given.length));
  if (spec && activation === 'softmax' && isSingle(spec.shape)) {
    throw reject('outputs.activation', `"softmax" of one score is always 1; "${spec.name}" takes "sigmoid"`);
  }
  return {
    output: spec?.name,
    flat: !spec || spec.shape.length === 0 || (spec.shape.length === 1 && spec.shape[0] === -1),
    labels: given ?? fileNames(outputs, signature),
    activation,
    own: ownLabel(outputs, signature, spec),
  };
}

/** The file's own names for the classes, where as many scores are there. */
export function fileNames(outputs: Outputs, signature: ModelSignature): readonly string[] | undefined {
  const { classNames } = signature;
  const spec = classNames && scoresOutput(outputs, signature, undefined);
  const fitting = classNames && scoresOutput(outputs, signature, classNames.length);
  return fitting || !spec ? classNames : undefined;
}

/** Whether a tensor may hold this many numbers for each row: along its last dimension, or before trailing ones (`[1, C, 1, 1]`). */
export function isClassWidth(shape: readonly number[], count: number): boolean {
  const widths = [shape.at(-1), withoutOnes(shape).at(-1)];
  return shape.length === 0 || widths.some((width) => width === -1 || width === count);
}

/** Whether it holds just that many, and not as many as may come. */
export function isClassWidthSaid(shape: readonly number[], count: number): boolean {
  return shape.length > 0 && [shape.at(-1), withoutOnes(shape).at(-1)].includes(count);
}

/** Without the ones behind the second dimension. */
export function withoutOnes(shape: readonly number[]): readonly number[] {
  let rank = shape.length;
  while (rank > 2 && shape[rank - 1] === 1) rank--;
  return shape.slice(0, rank);
}

/** One number for each row, or for the only one. */
function isSingle(shape: readonly number[]): boolean {
  return shape.length > 0 && shape.slice(shape.length > 1 ? 1 : 0).every((dim) => dim === 1);
}

function scoresOutput(
  { scores, label }: Outputs,
  { outputs, labelOutput }: ModelSignature,
  count: number | undefined,
): TensorSpec | undefined {
  const fits = ({ shape }: TensorSpec): boolean =>
    count === undefined || isClassWidth(shape, count) || (count === 2 && isSingle(shape));
  if (scores !== undefined)
    return outputs.find((output) => output.name === scores && isNumeric(output) && fits(output));
  const floats = outputs.filter(({ name, datatype }) => isFloat(datatype) && name !== label && name !== labelOutput);
  const exact = floats.find(({ shape }) => shape.length > 0 && shape.at(-1) === count);
  return exact ?? floats.find(fits);
}

function noScores({ scores, labels }: Outputs, signature: ModelSignature): Error {
  const { outputs, leftOut = [] } = signature;
  const candidates = scores === undefined ? outputs : outputs.filter(({ name }) => name === scores);
  if (scores !== undefined && !candidates.every(isNumeric)) {
    return reject('outputs.scores', `"${scores}" holds texts; name it as "label" when they are the classes`);
  }
  if (labels)
    return reject(
      'outputs.labels',
      `${labels.length} labels, but no output has a score for each: ${listed(candidates)}`,
    );
  const lost = leftOut.map(({ name, reason }) => `, and "${name}" ${reason}`).join('');
  const hint = 'an output that holds the class itself is named by "label"';
  return reject(
    'outputs.scores',
    `no output holds a score for each class; it has ${listed(candidates)}${lost}; ${hint}`,
  );
}

/**
 * The manifest wins over the file, unless nothing else says that there are as many classes (`isSaid`: an output does). Throws
 * `model_rejected`.
 */
export function checkCount(labels: readonly string[], { classNames }: ModelSignature, isSaid: boolean): void {
  if (!classNames || classNames.length === labels.length || isSaid) return;
  const shown = classNames.slice(0, 5).join(', ');
  throw reject(
    'outputs.labels',
    `${labels.length} labels, but the file itself has ${classNames.length} classes: ${shown}`,
  );
}

/** An output with a class for each row. Integers may be anything, so that their name or the file must say that they are classes. */
function ownLabel({ label }: Outputs, signature: ModelSignature, scores: TensorSpec | undefined): OwnLabel | undefined {
  const { outputs, labelOutput, classNames = [] } = signature;
  if (label !== undefined && outputs.some(({ name, datatype }) => name === label && !isClass(datatype))) {
    throw reject('outputs.label', `"${label}" holds neither texts nor integers`);
  }
  const candidates = outputs.filter(
    ({ name, datatype, shape }) =>
      name !== scores?.name && isClass(datatype) && shape.slice(1).every((dim) => dim === 1 || dim === -1),
  );
  const isNamed = ({ name, datatype }: TensorSpec): boolean => datatype === 'BYTES' || /label|class/i.test(name);
  const found = candidates.find(({ name }) => name === (label ?? labelOutput)) ?? candidates.find(isNamed);
  if (!found || (label !== undefined && found.name !== label)) return undefined;
  const isPlace = found.datatype !== 'BYTES' && !classNames.every((name) => /^-?\d+$/.test(name));
  return {
    output: found.name,
    places: new Map(classNames.map((name, place) => [name, place])),
    isPlace: isPlace || (found.datatype !== 'BYTES' && classNames.length === 0),
  };
}

function isFloat(datatype: TensorSpec['datatype']): boolean {
  return datatype.startsWith('FP');
}

function isNumeric({ datatype }: TensorSpec): boolean {
  return datatype !== 'BYTES';
}

function isClass(datatype: TensorSpec['datatype']): boolean {
  return datatype === 'BYTES' || /^U?INT/.test(datatype);
}
