// What a load request brings along: another configuration, and files in the place of the folder's, as Triton's model
// repository extension has it (protocol/extension_model_repository.md).
import { randomUUID } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError, parse, parseJson } from '@edgeloop/shared/errors';
import { z } from 'zod';
import { type LoadOverride, ManifestOverride } from '../process/ipc.ts';

/** The JSON form of Protocol Buffers writes whole numbers as texts, too. */
const Whole = z.union([
  z.number().int().min(0),
  z
    .string()
    .regex(/^\d{1,9}$/, 'must be a whole number')
    .transform(Number),
]);

/** Triton's model configuration, as far as it can be honoured; what says nothing here may be sent and is passed over. */
const TritonConfig = z
  .strictObject({
    name: z.string(),
    platform: z.enum(['onnxruntime_onnx', 'ensemble', '']),
    backend: z.enum(['onnxruntime', '']),
    default_model_filename: z.enum(['model.onnx', '']),
    max_batch_size: Whole,
    dynamic_batching: z
      .strictObject({ max_queue_delay_microseconds: Whole, preferred_batch_size: z.array(Whole) })
      .partial(),
    instance_group: z.array(
      z
        .strictObject({
          count: Whole,
          kind: z.enum(['KIND_AUTO', 'KIND_CPU', 'KIND_MODEL']),
          name: z.string(),
          gpus: z.array(Whole).max(0, 'no GPU is offered'),
          profile: z.array(z.string()).max(0, 'profiles are not offered'),
        })
        .partial(),
    ),
    version_policy: z.union([
      z.strictObject({ latest: z.strictObject({ num_versions: Whole }) }),
      z.strictObject({ all: z.strictObject({}) }),
      z.strictObject({ specific: z.strictObject({ versions: z.array(Whole) }) }),
    ]),
    ensemble_scheduling: z.undefined(
      'steps are not taken from a configuration; send "file:VERSION/model.json" with a "pipeline", and its models beside it',
    ),
    input: z.unknown(),
    output: z.unknown(),
    parameters: z.unknown(),
  })
  .partial();
type TritonConfig = z.infer<typeof TritonConfig>;

/** `file:VERSION/NAME`. Nothing in it can lead out of the version's folder. */
const filePattern = /^file:([1-9]\d{0,8})\/([A-Za-z0-9_][A-Za-z0-9_.-]{0,99})$/;
const base64 = /^[A-Za-z0-9+/]*={0,2}$/;

/**
 * Reads the parameters of a load request, and writes the files that come with it below a new folder in `dir`. Undefined
 * when there are neither. @throws AppError `invalid_request` naming the parameter
 */
export async function readOverride(
  parameters: Readonly<Record<string, unknown>>,
  { model, dir }: { model: string; dir: string },
): Promise<LoadOverride | undefined> {
  const files = Object.entries(parameters).filter(([name]) => name.startsWith('file:'));
  if (parameters.config === undefined) {
    if (files.length > 0) throw invalid('files need a configuration, too; send "config", "{}" at least');
    return undefined;
  }
  const manifest = manifestOf(parse(z.string(), parameters.config, 'parameters.config'), model);
  if (files.length === 0) return { manifest };
  const decoded = files.map(([name, content]) => decodedFile(name, content));
  for (const { version } of decoded) {
    const names = decoded.filter((file) => file.version === version).map(({ name }) => name);
    // Which files a pipeline needs, its manifest says; that is checked with them.
    if (names.includes('model.onnx') || names.includes('model.json')) continue;
    throw invalid(
      `version ${version} has no model; send it as "file:${version}/model.onnx", or the manifest of a pipeline as "file:${version}/model.json" beside its models`,
    );
  }
  const root = join(dir, randomUUID());
  try {
    for (const { version, name, bytes } of decoded) {
      const folder = join(root, model, version);
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, name), bytes);
    }
  } catch (error) {
    await rm(root, { recursive: true, force: true });
    throw error;
  }
  return { manifest, root };
}

function decodedFile(parameter: string, content: unknown): { version: string; name: string; bytes: Uint8Array } {
  const [, version, name] = filePattern.exec(parameter) ?? [];
  if (version === undefined || name === undefined) {
    throw invalid(`"${parameter.slice(0, 200)}" must be "file:VERSION/NAME", for example "file:1/model.onnx"`);
  }
  // Over gRPC they are bytes.
  if (content instanceof Uint8Array) return { version, name, bytes: content };
  if (typeof content !== 'string' || content.length % 4 !== 0 || !base64.test(content)) {
    throw invalid(`"${parameter}" must be a text in base64`);
  }
  return { version, name, bytes: Buffer.from(content, 'base64') };
}

function manifestOf(text: string, model: string): ManifestOverride {
  const config = parseJson(TritonConfig, text, 'config');
  if (config.name !== undefined && config.name !== model) {
    throw invalid(`config.name is "${config.name}", the request is for "${model}"`);
  }
  const { max_batch_size: maxBatch, dynamic_batching: batching, instance_group: groups } = config;
  const delay = batching?.max_queue_delay_microseconds;
  const manifest = {
    // To Triton 0 means that the first dimension is no batch; requests then run one by one.
    ...(maxBatch === undefined ? {} : { maxBatch: Math.max(1, maxBatch) }),
    ...(delay === undefined ? {} : { maxDelayMs: delay / 1000 }),
    ...(groups === undefined ? {} : { instances: groups.reduce((sum, { count = 1 }) => sum + count, 0) }),
    ...versionsOf(config),
  };
  return parse(ManifestOverride, manifest, 'config');
}

function versionsOf({ version_policy: policy }: TritonConfig): Pick<ManifestOverride, 'versions'> {
  if (policy === undefined) return {};
  if ('latest' in policy) return { versions: { latest: policy.latest.num_versions } };
  return { versions: 'all' in policy ? 'all' : policy.specific.versions };
}

function invalid(message: string): AppError {
  return new AppError('invalid_request', message);
}
