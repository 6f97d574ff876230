// Request bodies as text, bounded, whether they say their length or not.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { HonoRequest } from 'hono';

/** Largest body that is read. */
const maxBodyBytes = 64 * 1024 * 1024;

/** The whole body. Throws `payload_too_large`, `unsupported_media_type` for encoded bodies, `invalid_request` when it breaks off. */
export async function readBody(request: HonoRequest, limitBytes = maxBodyBytes): Promise<string> {
  const encoding = request.header('content-encoding');
  if (encoding !== undefined && encoding !== 'identity') {
    throw new AppError(
      'unsupported_media_type',
      `bodies with content-encoding "${encoding}" are not read; send it plain`,
    );
  }
  const declared = request.header('content-length');
  if (declared !== undefined && Number(declared) > limitBytes) throw tooLarge(limitBytes);
  try {
    return declared === undefined ? await readStream(request.raw.body, limitBytes) : await request.text();
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('invalid_request', `the body could not be read: ${messageOf(cause)}`, { cause });
  }
}

async function readStream(stream: ReadableStream<Uint8Array> | null, limitBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream ?? []) {
    length += chunk.length;
    if (length > limitBytes) throw tooLarge(limitBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function tooLarge(limitBytes: number): AppError {
  return new AppError('payload_too_large', `the body is larger than ${limitBytes} bytes`);
}
