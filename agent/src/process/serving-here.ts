// Serving within this very process, for devices that cannot spare the memory of another: what ends it ends the agent, and nobody
// ends a run that does not return.
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import { createServingCalls, type ServingCalls } from './calls.ts';
import type { KnownModel, Misplaced, ModelFiles, ToServing, ToSupervisor } from './ipc.ts';
import type { ServingHandlers } from './serving-process.ts';
import type { Protocol } from './waiting-caller.ts';
import { answerTo } from './wishes.ts';

/** What serves: it takes messages once it has begun. */
interface Core {
  begin(): void;
  handle(message: ToServing, socket?: unknown): Promise<void>;
}

export interface ServingHereOptions {
  /** `send` gets what it tells. */
  create(send: (message: ToSupervisor) => void): Core;
  log: Logger;
}

/** Takes the place of `ServingProcesses`. */
export class ServingHere {
  /** The only one there is. */
  readonly processes: readonly [this] = [this];
  readonly #options: ServingHereOptions;
  readonly #calls: ServingCalls;
  /** Callers who came before anybody knew which models are coming. */
  #early: [socket: Socket, protocol: Protocol][] | undefined = [];
  #core: Core | undefined;
  #handlers: ServingHandlers | undefined;

  constructor(options: ServingHereOptions) {
    this.#options = options;
    this.#calls = createServingCalls({
      // Nothing could be done about what takes longer.
      timeoutMs: 2 ** 31 - 1,
      send: (message) => this.#tell(message),
      onTimeout: () => undefined,
    });
  }

  start(handlersOf: (process: number) => ServingHandlers): void {
    this.#handlers = handlersOf(0);
    this.#core = this.#options.create((said) => this.#hear(said));
    this.#core.begin();
  }

  /** No other process waits, whatever comes. */
  expectNewModel(): void {}

  load(model: ModelFiles): Promise<void> {
    return this.#calls.call({ kind: 'load', model });
  }

  activate(name: string, version: number): Promise<void> {
    return this.#calls.call({ kind: 'activate', name, version });
  }

  unload(name: string, version: number): Promise<void> {
    return this.#calls.call({ kind: 'unload', name, version });
  }

  tell(known: readonly KnownModel[], misplaced: readonly Misplaced[] = []): void {
    this.#tell({ kind: 'known', models: [...known], misplaced: [...misplaced] });
  }

  tellProblems(problems: readonly { what: string; words: string }[]): void {
    this.#tell({ kind: 'problems', problems: problems.map(({ what, words }) => ({ what, words })) });
  }

  hand(socket: Socket, protocol: Protocol = 'http'): void {
    if (this.#early === undefined) this.#tell(connectionOf(protocol), socket);
    else this.#early.push([socket, protocol]);
  }

  /** Lets it finish what is in flight, until the deadline. */
  async stop(deadlineMs: number): Promise<void> {
    for (const [socket] of this.#early ?? []) socket.destroy();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        this.#options.log.warn('what is in flight did not end in time');
        resolve();
      }, deadlineMs);
    });
    await Promise.race([this.#core?.handle({ kind: 'stop' }), late]);
    clearTimeout(timer);
  }

  #tell(message: ToServing, socket?: Socket): void {
    this.#core
      ?.handle(message, socket)
      .catch((error: unknown) => this.#options.log.fatal({ err: error }, 'a message could not be handled'));
  }

  #hear(said: ToSupervisor): void {
    const { log } = this.#options;
    const handlers = this.#handlers;
    if (handlers === undefined) return;
    switch (said.kind) {
      case 'started':
        void this.#bringUp(handlers);
        break;
      case 'reply':
        this.#calls.settle(said);
        break;
      case 'counts':
        handlers.onCounts(said.models, said.missing);
        break;
      case 'stuck': {
        const { name: model, version } = said;
        log.error({ model, version }, 'a run does not return, and EDGELOOP_ISOLATION=off: start the agent again');
        break;
      }
      case 'model_died':
        handlers.onModelDied({ name: said.name, version: said.version }, said);
        break;
      case 'feedback':
      case 'hold':
      case 'repository':
        void answerTo(said, handlers, log).then((answer) => this.#tell(answer));
        break;
      default: // Said by one of several processes only.
    }
  }

  async #bringUp(handlers: ServingHandlers): Promise<void> {
    try {
      await handlers.restore(() => this.#letIn());
      await handlers.settled();
      this.#tell({ kind: 'ready' });
    } catch (error) {
      this.#options.log.error({ err: error }, 'the models could not be brought back');
    }
  }

  #letIn(): void {
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const [socket, protocol] of early) this.hand(socket, protocol);
  }
}

function connectionOf(protocol: Protocol): ToServing {
  return protocol === 'http' ? { kind: 'connection' } : { kind: 'connection', protocol };
}
