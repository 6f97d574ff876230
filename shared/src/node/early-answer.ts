// A request may be answered before all of it has come, when it is refused. To close the connection then resets it, and a
// caller that is still sending never gets to see why. So the rest is read and thrown away for a while: the "lingering
// close" of RFC 9112, section 9.6.
import type { IncomingMessage } from 'node:http';

interface Patience {
  /** For the next piece, in milliseconds. */
  pieceMs: number;
  /** For all that is left, in milliseconds. */
  restMs: number;
}

/** Call it when the answer is on its way. Where the rest does not come in time, the connection ends. */
export function discardRest(request: IncomingMessage, { pieceMs, restMs }: Patience = usual): void {
  if (request.complete || request.destroyed) return;
  const end = (): void => void request.destroy();
  const timers = [setTimeout(end, pieceMs), setTimeout(end, restMs)];
  request.once('close', () => timers.forEach(clearTimeout));
  // Whoever was reading has stopped, perhaps in the middle of it.
  request.removeAllListeners('data');
  request.on('data', () => timers[0]?.refresh());
  request.resume();
}

/** The pieces of a body. To stop in the middle leaves the connection open, which has still to carry the answer. */
export async function* piecesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of body.values({ preventCancel: true })) yield piece;
}

const usual: Patience = { pieceMs: 5000, restMs: 30_000 };
