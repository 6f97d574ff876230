// The outputs of a model as people read them: labels, values, boxes, anomalies.
import { AppError } from '@edgeloop/shared/errors';
import { detect } from '@edgeloop/shared/meaning/detection';
import { type Interpretation, labelAt, predictionsOf, scoreRows } from '@edgeloop/shared/meaning/interpretation';
import { type NamedTensor, numbersOf, tensorToJson } from '@edgeloop/shared/tensor-data';
import type { LoadedModel, ModelLease } from '../../inference/engine.ts';
import { boxInPicture } from './geometry.ts';
import type { Inputs } from './inputs.ts';

export interface Question {
  /** How many of the best classes to list. */
  top: number | undefined;
  /** Answer with one prediction rather than a list. */
  single: boolean;
  inputs: Inputs;
}

/** `label, score, scores` of a classifier, `value` or `values` of a regression, `detections`, or `score` of an anomaly. */
export function answerOf(lease: ModelLease, outputs: readonly NamedTensor[], question: Question): object {
  const { model } = lease;
  const { detection } = model.interpretation;
  if (detection) return detectionsAnswer(model, detection, outputs, question.inputs);
  const { single, inputs } = question;
  const predictions = rowAnswers(model, outputs, question);
  if (predictions?.length === inputs.rows) return single ? (predictions[0] ?? {}) : { predictions };
  return { outputs: outputs.map((output) => ({ name: output.name, ...tensorToJson(output) })) };
}

/** An answer for each row; undefined when the outputs have no meaning that the manifest tells. */
function rowAnswers(model: LoadedModel, outputs: readonly NamedTensor[], question: Question): object[] | undefined {
  const { scores } = model.interpretation;
  if (scores) return classes(scores, outputs, question.top);
  const { task, outputs: meaning } = model.files.manifest;
  const named = meaning.scores === undefined ? undefined : outputs.find(({ name }) => name === meaning.scores);
  const output = named ?? (outputs.length === 1 || task === 'anomaly' ? outputs[0] : undefined);
  if (!output) return undefined;
  if (task === 'anomaly') return anomalies(output, meaning.threshold);
  return values(output, question.inputs.rows, task === 'regression' ? (meaning.labels ?? []) : undefined);
}

function classes(
  scores: NonNullable<Interpretation['scores']>,
  outputs: readonly NamedTensor[],
  top: number | undefined,
): object[] | undefined {
  const rows = scoreRows(scores, outputs);
  const best = predictionsOf(scores, outputs);
  return rows?.map((row, at) => {
    const labelled = row.map((score, place) => ({ label: labelAt(scores, place), score }));
    return {
      label: best?.predicted[at],
      score: best?.scores[at],
      // fromEntries defines names such as `__proto__` like any other.
      scores: Object.fromEntries(labelled.map(({ label, score }) => [label, score])),
      ...(top === undefined ? {} : { top: labelled.toSorted((a, b) => b.score - a.score).slice(0, top) }),
    };
  });
}

function anomalies(output: NamedTensor, threshold: number | undefined): object[] | undefined {
  const scores = numbersOf(output);
  if (!scores) return undefined;
  return Array.from(scores, (score) => ({
    score,
    ...(threshold === undefined ? {} : { threshold, anomalous: score >= threshold }),
  }));
}

/** One value a row; of a regression also several, by their names where the manifest gives some. */
function values(output: NamedTensor, rows: number, names: readonly string[] | undefined): object[] | undefined {
  const { data } = tensorToJson(output);
  const width = data.length / rows;
  if (!Number.isInteger(width) || width === 0 || (width > 1 && !names)) return undefined;
  return Array.from({ length: rows }, (_, row) => {
    const own = data.slice(row * width, (row + 1) * width);
    if (width === 1) return { value: own[0] };
    return { values: names?.length === width ? Object.fromEntries(own.map((value, i) => [names[i], value])) : own };
  });
}

function detectionsAnswer(
  { files }: LoadedModel,
  detection: NonNullable<Interpretation['detection']>,
  outputs: readonly NamedTensor[],
  { placement, size }: Inputs,
): object {
  if (!placement || !size) throw new AppError('invalid_request', 'the model takes a picture, the request has none');
  const { labels } = files.manifest.outputs;
  const found = detect(detection, outputs, size, labels?.length);
  if (typeof found === 'string') {
    throw new AppError('internal', `model "${files.name}" does not answer as its manifest says: ${found}`);
  }
  const detections = found.flatMap(({ place, score, box }) => {
    const inside = boxInPicture(box, placement);
    if (!inside) return [];
    const [x, y, width, height] = [inside.left, inside.top, inside.width, inside.height].map(hundredths);
    return [{ label: labels?.[place] ?? String(place), score, box: { x, y, width, height } }];
  });
  return { image: placement.picture, detections };
}

function hundredths(pixels: number): number {
  return Math.round(pixels * 100) / 100;
}
