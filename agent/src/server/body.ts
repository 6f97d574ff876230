// Request bodies, bounded each and together, whether they say their length or not.
import type { IncomingMessage } from 'node:http';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { HonoRequest } from 'hono';
import { decoded } from './compression.ts';

/** Largest body that is read, as sent and as inflated. */
const maxBodyBytes = 64 * 1024 * 1024;

/** Bytes of the bodies of all requests that are being read or answered. */
export interface BodyBudget {
  /** Throws `unavailable` when there is no room. */
  take(bytes: number): void;
  give(bytes: number): void;
}

/** A budget of so many bytes. */
export function createBodyBudget(totalBytes: number): BodyBudget {
  let held = 0;
  return {
    take(bytes) {
      if (held + bytes > totalBytes) {
        throw new AppError('unavailable', 'too many large requests at once; try again', { retryAfterSeconds: 1 });
      }
      held += bytes;
    },
    give(bytes) {
      held -= bytes;
    },
  };
}

/** What one request holds of a budget. */
export interface Hold {
  /** Throws `unavailable` when there is no room. */
  take(bytes: number): void;
  giveBack(): void;
}

/** A hold of nothing yet. */
export function holdOf(budget: BodyBudget): Hold {
  let held = 0;
  return {
    take(bytes) {
      budget.take(bytes);
      held += bytes;
    },
    giveBack: () => budget.give(held),
  };
}

/** Room for two bodies of the largest kind; each is held twice for a moment, in pieces and whole. */
export const defaultBudgetBytes = 2 * maxBodyBytes;

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
  const chunks: Uint8Array[] = [];
  try {
    for await (const chunk of request.raw.body ?? []) {
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
 * once the model is). `take` hears of each piece of memory and may throw.
 */
export function readIncoming(request: IncomingMessage, take: (bytes: number) => void): Promise<Buffer | AppError> {
  const encoding = request.headers['content-encoding'];
  const body = collect(request, take);
  return encoding === undefined ? body : body.then((whole) => inflated(whole, encoding, take));
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

function collect(request: IncomingMessage, take: (bytes: number) => void): Promise<Buffer | AppError> {
  // Nothing tells so any more when the caller hung up before.
  if (request.destroyed) return Promise.resolve(brokenOff(new Error('the caller left')));
  const declared = request.headers['content-length'];
  if (declared !== undefined && Number(declared) > maxBodyBytes) return Promise.resolve(tooLarge(maxBodyBytes));
  const chunks: Buffer[] = [];
  let length = 0;
  return new Promise((resolve, reject) => {
    const onData = (chunk: Buffer): void => {
      try {
        length += chunk.length;
        if (length > maxBodyBytes) throw tooLarge(maxBodyBytes);
        take(chunk.length);
        chunks.push(chunk);
      } catch (error) {
        // What still comes is not looked at; the answer closes the connection.
        request.off('data', onData);
        request.pause();
        if (error instanceof AppError) resolve(error);
        else reject(error);
      }
    };
    request.on('data', onData);
    request.on('end', () => resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)));
    // Node tells so as well when the caller hangs up before the body is whole.
    request.on('error', (cause) => resolve(brokenOff(cause)));
  });
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
