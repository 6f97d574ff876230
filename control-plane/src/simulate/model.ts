// Which model a simulated fleet runs: one that is registered, or one of its own, which is registered the first time.
import { Model, ModelVersionDetail } from '@edgeloop/shared/api/models';
import { AppError } from '@edgeloop/shared/errors';
import type { Manifest, ManifestInput } from '@edgeloop/shared/manifest';
import { encodeModel } from '@edgeloop/shared/onnx/encode';
import type { NumericProfile, ReferenceProfile } from '@edgeloop/shared/profile';
import type { ApiClient } from '../cli/client.ts';
import { Dice } from './dice.ts';
import { multinomial, normal } from './draws.ts';
import type { SimulatedModel } from './settings.ts';

export interface RunModel {
  model: SimulatedModel;
  version: number;
}

export const ownModelName = 'simulated';
const features = ['temperature', 'vibration', 'current', 'pressure'];
const classes = ['normal', 'worn', 'faulty'];
const classWeights = [90, 8, 2];
const rows = 5000;
const binsOfFeature = 12;

/**
 * `named`: NAME or NAME:VERSION; the newest version when it says none.
 * @throws AppError `not_found` when it is not registered, `invalid_request` for no name and version
 */
export async function runModelOf(api: ApiClient, named: string | undefined): Promise<RunModel> {
  const [, name, version] = /^([^:]+)(?::(\d+))?$/.exec(named ?? ownModelName) ?? [];
  if (name === undefined) throw new AppError('invalid_request', '--model: must be NAME or NAME:VERSION');
  if (named === undefined) await registerOwn(api);
  const path = `/models/${encodeURIComponent(name)}`;
  const newest = (await api.get(path, Model)).versions.reduce((most, each) => Math.max(most, each.version), 0);
  if (newest === 0) throw new AppError('not_found', `model "${name}" has no version; push one: edgeloop models push`);
  const detail = await api.get(`${path}/versions/${version ?? newest}`, ModelVersionDetail);
  return { model: simulatedModelOf(name, detail.manifest), version: detail.version };
}

function simulatedModelOf(name: string, { outputs, monitoring: { reference } }: Manifest): SimulatedModel {
  return { name, classes: outputs.labels ?? [], ...(reference && { reference }) };
}

async function registerOwn(api: ApiClient): Promise<void> {
  try {
    if ((await api.get(`/models/${ownModelName}`, Model)).versions.length > 0) return;
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'not_found') throw error;
  }
  const form = new FormData();
  form.set('model', new Blob([Uint8Array.from(ownModel())]), 'model.onnx');
  form.set('manifest', JSON.stringify(ownManifest()));
  await api.send('POST', `/models/${ownModelName}/versions`, ModelVersionDetail, form);
}

/** A linear classifier; what it answers is never asked. */
function ownModel(): Uint8Array {
  const dice = new Dice(1);
  const [inputs, outputs] = [features.length, classes.length];
  const weights = Float32Array.from({ length: inputs * outputs }, () => normal(dice));
  return encodeModel({
    irVersion: 8,
    opset: 17,
    producer: { name: 'edgeloop simulate', version: '1' },
    graph: {
      name: 'simulated',
      inputs: [{ name: 'features', type: 'float', dims: ['n', inputs] }],
      outputs: [{ name: 'scores', type: 'float', dims: ['n', outputs] }],
      initializers: [{ name: 'w', dims: [inputs, outputs], data: weights }],
      nodes: [
        { opType: 'MatMul', inputs: ['features', 'w'], outputs: ['logits'] },
        { opType: 'Softmax', inputs: ['logits'], outputs: ['scores'], attributes: [{ name: 'axis', int: -1 }] },
      ],
    },
  });
}

export function ownManifest(): ManifestInput & { monitoring: { reference: ReferenceProfile } } {
  const dice = new Dice(2);
  const reference: ReferenceProfile = {
    rows,
    features: Object.fromEntries(features.map((name, i) => [name, bell(dice, 10 * (i + 1), i + 1)])),
    confidence: profileOf(dice, [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1], [1, 2, 3, 5, 8, 14, 20, 40]),
    classes: { counts: Object.fromEntries(classes.map((name, i) => [name, ((classWeights[i] ?? 0) * rows) / 100])) },
  };
  return {
    task: 'classification',
    description: 'Of simulated devices: no machine runs it',
    inputs: { features: { features } },
    outputs: { labels: classes, scores: 'scores' },
    monitoring: { reference },
  };
}

/** Normally distributed values, in bins of half a deviation. */
function bell(dice: Dice, mean: number, deviation: number): NumericProfile {
  const at = (bin: number) => (bin - binsOfFeature / 2) / 2;
  const edges = Array.from({ length: binsOfFeature + 1 }, (_, i) => mean + deviation * at(i));
  return profileOf(
    dice,
    edges,
    Array.from({ length: binsOfFeature }, (_, i) => Math.exp(-0.5 * at(i + 0.5) ** 2)),
  );
}

function profileOf(dice: Dice, edges: number[], weights: readonly number[]): NumericProfile {
  return { edges, counts: [0, ...multinomial(dice, rows, weights), 0, 0] };
}
