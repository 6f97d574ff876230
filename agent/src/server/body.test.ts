import { gzipSync } from 'node:zlib';
import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import { readBody } from './body.ts';
import { errorReply, responseOf } from './errors.ts';

/** Answers with the length of what it read. */
const app = new Hono()
  .post('/', async (c) => c.json((await readBody(c.req)).length))
  .onError((error) => responseOf(errorReply(error, () => expect.unreachable(String(error)))));

const send = async (body: string | Uint8Array<ArrayBuffer> | ReadableStream, headers: Record<string, string> = {}) => {
  const answer = await app.request(new Request('http://a/', { method: 'POST', body, headers, duplex: 'half' }));
  return [answer.status, await answer.json()];
};
const error = (reason: string) => ({ error: expect.stringContaining(reason) });

describe('a body that hono reads', () => {
  it('is bounded, whether it says its length or not, and however small it was packed', async () => {
    const chunk = new Uint8Array(1024 * 1024);
    const endless = new ReadableStream({ pull: (controller) => controller.enqueue(chunk) });
    expect(await send(endless)).toEqual([413, error('larger than')]);
    expect(await send('{}', { 'content-length': '100000000' })).toEqual([413, error('larger than')]);
    const bomb = gzipSync(Buffer.alloc(65 * 1024 * 1024));
    expect(await send(new Uint8Array(bomb), { 'content-encoding': 'gzip' })).toEqual([413, error('larger than')]);
  });

  it('is inflated, and refused where it breaks off', async () => {
    expect(await send(new Uint8Array(gzipSync('four')), { 'content-encoding': 'gzip' })).toEqual([200, 4]);
    const broken = new ReadableStream({ pull: (controller) => controller.error(new Error('gone')) });
    expect(await send(broken)).toEqual([400, error('the body could not be read: gone')]);
  });
});
