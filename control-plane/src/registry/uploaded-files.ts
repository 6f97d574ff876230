// The files that come with a version, as the one file that is registered, signed and fetched by devices.
import { dirname, join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import type { Manifest } from '@edgeloop/shared/manifest';
import { type FileToBundle, writeBundle } from '@edgeloop/shared/node/model-bundle';
import { checkFiles, filesOf } from '@edgeloop/shared/node/servable-pipeline';

/** One ONNX file, or those of a pipeline. They are temporary; the caller removes what is left of them and beside them. */
export type UploadedFiles = { path: string } | { parts: readonly { name: string; path: string }[] };

/** A further file that the manifest names as a variant. */
export interface UploadedVariant {
  name: string;
  path: string;
}

/** In the bundle, so that its digest says what it computes. */
const pipelineFile = 'pipeline.json';

/** The path of the one file. Throws `invalid_request` or `model_rejected` when the files are not those of the manifest. */
export async function artifactOf(uploaded: UploadedFiles, { pipeline }: Manifest): Promise<string> {
  if ('path' in uploaded) {
    if (pipeline === undefined) return uploaded.path;
    throw wrong('model', 'the manifest has a pipeline: send each of its files as a part "files"');
  }
  if (pipeline === undefined) throw wrong('files', 'the manifest has no pipeline: send one file as the part "model"');
  const names = uploaded.parts.map(({ name }) => name);
  checkFiles(pipeline, names);
  const wanted = filesOf(pipeline);
  const extra = names.find((name, at) => !wanted.includes(name) || names.indexOf(name) < at);
  if (extra !== undefined) throw wrong('files', `"${extra}" is named by no step, or comes twice; leave it out`);
  const path = join(dirname(uploaded.parts[0]?.path ?? ''), 'bundle');
  const files = uploaded.parts.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const said: FileToBundle = { name: pipelineFile, bytes: Buffer.from(JSON.stringify(pipeline)) };
  await writeBundle(path, [said, ...files]);
  return path;
}

function wrong(field: string, message: string): AppError {
  return new AppError('invalid_request', `${field}: ${message}`, { errors: [{ field, message }] });
}
