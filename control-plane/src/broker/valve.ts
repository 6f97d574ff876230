// Stops reading from devices while the server has enough to do: what they send waits in their sockets, and then with them.
import type { Readable } from 'node:stream';

/** Connections that are read again at once, before anyone looks whether that was enough. */
const atOnce = 16;

export function createValve() {
  /** Those that have something to read and may not. */
  const waiting = new Set<Readable>();
  let shut = false;
  let opening = false;

  async function open(): Promise<void> {
    opening = true;
    for (let read = 0; !shut; read++) {
      const [next] = waiting;
      if (next === undefined) break;
      waiting.delete(next);
      next.emit('readable');
      // What was read is in hand after a turn of the loop.
      if (read % atOnce === atOnce - 1) await new Promise((resolve) => setImmediate(resolve));
    }
    opening = false;
  }

  return {
    /** Puts the valve into a connection that is read with `read` after `readable`. */
    fit(connection: Readable): void {
      const read = connection.read.bind(connection);
      connection.read = (size) => {
        if (!shut) return read(size);
        waiting.add(connection);
        return null;
      };
      connection.once('close', () => waiting.delete(connection));
    },

    set(to: 'shut' | 'open'): void {
      shut = to === 'shut';
      if (!shut && !opening) void open();
    },
  };
}
