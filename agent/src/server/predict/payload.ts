// What a prediction request says, whatever its form: rows of features, a file, or both in a form.
import { AppError, parse, parseJson } from '@edgeloop/shared/errors';
import { z } from 'zod';
import type { LoadedModel } from '../../inference/engine.ts';
import { csvRows } from './csv.ts';
import type { FeatureRow } from './features.ts';
import { type BodyKind, isWave, kindOf, pictureFormat } from './media-type.ts';

export interface Payload {
  /** The caller's id for the request. */
  id: string | undefined;
  rows: readonly FeatureRow[] | undefined;
  texts: readonly Text[] | undefined;
  /** One row that was not sent as a list, so that the answer is none either. */
  single: boolean;
  file: { kind: 'picture' | 'sound'; bytes: Buffer } | undefined;
  /** Whole inputs by their name, in the place of the manifest's `value`. */
  inputs: Readonly<Record<string, unknown>>;
}

/** One text, or two that the model holds against each other. */
export type Text = string | [string, string];

/** A plain object as it was parsed: copying it would lose names such as `__proto__`. */
const ByName = z.custom<Record<string, unknown>>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'must be an object {name: number} or an array of numbers',
);
const Row = z.union([z.array(z.unknown()), ByName]);
const maxRows = 65_536;
const OneText = z.union([z.string(), z.tuple([z.string(), z.string()])]);
const maxTexts = 256;
const PredictRequest = z.object({
  id: z.string().max(200).optional(),
  features: Row.optional(),
  rows: z.array(Row).min(1).max(maxRows).optional(),
  text: OneText.optional(),
  texts: z.array(OneText).min(1).max(maxTexts).optional(),
  inputs: ByName.optional(),
});

/** Reads a body of any of the kinds that the model takes. Throws `unsupported_media_type` or `invalid_request`. */
export async function readPayload(body: Buffer, contentType: string | undefined, model: LoadedModel): Promise<Payload> {
  const kind = kindOf(contentType, body, model);
  return kind === 'form' ? fromForm(body, contentType ?? '', model) : fromBody(kind, body, model);
}

const nothing: Payload = {
  id: undefined,
  rows: undefined,
  texts: undefined,
  single: true,
  file: undefined,
  inputs: {},
};

async function fromBody(kind: Exclude<BodyKind, 'form'>, body: Buffer, model: LoadedModel): Promise<Payload> {
  if (kind === 'json') return fromJson(body.toString('utf8'));
  if (kind === 'text') return { ...nothing, texts: [body.toString('utf8')] };
  if (kind === 'csv') return { ...nothing, rows: await csvRows(body, model), single: false };
  return { ...nothing, file: { kind, bytes: body } };
}

function fromJson(body: string): Payload {
  const value = parseJson(z.unknown(), body, 'request');
  const { id, features, rows, text, texts, inputs } = parse(
    PredictRequest,
    Array.isArray(value) ? { rows: value } : value,
    'request',
  );
  if (features && rows) throw new AppError('invalid_request', 'request has both features and rows; send one of them');
  if (text !== undefined && texts)
    throw new AppError('invalid_request', 'request has both text and texts; send one of them');
  return {
    ...nothing,
    id: id || undefined,
    rows: features ? [features] : rows,
    texts: text === undefined ? texts : [text],
    single: !rows && !texts,
    inputs: inputs ?? {},
  };
}

/** One file field, whatever its name, and optionally the fields `id`, `features` and `inputs` (JSON). */
async function fromForm(body: Buffer, contentType: string, model: LoadedModel): Promise<Payload> {
  const form = await formOf(body, contentType);
  const files: Blob[] = [];
  const said: Record<string, unknown> = {};
  for (const [name, value] of form) {
    if (typeof value !== 'string') files.push(value);
    else if (name === 'id') said.id = value;
    else if (name === 'features' || name === 'inputs') said[name] = parseJson(z.unknown(), value, `form.${name}`);
    else throw new AppError('invalid_request', `unknown form field "${name}"; send a file, id, features or inputs`);
  }
  const [file] = files;
  if (!file || files.length > 1) throw new AppError('invalid_request', `the form has ${files.length} files, send one`);
  const { id, features, inputs } = parse(PredictRequest, said, 'form');
  const bytes = Buffer.from(await file.arrayBuffer());
  const kind = fileKind(bytes, model);
  return {
    ...nothing,
    id: id || undefined,
    rows: features && [features],
    file: { kind, bytes },
    inputs: inputs ?? {},
  };
}

function fileKind(bytes: Buffer, { files, interpretation }: LoadedModel): 'picture' | 'sound' {
  if (interpretation.pictures.length > 0 && pictureFormat(bytes)) return 'picture';
  if (interpretation.sounds.length > 0 && isWave(bytes)) return 'sound';
  const wanted = interpretation.pictures.length > 0 ? 'a JPEG, PNG or WebP picture' : 'a WAV file';
  throw new AppError('unsupported_media_type', `model "${files.name}" takes ${wanted}, the file is none`);
}

async function formOf(body: Buffer, contentType: string): Promise<FormData> {
  try {
    return await new Response(new Uint8Array(body), { headers: { 'content-type': contentType } }).formData();
  } catch (cause) {
    throw new AppError('invalid_request', "the form can't be read; send multipart/form-data with a boundary", {
      cause,
    });
  }
}
