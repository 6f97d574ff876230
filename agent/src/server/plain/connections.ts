// All connections that we read ourselves: taken in, looked after, ended.
import type { Socket } from 'node:net';
import type { Front } from '../front.ts';
import { createAnswerWriter } from './answer-writer.ts';
import type { Bridge } from './bridge.ts';
import { type ConnectionDeps, PlainConnection } from './connection.ts';
import { readShared } from './shared-reading.ts';
import { createTicks, type Patience } from './ticks.ts';

export interface PlainConnections {
  /** `head` comes before what is read from it. */
  accept(socket: Socket, head: Buffer | undefined): void;
  /** Ends silent connections, and each other one with its answer; resolves when nobody waits for one. */
  drain(): Promise<void>;
  closeAll(): void;
}

/** `toNode`: Node's server begins to read from it. */
export function createPlainConnections(
  { answer, refusal }: Front,
  patience: Patience,
  toNode: (bridge: Bridge) => void,
): PlainConnections {
  const all = new Set<PlainConnection>();
  let onDrained: (() => void) | undefined;
  const look = (): void => {
    for (const connection of all) connection.look();
  };
  const settle = (): void => {
    if (onDrained === undefined) return;
    for (const connection of all) if (connection.busy) return;
    onDrained();
  };
  const ticks = createTicks(patience, look);
  const deps: ConnectionDeps = {
    answer,
    refusal,
    write: createAnswerWriter(patience.keepAliveTimeout),
    ticks,
    toNode,
    draining: () => onDrained !== undefined,
    onFlushed: settle,
  };

  return {
    accept(given, head) {
      const taken = readShared(given, (bytes) => connection.receive(bytes));
      if (taken === undefined) return void given.destroy();
      const { socket, read } = taken;
      const connection = new PlainConnection(socket, deps);
      all.add(connection);
      socket.once('close', () => {
        all.delete(connection);
        settle();
      });
      if (head) connection.receive(head);
      if (read) connection.receive(read);
    },
    async drain() {
      const drained = new Promise<void>((resolve) => {
        onDrained = resolve;
      });
      for (const connection of all) connection.closeIdle();
      settle();
      await drained;
    },
    closeAll() {
      ticks.stop();
      for (const connection of all) connection.close();
    },
  };
}
