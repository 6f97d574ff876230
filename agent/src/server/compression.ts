// Bodies as gzip or deflate, both ways. What a body inflates to is bounded while it inflates.
import { promisify } from 'node:util';
import { createGunzip, createInflate, createInflateRaw, deflate, gzip } from 'node:zlib';
import { AppError, messageOf } from '@edgeloop/shared/errors';

const compressors = { gzip: promisify(gzip), deflate: promisify(deflate) };
export type Coding = keyof typeof compressors;

/** The body as it was before `Content-Encoding`. Throws `unsupported_media_type`, `payload_too_large`, `invalid_request`. */
export async function decoded(
  body: Buffer,
  encoding: string | undefined,
  onBytes: (bytes: number) => void,
): Promise<Buffer> {
  const coding = encoding?.trim().toLowerCase() ?? 'identity';
  if (coding === '' || coding === 'identity') return body;
  const inflater = inflaterOf(coding, body);
  const chunks: Buffer[] = [];
  inflater.end(body);
  try {
    for await (const chunk of inflater) {
      if (!Buffer.isBuffer(chunk)) continue;
      onBytes(chunk.length);
      chunks.push(chunk);
    }
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('invalid_request', `the body is no valid ${coding}: ${messageOf(cause)}`, { cause });
  }
  return Buffer.concat(chunks);
}

function inflaterOf(coding: string, body: Buffer): ReturnType<typeof createGunzip> {
  if (coding === 'gzip' || coding === 'x-gzip') return createGunzip();
  // HTTP's deflate is the zlib format; some senders leave its two bytes of header out.
  if (coding === 'deflate') return hasZlibHeader(body) ? createInflate() : createInflateRaw();
  const message = `bodies with content-encoding "${coding}" are not read; send it plain, as gzip or as deflate`;
  throw new AppError('unsupported_media_type', message);
}

function hasZlibHeader(body: Buffer): boolean {
  return body.length >= 2 && ((body[0] ?? 0) & 0x0f) === 8 && body.readUInt16BE(0) % 31 === 0;
}

/** Answers this large are worth compressing for callers that merely list what they could take. */
const worthwhileBytes = 64 * 1024;

/**
 * The coding for an answer. A caller that names one coding wants it; most HTTP clients list all they know in every
 * request, and on a local port compressing costs more than sending.
 */
export function codingFor(accept: string | undefined, sizeBytes: number): Coding | undefined {
  if (accept === undefined) return undefined;
  const listed = accept
    .toLowerCase()
    .split(',')
    .map((part) => part.trim());
  const taken = listed.filter((part) => !/;\s*q=0(\.0*)?$/.test(part)).map((part) => part.split(';')[0]?.trim());
  const coding = taken.includes('gzip') ? 'gzip' : taken.includes('deflate') ? 'deflate' : undefined;
  return listed.length === 1 || sizeBytes >= worthwhileBytes ? coding : undefined;
}

export function compressed(body: string | Buffer, coding: Coding): Promise<Buffer> {
  return compressors[coding](body);
}
