// Sockets on their way to the serving process. While it is away callers wait in a bounded queue instead of being
// refused, and one that a dying process never took is handed to the next.
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import type { ToServing } from './ipc.ts';

export interface WaitingCallers {
  hand(socket: Socket): void;
  /** Hands everyone who waits, and who comes from now on, to this process. */
  open(to: ChildProcess): void;
  /** The process is gone: what it has not taken waits again. */
  gone(): void;
  /** Nobody is taken in any more. */
  close(): void;
}

const waitingAtMost = 1024;
const handAgainMs = 50;

export function createWaitingCallers(): WaitingCallers {
  const waiting: Socket[] = [];
  /** Sent, and not yet known to have left this process. */
  const inTransit = new Set<Socket>();
  let target: ChildProcess | undefined;
  let closed = false;

  function hand(socket: Socket): void {
    if (socket.destroyed) return;
    const to = target;
    if (to === undefined || closed) {
      wait(socket);
      return;
    }
    const message: ToServing = { kind: 'connection' };
    inTransit.add(socket);
    // Kept open here until it is on its way: what a dying process never took can be handed to the next one.
    to.send(message, socket, { keepOpen: true }, (error) => {
      if (!inTransit.delete(socket)) return;
      if (error === null) socket.destroy();
      else {
        wait(socket);
        if (to.connected) setTimeout(handWaiting, handAgainMs);
      }
    });
  }

  function handWaiting(): void {
    for (const socket of waiting.splice(0)) hand(socket);
  }

  function wait(socket: Socket): void {
    if (waiting.length >= waitingAtMost || closed) socket.destroy();
    else waiting.push(socket);
  }

  return {
    hand,
    open(to) {
      target = to;
      handWaiting();
    },
    gone() {
      target = undefined;
      for (const socket of inTransit) wait(socket);
      inTransit.clear();
    },
    close() {
      closed = true;
      for (const socket of waiting.splice(0)) socket.destroy();
    },
  };
}
