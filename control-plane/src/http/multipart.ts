// Multipart forms, streamed: files go to a scratch folder while they arrive, hashed and bounded, so that an upload of
// any size costs no memory, and nothing stays behind when it is refused.
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { piecesOf } from '@edgeloop/shared/node/early-answer';
import { Busboy } from '@fastify/busboy';
import { v7 as uuid } from 'uuid';
import { storageFailure } from '../database/storage-failure.ts';

export interface FormLimits<F extends string, T extends string, M extends string = never> {
  /** Where the files lie until `discard`. */
  scratchDir: string;
  /** Largest size of each file part, bytes. */
  files: Record<F, number>;
  /** The same of parts that may come several times, each with a file name of its own. */
  several?: Record<M, number>;
  /** Largest size of each text part, bytes; a text may also come as a file. */
  texts: Record<T, number>;
}

interface ReceivedFile {
  /** As the form calls it, without folders. */
  name: string;
  path: string;
  sizeBytes: number;
  /** SHA-256, hex. */
  digest: string;
}

export interface ReceivedForm<F extends string, T extends string, M extends string = never> {
  files: Partial<Record<F, ReceivedFile>>;
  several: Partial<Record<M, ReceivedFile[]>>;
  texts: Partial<Record<T, string>>;
  /** Removes what was received; files that were moved away are no longer there to remove. */
  discard(): Promise<void>;
}

/**
 * Reads a whole form. On any failure nothing is left on disk.
 * @throws AppError `payload_too_large` naming the part; `invalid_request` for an unknown part or a broken form;
 * `insufficient_storage`
 */
export async function receiveForm<const F extends string, const T extends string, const M extends string = never>(
  request: Request,
  limits: FormLimits<F, T, M>,
): Promise<ReceivedForm<F, T, M>> {
  const folder = join(limits.scratchDir, uuid());
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const discard = () => rm(folder, { recursive: true, force: true });
  try {
    return { ...(await readParts(request, limits, folder)), discard };
  } catch (error) {
    await discard();
    if (error instanceof AppError) throw error;
    throw (
      storageFailure(error) ??
      new AppError('invalid_request', `the form cannot be read: ${messageOf(error)}`, { cause: error })
    );
  }
}

async function readParts<F extends string, T extends string, M extends string>(
  request: Request,
  limits: FormLimits<F, T, M>,
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
    limits: { parts: 64 },
  });
  const files: Partial<Record<F, ReceivedFile>> = {};
  const several: Partial<Record<M, ReceivedFile[]>> = {};
  const texts: Partial<Record<T, string>> = {};
  const arriving: Promise<void>[] = [];
  const abort = new AbortController();
  const track = (work: Promise<void>) => arriving.push(work.catch((error: unknown) => abort.abort(error)));

  let parts = 0;
  parser.on('file', (field, stream, fileName) => {
    const name = basename(fileName ?? '');
    // A part does not end by itself when the form breaks off.
    abort.signal.addEventListener('abort', () => stream.destroy());
    if (isKey(limits.files, field)) {
      track(
        saveFile(stream, { field, limit: limits.files[field], path: join(folder, field) }).then((file) => {
          files[field] = { name, ...file };
        }),
      );
    } else if (limits.several && isKey(limits.several, field)) {
      const path = join(folder, `part-${parts++}`);
      track(
        saveFile(stream, { field, limit: limits.several[field], path }).then((file) => {
          several[field] = [...(several[field] ?? []), { name, ...file }];
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
  return { files, several, texts };
}

async function saveFile(
  stream: Readable,
  { field, limit, path }: { field: string; limit: number; path: string },
): Promise<Omit<ReceivedFile, 'name'>> {
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

function unknownPart(field: string, limits: FormLimits<string, string, string>): AppError {
  const known = [...Object.keys(limits.files), ...Object.keys(limits.several ?? {}), ...Object.keys(limits.texts)];
  return new AppError('invalid_request', `${field}: is not a part of this form; it has ${known.join(', ')}`, {
    errors: [{ field, message: 'unknown part' }],
  });
}
