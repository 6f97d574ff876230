// Multipart forms, streamed: files go to a scratch folder while they arrive, hashed and bounded, so that an upload of
// any size costs no memory, and nothing stays behind when it is refused.
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { piecesOf } from '@edgeloop/shared/node/early-answer';
import { Busboy } from '@fastify/busboy';
import { v7 as uuid } from 'uuid';
import { storageFailure } from '../database/storage-failure.ts';

export interface FormLimits<F extends string, T extends string> {
  /** Where the files lie until `discard`. */
  scratchDir: string;
  /** Largest size of each file part, bytes. */
  files: Record<F, number>;
  /** Largest size of each text part, bytes; a text may also come as a file. */
  texts: Record<T, number>;
}

interface ReceivedFile {
  path: string;
  sizeBytes: number;
  /** SHA-256, hex. */
  digest: string;
}

export interface ReceivedForm<F extends string, T extends string> {
  files: Partial<Record<F, ReceivedFile>>;
  texts: Partial<Record<T, string>>;
  /** Removes what was received; files that were moved away are no longer there to remove. */
  discard(): Promise<void>;
}

/**
 * Reads a whole form. On any failure nothing is left on disk.
 * @throws AppError `payload_too_large` naming the part; `invalid_request` for an unknown part or a broken form;
 * `insufficient_storage`
 */
export async function receiveForm<const F extends string, const T extends string>(
  request: Request,
  limits: FormLimits<F, T>,
): Promise<ReceivedForm<F, T>> {
  const folder = join(limits.scratchDir, uuid());
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const discard = () => rm(folder, { recursive: true, force: true });
  try {
    const { files, texts } = await readParts(request, limits, folder);
    return { files, texts, discard };
  } catch (error) {
    await discard();
    if (error instanceof AppError) throw error;
    throw (
      storageFailure(error) ??
      new AppError('invalid_request', `the form cannot be read: ${messageOf(error)}`, { cause: error })
    );
  }
}

async function readParts<F extends string, T extends string>(
  request: Request,
  limits: FormLimits<F, T>,
  folder: string,
) {
  const contentType = request.headers.get('content-type') ?? '';
  if (!contentType.startsWith('multipart/form-data'))
    throw new AppError('unsupported_media_type', 'send multipart/form-data');
  if (request.body === null) throw new AppError('invalid_request', 'the form is empty');
  const parser = new Busboy({
    headers: { 'content-type': contentType },
    // Every part as a stream: a plain field would be read to its end before its size is known.
    isPartAFile: () => true,
    limits: { parts: 32 },
  });
  const files: Partial<Record<F, ReceivedFile>> = {};
  const texts: Partial<Record<T, string>> = {};
  const arriving: Promise<void>[] = [];
  const abort = new AbortController();
  const track = (work: Promise<void>) => arriving.push(work.catch((error: unknown) => abort.abort(error)));

  parser.on('file', (field, stream) => {
    // A part does not end by itself when the form breaks off.
    abort.signal.addEventListener('abort', () => stream.destroy());
    if (isKey(limits.files, field)) {
      track(
        saveFile(stream, { field, limit: limits.files[field], path: join(folder, field) }).then((file) => {
          files[field] = file;
        }),
      );
    } else if (isKey(limits.texts, field)) {
      track(
        readText(stream, field, limits.texts[field]).then((text) => {
          texts[field] = text;
        }),
      );
    } else {
      stream.resume();
      abort.abort(unknownPart(field, limits));
    }
  });
  await pipeline(piecesOf(request.body), parser, { signal: abort.signal }).catch((error) => abort.abort(error));
  await Promise.all(arriving);
  abort.signal.throwIfAborted();
  return { files, texts };
}

async function saveFile(
  stream: Readable,
  { field, limit, path }: { field: string; limit: number; path: string },
): Promise<ReceivedFile> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      sizeBytes += chunk.length;
      hash.update(chunk);
      if (sizeBytes > limit) done(tooLarge(field, limit));
      else done(null, chunk);
    },
  });
  await pipeline(stream, measure, createWriteStream(path, { mode: 0o600 }));
  return { path, sizeBytes, digest: hash.digest('hex') };
}

async function readText(stream: Readable, field: string, limit: number): Promise<string> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of stream) {
    const bytes: Buffer = chunk;
    sizeBytes += bytes.length;
    if (sizeBytes > limit) throw tooLarge(field, limit);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function isKey<K extends string>(record: Record<K, number>, name: string): name is K {
  return Object.hasOwn(record, name);
}

function tooLarge(field: string, limit: number): AppError {
  return new AppError('payload_too_large', `${field}: is larger than ${limit} bytes`, {
    errors: [{ field, message: `must be at most ${limit} bytes` }],
  });
}

function unknownPart(field: string, limits: FormLimits<string, string>): AppError {
  const known = [...Object.keys(limits.files), ...Object.keys(limits.texts)];
  return new AppError('invalid_request', `${field}: is not a part of this form; it has ${known.join(', ')}`, {
    errors: [{ field, message: 'unknown part' }],
  });
}
