// Bounds the bodies of requests: by what they announce, or, when they announce nothing, while they are read.

import { AppError } from '@edgeloop/shared/errors';
import { piecesOf } from '@edgeloop/shared/node/early-answer';
import type { MiddlewareHandler } from 'hono';

/** @throws AppError `payload_too_large` */
export function limitBody(maxBytes: number): MiddlewareHandler {
  return async (c, next) => {
    const announced = c.req.header('Content-Length');
    if (announced !== undefined && Number(announced) > maxBytes) throw tooLarge(maxBytes);
    if (c.req.header('Transfer-Encoding') !== undefined && c.req.raw.body !== null) {
      const body = await readBounded(c.req.raw.body, maxBytes);
      c.req.raw = new Request(c.req.url, { method: c.req.method, headers: c.req.raw.headers, body });
    }
    await next();
  };
}

async function readBounded(stream: ReadableStream<Uint8Array>, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of piecesOf(stream)) {
    size += chunk.length;
    if (size > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

function tooLarge(maxBytes: number): AppError {
  return new AppError('payload_too_large', `the body must be at most ${maxBytes} bytes`);
}
