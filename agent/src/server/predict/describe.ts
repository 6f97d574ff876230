// `GET /predict`, `GET /predict/{model}`: what the models take and answer, in the words of their manifests.
import type { NumericProfile } from '@edgeloop/shared/profile';
import type { Context } from 'hono';
import type { Engine, LoadedModel } from '../../inference/engine.ts';
import { leaseOf } from '../lease.ts';
import { mediaTypesOf } from './media-type.ts';

/** Every loaded version, the active one of each model marked. */
export function handleModels(c: Context, { engine }: { engine: Engine }): Response {
  const models = engine
    .list()
    .map(({ name, version, active, model }) => ({ ...described(name, version, model), active }));
  return c.json({ models });
}

/** The active version or the one that the path names. */
export function handleDescription(c: Context, { engine }: { engine: Engine }): Response {
  const { name, version, model, release } = leaseOf(c, engine);
  release();
  return c.json(described(name, version, model));
}

function described(name: string, version: number, { files, signature, interpretation }: LoadedModel): object {
  const { task, description, outputs, monitoring } = files.manifest;
  const { featureInputs, pictures, sounds, texts, constants, labels, detection, segmentation, embedding } =
    interpretation;
  const profiles = new Map(Object.entries(monitoring.reference?.features ?? {}));
  return {
    name,
    version,
    task: detection ? 'detection' : segmentation ? 'segmentation' : embedding ? 'embedding' : task,
    description,
    takes: mediaTypesOf(interpretation),
    features: featureInputs.flatMap(({ spec, features, missing }) =>
      features.map((feature) => ({
        name: feature,
        input: spec.name,
        datatype: spec.datatype,
        default: missing.defaults.get(feature),
        missing: missing.otherwise === 'refuse' ? 'refuse' : 'nan',
        reference: referenceOf(profiles.get(feature)),
      })),
    ),
    pictures: pictures.map(({ spec, image }) => ({ input: spec.name, width: image.width, height: image.height })),
    sounds: sounds.map(({ spec, sampleRate }) => ({ input: spec.name, sampleRate })),
    texts: texts && { input: texts.ids.name, maxTokens: texts.maxTokens },
    constants: [...constants.keys()],
    labels,
    threshold: outputs.threshold,
    signature: { inputs: signature.inputs, outputs: signature.outputs },
    leftOut: signature.leftOut,
  };
}

/** Range and middle of the values that the model was made with. */
function referenceOf(profile: NumericProfile | undefined): object | undefined {
  if (!profile) return undefined;
  const { edges, counts } = profile;
  // Under the first edge, the bins, over the last edge; what was missing does not count.
  const known = counts.slice(0, -1);
  const half = known.reduce((sum, count) => sum + count, 0) / 2;
  let below = 0;
  const bin = known.findIndex((count) => {
    below += count;
    return below >= half;
  });
  const [low = 0, high = low] = [edges[0], edges.at(-1)];
  const middle = ((edges[Math.max(0, bin - 1)] ?? low) + (edges[bin] ?? high)) / 2;
  return { low, middle, high };
}
