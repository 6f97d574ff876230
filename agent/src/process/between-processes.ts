// What several serving processes have of each other, by way of the supervising one: the figures of all, the rates of tokens, and
// answers to requests that belong to another process. With one process nobody asks.
import { AppError } from '@edgeloop/shared/errors';
import { FiguresLedger } from './figures-ledger.ts';
import type { LocalToken, ToServing, ToSupervisor } from './ipc.ts';
import { createRate, type Rate } from './rate.ts';

export type SaidBetween = Extract<
  ToSupervisor,
  { kind: 'figures_wanted' | 'figures' | 'tokens_wanted' | 'forward' | 'forwarded' }
>;

export interface BetweenOptions {
  /** Of serving processes; they are named by their places. */
  count: number;
  tokens: readonly LocalToken[];
  /** False when the process takes no messages now. */
  send(to: number, message: ToServing): boolean;
  /** A monotonic clock in milliseconds. */
  nowMs(): number;
}

interface Asked {
  of: number;
  /** Undefined: it is gone, or says nothing. */
  settle(said: SaidBetween | undefined): void;
}

/** Of who says nothing for so long, what it said before counts. */
const figuresWithinMs = 1000;
/** A run may take its time, and others before it. */
const forwardWithinMs = 60 * 60 * 1000;

export class BetweenProcesses {
  readonly #options: BetweenOptions;
  readonly #ledger = new FiguresLedger();
  readonly #rates: ReadonlyMap<string, Rate>;
  readonly #asked = new Map<number, Asked>();
  #lastRequestId = 0;

  constructor(options: BetweenOptions) {
    this.#options = options;
    const limited = options.tokens.flatMap(({ name, perSecond, burst }): [string, Rate][] =>
      perSecond === undefined ? [] : [[name, createRate({ perSecond, burst }, options.nowMs)]],
    );
    this.#rates = new Map(limited);
  }

  /** `answer` goes to the life that said it. */
  said(process: number, said: SaidBetween, answer: (message: ToServing) => void): void {
    switch (said.kind) {
      case 'figures_wanted':
        this.#ledger.heard(process, said.own);
        void this.#gather(process).then((others) =>
          answer({ kind: 'figures_result', requestId: said.requestId, others }),
        );
        return;
      case 'tokens_wanted':
        answer({ kind: 'tokens_result', requestId: said.requestId, ...this.#take(said.token, said.count) });
        return;
      case 'forward':
        void this.#forward(said).then(answer);
        return;
      case 'figures':
      case 'forwarded':
        this.#asked.get(said.requestId)?.settle(said);
    }
  }

  counted(process: number, figures: Parameters<FiguresLedger['heard']>[1] | undefined): void {
    if (figures !== undefined) this.#ledger.heard(process, figures);
  }

  died(process: number): void {
    this.#ledger.died(process);
    for (const { of, settle } of [...this.#asked.values()]) if (of === process) settle(undefined);
  }

  async #gather(process: number): Promise<ReturnType<FiguresLedger['othersOf']>> {
    const others = Array.from({ length: this.#options.count }, (_, place) => place).filter((each) => each !== process);
    await Promise.all(
      others.map(async (each) => {
        const said = await this.#ask(each, (requestId) => ({ kind: 'tell_figures', requestId }), figuresWithinMs);
        if (said?.kind === 'figures') this.#ledger.heard(each, said.own);
      }),
    );
    return this.#ledger.othersOf(process);
  }

  /** How many of these requests may be sent now, and when the next may. */
  #take(token: string, count: number): { granted: number; retryAfterSeconds: number } {
    const rate = this.#rates.get(token);
    for (let granted = 0; granted < count; granted++) {
      const retryAfterSeconds = rate?.take() ?? 0;
      if (retryAfterSeconds > 0) return { granted, retryAfterSeconds };
    }
    return { granted: count, retryAfterSeconds: 0 };
  }

  async #forward({ to, requestId, call }: Extract<SaidBetween, { kind: 'forward' }>): Promise<ToServing> {
    const said = await this.#ask(to, (own) => ({ kind: 'forwarded_call', requestId: own, call }), forwardWithinMs);
    if (said?.kind === 'forwarded') return { kind: 'forward_result', requestId, reply: said.reply, error: said.error };
    const message = 'the serving process that holds the sequences of this model is being started; begin anew';
    const { code, retryAfterSeconds } = new AppError('unavailable', message, { retryAfterSeconds: 1 });
    return { kind: 'forward_result', requestId, error: { code, message, retryAfterSeconds } };
  }

  #ask(of: number, messageOf: (requestId: number) => ToServing, withinMs: number): Promise<SaidBetween | undefined> {
    this.#lastRequestId += 1;
    const requestId = this.#lastRequestId;
    return new Promise((resolve) => {
      const settle = (said: SaidBetween | undefined): void => {
        clearTimeout(timer);
        this.#asked.delete(requestId);
        resolve(said);
      };
      const timer = setTimeout(() => settle(undefined), withinMs);
      timer.unref();
      this.#asked.set(requestId, { of, settle });
      if (!this.#options.send(of, messageOf(requestId))) settle(undefined);
    });
  }
}
