// Sockets on their way to the serving process. While it is away callers wait in a bounded queue instead of being
// refused, and one that a dying process never took is handed to the next. Who gives up leaves the queue.
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import type { ToServing } from './ipc.ts';
import { createWaitingCaller, type Protocol, type WaitingCaller } from './waiting-caller.ts';

export interface WaitingCallers {
  /** Takes a caller who was not read from yet. */
  hand(socket: Socket, protocol?: Protocol): void;
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

const handAgainMs = 50;

export function createWaitingCallers({
  waitingAtMost = 1024,
  patienceMs = 1000,
}: WaitingCallersOptions = {}): WaitingCallers {
  const waiting = createQueue(waitingAtMost, patienceMs);
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
    for (const caller of waiting.takeAll()) hand(caller);
  }

  function wait(caller: WaitingCaller): void {
    const { socket } = caller;
    if (closed || socket.destroyed || !waiting.add(caller)) socket.destroy();
  }

  return {
    hand: (socket, protocol) => hand(createWaitingCaller(socket, protocol)),
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
      for (const { socket } of waiting.takeAll()) socket.destroy();
    },
  };
}

interface Queue {
  /** False when it is full. */
  add(caller: WaitingCaller): boolean;
  /** Everyone, in the order in which they came. */
  takeAll(): WaitingCaller[];
}

/** Who gives up leaves it. */
function createQueue(atMost: number, patienceMs: number): Queue {
  const leaves = new Map<WaitingCaller, () => void>();
  return {
    add(caller) {
      if (leaves.size >= atMost) return false;
      const watching = setTimeout(caller.watch, patienceMs);
      const leave = (): void => {
        clearTimeout(watching);
        caller.socket.off('close', leave);
        leaves.delete(caller);
      };
      caller.socket.once('close', leave);
      leaves.set(caller, leave);
      return true;
    },
    takeAll() {
      const all = [...leaves.keys()];
      for (const leave of [...leaves.values()]) leave();
      return all;
    },
  };
}

function connectionOf(caller: WaitingCaller): ToServing {
  const head = caller.rest();
  return {
    kind: 'connection',
    ...(head.length === 0 ? {} : { head: head.toString('base64') }),
    ...(caller.protocol === 'http' ? {} : { protocol: caller.protocol }),
  };
}
