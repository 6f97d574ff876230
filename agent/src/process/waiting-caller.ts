// One caller in the queue. Nothing tells that a socket was closed at the other end unless somebody reads from it, so who
// waits for long is read from: what comes goes to the serving process together with the socket.
import type { Socket } from 'node:net';

/** More of a request is not read ahead; whether its caller stays is not known from then on. */
const readAheadBytes = 4096;

/** What a caller speaks. */
export type Protocol = 'http' | 'grpc';

export interface WaitingCaller {
  socket: Socket;
  protocol: Protocol;
  /** Begins to read: the socket closes when its caller gives up. */
  watch(): void;
  /** Reads nothing from now on; what was read so far. */
  rest(): Buffer;
}

/** `socket` was not read from yet. */
export function createWaitingCaller(socket: Socket, protocol: Protocol = 'http'): WaitingCaller {
  let pieces: Buffer[] = [];
  let bytes = 0;
  let listening = false;
  let reading = false;

  const stop = (): void => {
    if (reading) setReading(socket, false);
    reading = false;
  };
  const keep = (piece: Buffer): void => {
    pieces.push(piece);
    bytes += piece.length;
    if (bytes >= readAheadBytes) stop();
  };

  return {
    socket,
    protocol,
    watch() {
      if (reading || bytes >= readAheadBytes || socket.destroyed) return;
      if (!listening) socket.on('data', keep);
      listening = true;
      reading = setReading(socket, true);
    },
    rest() {
      stop();
      pieces = [Buffer.concat(pieces)];
      return pieces[0] ?? Buffer.alloc(0);
    },
  };
}

/**
 * Whether it could be done. A stream that is paused reads on for a while, and what this process reads the next one never
 * sees; only the handle stops at once. The stream is told that it reads all the time, so that it never starts the handle.
 */
function setReading(socket: Socket, on: boolean): boolean {
  const handle: unknown = Reflect.get(socket, '_handle');
  if (typeof handle !== 'object' || handle === null) return false;
  const change: unknown = Reflect.get(handle, on ? 'readStart' : 'readStop');
  if (typeof change !== 'function') return false;
  Reflect.set(handle, 'reading', true);
  Reflect.apply(change, handle, []);
  if (on) socket.resume();
  return true;
}
