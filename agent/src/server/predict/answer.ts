// The outputs of a model as people read them: labels, values, boxes, anomalies.
import type { ClassScores } from '@edgeloop/shared/meaning/class-scores';
import { labelAt, predictionsOf, scoreRows } from '@edgeloop/shared/meaning/predictions';
import { type NamedTensor, tensorToJson } from '@edgeloop/shared/tensor-data';
import type { LoadedModel, ModelLease } from '../../inference/engine.ts';
import { anomalies } from './anomalies.ts';
import { detectionsAnswer, unlike } from './detections.ts';
import { embeddingRows } from './embeddings.ts';
import type { Inputs } from './inputs.ts';
import { segmentsAnswer } from './segments.ts';
import { type Rows, values } from './values.ts';

export interface Question {
  /** How many of the best classes to list. */
  top: number | undefined;
  /** Answer with one prediction rather than a list. */
  single: boolean;
  inputs: Inputs;
}

/** `label, score, scores` of a classifier, `value` or `values` of a regression, `detections`, `segments`, or `score` of an anomaly. */
export function answerOf(lease: ModelLease, outputs: readonly NamedTensor[], question: Question): object {
  const { model } = lease;
  const { detection, segmentation, embedding } = model.interpretation;
  if (detection) return detectionsAnswer(model, detection, outputs, question.inputs);
  if (segmentation) return segmentsAnswer(model, segmentation, outputs, question.inputs);
  const rows = rowsIn(model, question.inputs);
  const answers = embedding
    ? embeddingRows(model, embedding, outputs, question.inputs)
    : answersOf(model, outputs, { rows, top: question.top });
  const [first] = answers ?? [];
  // One window of many rows has one answer, as one row has.
  if (first && answers?.length === 1 && (question.single || rows.count > 1)) return first;
  if (answers?.length === rows.count || answers?.length === rows.windows) return { predictions: answers };
  return { outputs: outputs.map((output) => ({ name: output.name, ...tensorToJson(output) })) };
}

/** Rows may lie along a dimension of time: then the first one counts windows of them. */
function rowsIn({ interpretation }: LoadedModel, { rows, tensors }: Inputs): Rows {
  const [named] = interpretation.featureInputs;
  const shape = tensors.find(({ name }) => name === named?.spec.name)?.shape ?? [];
  return { count: rows, windows: shape.length > 2 ? (shape[0] ?? 1) : rows };
}

/** Undefined when the outputs have no meaning that the manifest tells. */
function answersOf(
  model: LoadedModel,
  outputs: readonly NamedTensor[],
  { rows, top }: { rows: Rows; top: number | undefined },
): object[] | undefined {
  const { scores, labels = [] } = model.interpretation;
  if (scores) return classes(model, scores, outputs, { rows: rows.count, top });
  const { task, outputs: meaning } = model.files.manifest;
  const named = meaning.scores === undefined ? outputs : outputs.filter(({ name }) => name === meaning.scores);
  if (task === 'anomaly') return anomalies(meaning, outputs, rows);
  const specs = model.signature.outputs;
  if (task === 'regression') return values(named, specs, rows, labels);
  return named.length === 1 ? values(named, specs, rows, undefined) : undefined;
}

function classes(
  model: LoadedModel,
  scores: ClassScores,
  outputs: readonly NamedTensor[],
  { rows, top }: { rows: number; top: number | undefined },
): object[] | undefined {
  const table = scoreRows(scores, outputs, rows);
  if (typeof table === 'string') throw unlike(model, table);
  const best = predictionsOf(scores, outputs, rows);
  return best?.predicted.map((label, at) => {
    const own = table?.[at];
    if (!own) return { label };
    const labelled = own.map((score, place) => ({ label: labelAt(scores, place), score }));
    return {
      label,
      score: best.scores?.[at],
      // fromEntries defines names such as `__proto__` like any other.
      scores: Object.fromEntries(labelled.map((each) => [each.label, each.score])),
      ...(top === undefined ? {} : { top: labelled.toSorted((a, b) => b.score - a.score).slice(0, top) }),
    };
  });
}
