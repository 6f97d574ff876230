// Reading from sockets into one piece of memory that all of them share. Node's own way makes 64 KB anew for every read and
// shrinks them to what came, which takes longer than everything else that is done with a small request's bytes.
import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';

/** One read takes as much at most. */
const buffer = Buffer.allocUnsafeSlow(256 * 1024);

/** `bytes` are only there during the call. */
export type Receive = (bytes: Buffer) => void;

/**
 * Another socket on the same connection that reads so; `given` may not be used any more. What it has read already is
 * given back too. Undefined when it is closed.
 */
export function readShared(given: Socket, receive: Receive): { socket: Socket; read: Buffer | undefined } | undefined {
  const handle: unknown = Reflect.get(given, '_handle');
  if (typeof handle !== 'object' || handle === null) return undefined;
  const read: unknown = given.read();
  // The way in which Node itself makes sockets of handles; only a socket that is made anew can be told where to read to.
  const options: SocketConstructorOpts & { handle: object; onread: OnReadOpts } = {
    handle,
    // Who says no more of a request may still be told what is wrong with it.
    allowHalfOpen: true,
    onread: {
      buffer,
      callback(length, bytes) {
        receive(Buffer.from(bytes.buffer, bytes.byteOffset, length));
        return true;
      },
    },
  };
  Reflect.set(given, '_handle', null);
  const socket = new Socket(options);
  // Whoever counts its connections hears that this one is over.
  socket.once('close', () => given.destroy());
  return { socket, read: Buffer.isBuffer(read) ? read : undefined };
}
