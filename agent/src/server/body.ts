// Request bodies, bounded each and together, whether they say their length or not.
import type { IncomingMessage } from 'node:http';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { piecesOf } from '@edgeloop/shared/node/early-answer';
import type { HonoRequest } from 'hono';
import type { Hold } from './body-memory.ts';
import type { CallHeaders } from './call-headers.ts';
import { decoded } from './compression.ts';

/** Largest body that is read, as sent and as inflated. */
export const maxBodyBytes = 64 * 1024 * 1024;
/** Smaller ones mostly come in one piece. */
const largeBytes = 64 * 1024;

/**
 * The whole body as text. Throws `payload_too_large`, `unsupported_media_type` for unknown encodings, `invalid_request`
 * when it breaks off.
 */
export async function readBody(request: HonoRequest): Promise<string> {
  if (Number(request.header('content-length') ?? 0) > maxBodyBytes) throw tooLarge();
  const count = countUpToMost();
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
  const whole = await decoded(Buffer.concat(chunks), request.header('content-encoding'), countUpToMost());
  return whole.toString('utf8');
}

/**
 * The whole body of a request of Node's server, or why it can't be had (whether that counts against a model is known only
 * once the model is). What is behind its first `jsonBytes` begins at a multiple of 8 in memory where it can. A large body
 * lies in the hold's own buffer.
 */
export function readIncoming(request: IncomingMessage, headers: CallHeaders, hold: Hold): Promise<Buffer | AppError> {
  const { contentEncoding } = headers;
  const body = collect(request, headers, hold);
  return contentEncoding === undefined ? body : body.then((whole) => inflated(whole, contentEncoding, hold.take));
}

async function inflated(
  body: Buffer | AppError,
  encoding: string,
  take: (bytes: number) => void,
): Promise<Buffer | AppError> {
  if (body instanceof AppError) return body;
  const count = countUpToMost();
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

function collect(
  request: IncomingMessage,
  { contentLength, jsonBytes }: CallHeaders,
  hold: Hold,
): Promise<Buffer | AppError> {
  // Nothing tells so any more when the caller hung up before.
  if (request.destroyed) return Promise.resolve(brokenOff(new Error('the caller left')));
  const declared = Number(contentLength ?? 0);
  if (declared > maxBodyBytes) return Promise.resolve(tooLarge());
  const pieces = declared >= largeBytes ? piecesIn(roomFor(declared, Number(jsonBytes ?? 0), hold)) : listOfPieces();
  let length = 0;
  return new Promise((resolve, reject) => {
    const onData = (piece: Buffer): void => {
      try {
        length += piece.length;
        if (length > maxBodyBytes) throw tooLarge();
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

function piecesIn(room: Buffer): Pieces {
  let end = 0;
  return {
    add(piece) {
      end += piece.copy(room, end);
    },
    whole: () => room.subarray(0, end),
  };
}

/** Memory for a body that says its length. What is behind its first `jsonBytes` begins at a multiple of 8. */
export function roomFor(bytes: number, jsonBytes: number, hold: Hold): Buffer {
  const start = Number.isSafeInteger(jsonBytes) && jsonBytes > 0 ? (8 - (jsonBytes % 8)) % 8 : 0;
  const buffer = bytes >= largeBytes ? hold.buffer(start + bytes) : Buffer.allocUnsafe(start + bytes);
  return buffer.subarray(start, start + bytes);
}

function countUpToMost(): (bytes: number) => void {
  let length = 0;
  return (bytes) => {
    length += bytes;
    if (length > maxBodyBytes) throw tooLarge();
  };
}

export function brokenOff(cause: unknown): AppError {
  if (cause instanceof AppError) return cause;
  return new AppError('invalid_request', `the body could not be read: ${messageOf(cause)}`, { cause });
}

function tooLarge(): AppError {
  return new AppError('payload_too_large', `the body is larger than ${maxBodyBytes} bytes`);
}
