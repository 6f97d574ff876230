// Request bodies, bounded each and together, whether they say their length or not.
import type { IncomingMessage } from 'node:http';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { piecesOf } from '@edgeloop/shared/node/early-answer';
import type { HonoRequest } from 'hono';
import type { BodyMemoryOptions, Hold } from './body-memory.ts';
import { decoded } from './compression.ts';

/** Largest body that is read, as sent and as inflated. */
const maxBodyBytes = 64 * 1024 * 1024;
/** Smaller ones mostly come in one piece. */
const largeBytes = 64 * 1024;

/** Of all requests together: room for two bodies of the largest kind, each held twice for a moment, in pieces and whole. */
export const bodyMemory = { totalBytes: 2 * maxBodyBytes, keptBytes: 8 * 1024 * 1024 } satisfies BodyMemoryOptions;

/**
 * The whole body as text. Throws `payload_too_large`, `unsupported_media_type` for unknown encodings, `invalid_request`
 * when it breaks off.
 */
export async function readBody(request: HonoRequest, limitBytes = maxBodyBytes): Promise<string> {
  return (await readBytes(request, limitBytes)).toString('utf8');
}

/** The whole body as bytes, with the same errors. `onBytes` hears of each piece of memory and may throw. */
export async function readBytes(
  request: HonoRequest,
  limitBytes = maxBodyBytes,
  onBytes: (bytes: number) => void = () => undefined,
): Promise<Buffer> {
  const counted = (): ((bytes: number) => void) => {
    const count = countUpTo(limitBytes);
    return (bytes) => {
      count(bytes);
      onBytes(bytes);
    };
  };
  const count = counted();
  refuseDeclared(request.header('content-length'), limitBytes);
  const { body } = request.raw;
  const chunks: Uint8Array[] = [];
  try {
    for await (const chunk of body === null ? [] : piecesOf(body)) {
      count(chunk.length);
      chunks.push(chunk);
    }
  } catch (cause) {
    throw brokenOff(cause);
  }
  return decoded(Buffer.concat(chunks), request.header('content-encoding'), counted());
}

/**
 * The whole body of a request of Node's server, or why it can't be had (whether that counts against a model is known only
 * once the model is). What is behind its first `jsonBytes` begins at a multiple of 8 in memory where it can. A large body
 * lies in the hold's own buffer.
 */
export function readIncoming(request: IncomingMessage, hold: Hold, jsonBytes: number): Promise<Buffer | AppError> {
  const encoding = request.headers['content-encoding'];
  const body = collect(request, hold, jsonBytes);
  return encoding === undefined ? body : body.then((whole) => inflated(whole, encoding, hold.take));
}

async function inflated(
  body: Buffer | AppError,
  encoding: string,
  take: (bytes: number) => void,
): Promise<Buffer | AppError> {
  if (body instanceof AppError) return body;
  const count = countUpTo(maxBodyBytes);
  try {
    return await decoded(body, encoding, (bytes) => {
      count(bytes);
      take(bytes);
    });
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
}

function collect(request: IncomingMessage, hold: Hold, jsonBytes: number): Promise<Buffer | AppError> {
  // Nothing tells so any more when the caller hung up before.
  if (request.destroyed) return Promise.resolve(brokenOff(new Error('the caller left')));
  const declared = Number(request.headers['content-length'] ?? 0);
  if (declared > maxBodyBytes) return Promise.resolve(tooLarge(maxBodyBytes));
  const pieces = declared >= largeBytes ? piecesIn(hold, declared, jsonBytes) : listOfPieces();
  let length = 0;
  return new Promise((resolve, reject) => {
    const onData = (piece: Buffer): void => {
      try {
        length += piece.length;
        if (length > maxBodyBytes) throw tooLarge(maxBodyBytes);
        hold.take(piece.length);
        pieces.add(piece);
      } catch (error) {
        // What still comes is not looked at; the answer closes the connection.
        request.off('data', onData);
        request.pause();
        if (error instanceof AppError) resolve(error);
        else reject(error);
      }
    };
    request.on('data', onData);
    request.on('end', () => resolve(pieces.whole()));
    // Node tells so as well when the caller hangs up before the body is whole.
    request.on('error', (cause) => resolve(brokenOff(cause)));
  });
}

interface Pieces {
  add(piece: Buffer): void;
  whole(): Buffer;
}

function listOfPieces(): Pieces {
  const list: Buffer[] = [];
  return {
    add: (piece) => void list.push(piece),
    whole: () => (list.length === 1 && list[0] ? list[0] : Buffer.concat(list)),
  };
}

function piecesIn(hold: Hold, bytes: number, jsonBytes: number): Pieces {
  const start = Number.isSafeInteger(jsonBytes) && jsonBytes > 0 ? (8 - (jsonBytes % 8)) % 8 : 0;
  const buffer = hold.buffer(start + bytes);
  let end = start;
  return {
    add(piece) {
      end += piece.copy(buffer, end);
    },
    whole: () => buffer.subarray(start, end),
  };
}

function refuseDeclared(length: string | undefined, limitBytes: number): void {
  if (length !== undefined && Number(length) > limitBytes) throw tooLarge(limitBytes);
}

function countUpTo(limitBytes: number): (bytes: number) => void {
  let length = 0;
  return (bytes) => {
    length += bytes;
    if (length > limitBytes) throw tooLarge(limitBytes);
  };
}

function brokenOff(cause: unknown): AppError {
  if (cause instanceof AppError) return cause;
  return new AppError('invalid_request', `the body could not be read: ${messageOf(cause)}`, { cause });
}

function tooLarge(limitBytes: number): AppError {
  return new AppError('payload_too_large', `the body is larger than ${limitBytes} bytes`);
}
