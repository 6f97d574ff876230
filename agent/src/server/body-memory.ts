// Memory of request bodies: bounded together, and that of large ones used again. To make it anew for each request would
// leave tens of megabytes a second behind that nothing but a collection of the whole heap gives back.
import { AppError } from '@edgeloop/shared/errors';

export interface BodyMemory {
  /** What one request takes of it; nothing yet. */
  hold(): Hold;
}

export interface Hold {
  /** Counts so many bytes. Throws `unavailable` when there is no room. */
  take(bytes: number): void;
  /** So many bytes for a body, uncounted; they belong to others after `giveBack`. */
  buffer(bytes: number): Buffer;
  giveBack(): void;
}

export interface BodyMemoryOptions {
  /** Bytes that all requests may count together. */
  totalBytes: number;
  /** Bytes of buffers that are kept for the next. */
  keptBytes: number;
}

/** Memory that nobody uses yet. */
export function createBodyMemory({ totalBytes, keptBytes }: BodyMemoryOptions): BodyMemory {
  const buffers = createBuffers(keptBytes);
  let counted = 0;
  return {
    hold() {
      let held = 0;
      let buffer: Buffer | undefined;
      return {
        take(bytes) {
          if (counted + bytes > totalBytes) {
            throw new AppError('unavailable', 'too many large requests at once; try again', { retryAfterSeconds: 1 });
          }
          counted += bytes;
          held += bytes;
        },
        buffer(bytes) {
          buffer = buffers.take(bytes);
          return buffer.subarray(0, bytes);
        },
        giveBack() {
          counted -= held;
          held = 0;
          if (buffer) buffers.give(buffer);
          buffer = undefined;
        },
      };
    },
  };
}

interface Buffers {
  /** At least so many bytes, with anything in them. */
  take(bytes: number): Buffer;
  give(buffer: Buffer): void;
}

/** Sizes are powers of two, so that bodies of about the same size can share them. */
function createBuffers(keptBytes: number): Buffers {
  const free: Buffer[] = [];
  let freeBytes = 0;
  return {
    take(bytes) {
      const size = 2 ** Math.ceil(Math.log2(Math.max(bytes, 1)));
      const place = free.findIndex(({ length }) => length === size);
      const [found] = place < 0 ? [] : free.splice(place, 1);
      if (!found) return Buffer.allocUnsafeSlow(size);
      freeBytes -= size;
      return found;
    },
    give(buffer) {
      free.unshift(buffer);
      freeBytes += buffer.length;
      // The longest unused go first.
      while (freeBytes > keptBytes) freeBytes -= free.pop()?.length ?? 0;
    },
  };
}
