// What an agent does with its desired state, without the loading: it fetches, tries, takes in, and says so at each step.
import type { Desired, DesiredModel, ModelReport } from '@edgeloop/shared/messages';

export interface ActivationDeps {
  /** From being told to trying, and from that to having taken in. */
  activateMs: number;
  /** There is something new to report. */
  changed: () => void;
  /** A version answers and is past its probation. */
  served: (version: number) => void;
}

type Standing = Pick<ModelReport, 'active' | 'candidate'>;

export class Activation {
  readonly #deps: ActivationDeps;
  readonly #models = new Map<string, Standing>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #generation = 0;

  constructor(deps: ActivationDeps) {
    this.#deps = deps;
  }

  get generation(): number {
    return this.#generation;
  }

  /** What answers requests for the model now. */
  active(model: string): { version: number; release: string | undefined } | undefined {
    const active = this.#models.get(model)?.active;
    return active ? { version: active.version, release: active.release } : undefined;
  }

  reports(): ModelReport[] {
    return [...this.#models].map(([name, standing]) => ({
      ...{ name, ...standing },
      lastGood: standing.active?.version ?? null,
    }));
  }

  follow({ generation, models }: Desired): void {
    if (generation < this.#generation) return;
    this.#generation = generation;
    const wanted = new Set(models.map(({ name }) => name));
    for (const name of this.#models.keys()) if (!wanted.has(name)) this.#drop(name);
    for (const model of models) this.#want(model);
    this.#deps.changed();
  }

  close(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }

  #drop(name: string): void {
    clearTimeout(this.#timers.get(name));
    this.#models.delete(name);
  }

  #want({ name, version, release, rolloutId }: DesiredModel): void {
    const { active = null, candidate = null } = this.#models.get(name) ?? {};
    if (candidate?.rolloutId === rolloutId) return;
    clearTimeout(this.#timers.get(name));
    if (active?.release === release) return void this.#models.set(name, { active, candidate: null });
    const fetching = { version, release, rolloutId, state: 'fetching' as const, since: Date.now() };
    this.#models.set(name, { active, candidate: fetching });
    this.#later(name, () => {
      const since = Date.now();
      const proving = { ...fetching, state: 'probation' as const, since };
      this.#models.set(name, { active: { version, release, since }, candidate: proving });
      this.#later(name, () => {
        this.#models.set(name, { active: { version, release, since }, candidate: null });
        this.#deps.served(version);
      });
    });
  }

  #later(name: string, step: () => void): void {
    const timer = setTimeout(() => {
      step();
      this.#deps.changed();
    }, this.#deps.activateMs);
    this.#timers.set(name, timer);
  }
}
