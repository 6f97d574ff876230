// Sockets on their way to the serving process. While it is away callers wait in a bounded queue instead of being
// refused, and one that a dying process never took is handed to the next. Who gives up leaves the queue.
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import type { ToServing } from './ipc.ts';
import { createWaitingCaller, type WaitingCaller } from './waiting-caller.ts';

export interface WaitingCallers {
  /** Takes a caller who was not read from yet. */
  hand(socket: Socket): void;
  /** Hands everyone who waits, and who comes from now on, to this process. */
  open(to: ChildProcess): void;
  /** The process is gone: what it has not taken waits again. */
  gone(): void;
  /** Nobody is taken in any more. */
  close(): void;
}

export interface WaitingCallersOptions {
  waitingAtMost?: number;
  /** Who waits longer may give up, so it is looked for. */
  patienceMs?: number;
}

interface Place {
  watching: NodeJS.Timeout;
  leave(): void;
}

const handAgainMs = 50;

export function createWaitingCallers({
  waitingAtMost = 1024,
  patienceMs = 1000,
}: WaitingCallersOptions = {}): WaitingCallers {
  /** In the order in which they came. */
  const waiting = new Map<WaitingCaller, Place>();
  /** Sent, and not yet known to have left this process. */
  const inTransit = new Set<WaitingCaller>();
  let target: ChildProcess | undefined;
  let closed = false;

  function hand(caller: WaitingCaller): void {
    const { socket } = caller;
    if (socket.destroyed) return;
    const to = target;
    if (to === undefined || closed) {
      wait(caller);
      return;
    }
    inTransit.add(caller);
    // Kept open here until it is on its way: what a dying process never took can be handed to the next one.
    to.send(connectionOf(caller), socket, { keepOpen: true }, (error) => {
      if (!inTransit.delete(caller)) return;
      if (error === null) socket.destroy();
      else {
        wait(caller);
        if (to.connected) setTimeout(handWaiting, handAgainMs);
      }
    });
  }

  function handWaiting(): void {
    for (const caller of takeAll()) hand(caller);
  }

  function wait(caller: WaitingCaller): void {
    const { socket } = caller;
    if (waiting.size >= waitingAtMost || closed) {
      socket.destroy();
      return;
    }
    const leave = (): void => take(caller);
    waiting.set(caller, { watching: setTimeout(caller.watch, patienceMs), leave });
    socket.once('close', leave);
  }

  function take(caller: WaitingCaller): void {
    const place = waiting.get(caller);
    if (!place) return;
    clearTimeout(place.watching);
    caller.socket.off('close', place.leave);
    waiting.delete(caller);
  }

  function takeAll(): WaitingCaller[] {
    const all = [...waiting.keys()];
    for (const caller of all) take(caller);
    return all;
  }

  return {
    hand: (socket) => hand(createWaitingCaller(socket)),
    open(to) {
      target = to;
      handWaiting();
    },
    gone() {
      target = undefined;
      for (const caller of inTransit) wait(caller);
      inTransit.clear();
    },
    close() {
      closed = true;
      for (const { socket } of takeAll()) socket.destroy();
    },
  };
}

function connectionOf(caller: WaitingCaller): ToServing {
  const head = caller.rest();
  return head.length === 0 ? { kind: 'connection' } : { kind: 'connection', head: head.toString('base64') };
}
