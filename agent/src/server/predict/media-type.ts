// What a request body is: by its content type, and by its first bytes where the type says nothing.
import { AppError } from '@edgeloop/shared/errors';
import type { Interpretation } from '@edgeloop/shared/meaning/interpretation';
import type { LoadedModel } from '../../inference/engine.ts';

export type PictureFormat = 'jpeg' | 'png' | 'webp';
export type BodyKind = 'json' | 'csv' | 'form' | 'picture' | 'sound' | 'text';

const kinds: ReadonlyMap<string, BodyKind> = new Map<string, BodyKind>([
  ['application/json', 'json'],
  ['text/json', 'json'],
  ['text/csv', 'csv'],
  ['multipart/form-data', 'form'],
  ['image/jpeg', 'picture'],
  ['image/jpg', 'picture'],
  ['image/png', 'picture'],
  ['image/webp', 'picture'],
  ['audio/wav', 'sound'],
  ['audio/wave', 'sound'],
  ['audio/x-wav', 'sound'],
  ['audio/vnd.wave', 'sound'],
]);

/** What clients send when nobody told them the type: curl's `-d`, fetch with a string, a bare upload. */
const unsaid = new Set(['', 'application/x-www-form-urlencoded', 'text/plain', 'application/octet-stream']);

/** Media types that a model takes, for people. */
export function mediaTypesOf({ featureInputs, pictures, sounds, texts, constants }: Interpretation): string[] {
  const onlyConstants = !texts && featureInputs.length + pictures.length + sounds.length === 0 && constants.size > 0;
  const file = pictures.length + sounds.length > 0;
  return [
    ...(!file && (featureInputs.length > 0 || texts || onlyConstants) ? ['application/json'] : []),
    ...(!file && !texts && featureInputs.length > 0 ? ['text/csv'] : []),
    ...(!file && texts && featureInputs.length === 0 ? ['text/plain'] : []),
    ...(pictures.length > 0 && featureInputs.length + sounds.length === 0
      ? ['image/jpeg', 'image/png', 'image/webp']
      : []),
    ...(sounds.length > 0 && featureInputs.length + pictures.length === 0 ? ['audio/wav'] : []),
    ...(file ? ['multipart/form-data'] : []),
  ];
}

/** The kind of a body. Throws `unsupported_media_type` naming what the model takes. */
export function kindOf(contentType: string | undefined, body: Buffer, model: LoadedModel): BodyKind {
  const types = mediaTypesOf(model.interpretation);
  const type = (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (type === 'text/plain' && types.includes(type)) return saysText(body) ? 'json' : 'text';
  const kind = unsaid.has(type) ? (sniffed(body) ?? 'json') : kinds.get(type);
  // A model that takes nothing here gets its reason from the tensors.
  const open = types.length === 0 && kind === 'json';
  if (kind !== undefined && (open || types.some((each) => kinds.get(each) === kind))) return kind;
  const sent = unsaid.has(type) ? `a ${kind} body` : `"${type}"`;
  const because = type.startsWith('image/') && kind === 'picture' ? ', since its manifest declares no image input' : '';
  const list = types.join(', ') || 'nothing through /predict, its manifest says nothing of its inputs';
  throw new AppError(
    'unsupported_media_type',
    `model "${model.files.name}" can't take ${sent}${because}; it takes ${list}`,
  );
}

/** `fetch` calls a string of JSON `text/plain` too. */
function saysText(body: Buffer): boolean {
  const text = body.toString('utf8').trim();
  if (!text.startsWith('{')) return false;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && ('text' in value || 'texts' in value);
  } catch {
    return false;
  }
}

function sniffed(bytes: Buffer): 'picture' | 'sound' | undefined {
  if (pictureFormat(bytes)) return 'picture';
  return isWave(bytes) ? 'sound' : undefined;
}

/** By the first bytes; undefined for everything else, however it calls itself. */
export function pictureFormat(bytes: Buffer): PictureFormat | undefined {
  if (bytes.subarray(0, 3).equals(Buffer.from([0xff, 0xd8, 0xff]))) return 'jpeg';
  if (bytes.subarray(0, 8).equals(Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'))) return 'png';
  return bytes.toString('latin1', 0, 4) === 'RIFF' && bytes.toString('latin1', 8, 12) === 'WEBP' ? 'webp' : undefined;
}

export function isWave(bytes: Buffer): boolean {
  return bytes.toString('latin1', 0, 4) === 'RIFF' && bytes.toString('latin1', 8, 12) === 'WAVE';
}
