// A blob as an HTTP answer: with its length, its digest as entity tag, and byte ranges (RFC 9110), so that a broken
// transfer goes on where it stopped.
import { Readable } from 'node:stream';
import { AppError } from '@edgeloop/shared/errors';
import type { Context } from 'hono';
import type { Blobs } from '../blobs/folder.ts';

export interface BlobRange {
  /** First and last byte, both included. */
  start: number;
  end: number;
}

/** Answers 200, 206, 304 or 416. @throws AppError `not_found` */
export async function blobResponse(c: Context, blobs: Blobs, digest: string): Promise<Response> {
  const sizeBytes = await blobs.size(digest);
  const tag = `"${digest}"`;
  c.header('ETag', tag);
  c.header('Accept-Ranges', 'bytes');
  c.header('Cache-Control', 'private, immutable, max-age=31536000');
  if (tagsOf(c.req.header('If-None-Match')).includes(tag)) return c.body(null, 304);
  const condition = c.req.header('If-Range');
  const range = condition === undefined || condition === tag ? parseRange(c.req.header('Range'), sizeBytes) : 'whole';
  if (range === 'unsatisfiable') {
    c.header('Content-Range', `bytes */${sizeBytes}`);
    return c.body(null, 416);
  }
  c.header('Content-Type', 'application/octet-stream');
  const length = range === 'whole' ? sizeBytes : range.end - range.start + 1;
  c.header('Content-Length', String(length));
  if (range !== 'whole') c.header('Content-Range', `bytes ${range.start}-${range.end}/${sizeBytes}`);
  const status = range === 'whole' ? 200 : 206;
  if (c.req.method === 'HEAD' || length === 0) return c.body(null, status);
  const stream = await blobs.open(digest, range === 'whole' ? {} : range);
  const body = Readable.toWeb(stream);
  if (!isByteStream(body)) throw new AppError('internal', 'a file did not become a stream');
  return c.body(body, status);
}

/** One range of bytes; several, or another unit, are answered as a whole. */
export function parseRange(header: string | undefined, sizeBytes: number): BlobRange | 'whole' | 'unsatisfiable' {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? '');
  if (match === null) return 'whole';
  const [, from = '', to = ''] = match;
  if (from === '' && to === '') return 'whole';
  const last = sizeBytes - 1;
  const start = from === '' ? Math.max(0, sizeBytes - Number(to)) : Number(from);
  const end = from === '' || to === '' ? last : Math.min(last, Number(to));
  if (from !== '' && to !== '' && Number(to) < start) return 'whole';
  return start > last || (from === '' && Number(to) === 0) ? 'unsatisfiable' : { start, end };
}

function tagsOf(header: string | undefined): string[] {
  return (header ?? '').split(',').map((tag) => tag.trim().replace(/^W\//, ''));
}

/** Node's and the platform's stream types are one class at run time. */
function isByteStream(body: unknown): body is ReadableStream<Uint8Array> {
  return body instanceof ReadableStream;
}
