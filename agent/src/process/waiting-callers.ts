// Sockets on their way to the serving processes, which get them in turn. While none is there callers wait in a bounded queue
// instead of being refused, and one that a dying process never took is handed to another. Who gives up leaves the queue.
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import type { ToServing } from './ipc.ts';
import { createWaitingCaller, type Protocol, type WaitingCaller } from './waiting-caller.ts';

export interface WaitingCallers {
  /** Takes a caller who was not read from yet. */
  hand(socket: Socket, protocol?: Protocol): void;
  /**
   * The process takes callers from now on. `coming`: its models are still to come, so that it gets them only while no other is
   * further; who waits is handed over.
   */
  open(to: ChildProcess, state: 'coming' | 'up'): void;
  /** The process is gone: what it has not taken is for the others. */
  gone(from: ChildProcess): void;
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
  const inTransit = new Map<WaitingCaller, ChildProcess>();
  /** Who is up comes before who is coming; whoever was handed the last one goes to the end of its kind. */
  const targets = { up: new Set<ChildProcess>(), coming: new Set<ChildProcess>() };
  let closed = false;

  function nextTarget(): ChildProcess | undefined {
    const kind = targets.up.size > 0 ? targets.up : targets.coming;
    const [next] = kind;
    if (next !== undefined && kind.size > 1 && kind.delete(next)) kind.add(next);
    return next;
  }

  function leave(target: ChildProcess): void {
    targets.up.delete(target);
    targets.coming.delete(target);
  }

  function hand(caller: WaitingCaller): void {
    const { socket } = caller;
    if (socket.destroyed) return;
    const to = closed ? undefined : nextTarget();
    if (to === undefined) {
      wait(caller);
      return;
    }
    inTransit.set(caller, to);
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
    open(to, state) {
      leave(to);
      targets[state].add(to);
      handWaiting();
    },
    gone(from) {
      leave(from);
      const lost = [...inTransit].filter(([, to]) => to === from).map(([caller]) => caller);
      for (const caller of lost) inTransit.delete(caller);
      for (const caller of lost) hand(caller);
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
