// The serving process of a simulated device: it loads, answers and dies as the models in it make it, and is started again.
import { readFileSync } from 'node:fs';
import { AppError } from '@edgeloop/shared/errors';
import { sha256 } from '@edgeloop/shared/node/digests';
import type { Failure } from '../../agent/src/models/failure.ts';
import type { ModelDriver } from '../../agent/src/models/rollout/model-driver.ts';
import { ServingGone } from '../../agent/src/process/calls.ts';
import type { ModelFiles } from '../../agent/src/process/ipc.ts';
import type { Dice } from '../../control-plane/src/simulate/dice.ts';
import type { SimulatedVersion } from './releases.ts';

export interface ServingOptions {
  deviceId: string;
  dice: Dice;
  /** Whether anybody sends requests here. */
  isAsked: boolean;
  /** By the release that a file belongs to. */
  versionOf(release: string): SimulatedVersion | undefined;
  driver(): ModelDriver;
  /** What answers from now on, with the SHA-256 of the bytes that were loaded. */
  onAnswers(name: string, release: string | undefined, digest: string | undefined): void;
  onLoad(files: ModelFiles): void;
  /** What runs beside what answers from now on. */
  onBeside(name: string, release: string | undefined, digest: string | undefined): void;
}

interface Loaded {
  files: ModelFiles;
  release: string;
  /** Of what was read. */
  digest: string;
  succeeded: number;
  failed: number;
}

const startMs = 600;

export class SimulatedServing {
  readonly processes = [this];
  readonly #options: ServingOptions;
  #life = 0;
  #isUp = false;
  #waiting: (() => void)[] = [];
  #loaded = new Map<string, Loaded>();
  readonly #answers = new Map<string, string>();
  readonly #besides = new Map<string, string>();

  constructor(options: ServingOptions) {
    this.#options = options;
  }

  /** Comes up after a while, and is brought to what was active. */
  start(): void {
    const life = this.#life;
    setTimeout(() => void this.#restore(life), startMs);
  }

  async #restore(life: number): Promise<void> {
    try {
      await this.#options.driver().restore(() => undefined, 0);
    } catch (error) {
      if (!(error instanceof ServingGone)) throw error;
    }
    if (life !== this.#life) return;
    this.#isUp = true;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  up(signal: AbortSignal): Promise<void> {
    if (this.#isUp) return Promise.resolve();
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      this.#waiting.push(resolve);
    });
  }

  tell(): void {}

  /** What a fresh process of its own says of a model. */
  async prove({ release }: ModelFiles, signal: AbortSignal): Promise<Failure | undefined> {
    const behaviour = this.#behaviour(release);
    await this.#pause(behaviour === 'slow' ? 180_000 : this.#options.dice.between(200, 3000), signal);
    if (this.#options.dice.chance(0.03)) throw new AppError('unavailable', 'the proof was ended by SIGKILL');
    if (behaviour !== 'unproven') return undefined;
    return { code: 'model_rejected', message: 'golden sample 0 differs', kind: 'golden' };
  }

  #pause(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, ms);
      signal.addEventListener('abort', () => {
        clearTimeout(timer);
        reject(signal.reason);
      });
    });
  }

  #behaviour(release: string | undefined): string {
    const version = release === undefined ? undefined : this.#options.versionOf(release);
    if (version?.behaviour !== 'picky') return version?.behaviour ?? 'unloadable';
    return sha256(Buffer.from(`${version.release} ${this.#options.deviceId}`)) < '4' ? 'unloadable' : 'good';
  }

  async load(files: ModelFiles): Promise<void> {
    const { name, version, release = '', path } = files;
    this.#options.onLoad(files);
    const digest = sha256(readFileSync(path));
    await this.#during(this.#options.dice.between(50, 1500));
    const behaviour = this.#behaviour(release);
    if (behaviour === 'kills at load') {
      this.#dies({ crashed: true, detail: 'it was ended by SIGSEGV', suspects: [{ name, version }] });
      throw new ServingGone('it was ended by SIGSEGV');
    }
    if (behaviour === 'unloadable') throw new AppError('model_rejected', 'it cannot be loaded');
    this.#loaded.set(`${name}@${version}`, { files, release, digest, succeeded: 0, failed: 0 });
  }

  async activate(name: string, version: number): Promise<void> {
    await this.#during(1);
    const loaded = this.#loaded.get(`${name}@${version}`);
    if (loaded === undefined) throw new Error(`${name} ${version} is not loaded and cannot answer`);
    this.#answers.set(name, `${name}@${version}`);
    this.#options.onAnswers(name, loaded.release, loaded.digest);
    this.#serve(loaded);
  }

  async unload(name: string, version: number): Promise<void> {
    await this.#during(5);
    this.#loaded.delete(`${name}@${version}`);
    if (this.#answers.get(name) !== `${name}@${version}`) return;
    this.#answers.delete(name);
    this.#options.onAnswers(name, undefined, undefined);
  }

  /** In a process of its own, whose death is nobody else's. */
  async attach({ name, version, release = '', path }: ModelFiles): Promise<void> {
    const digest = sha256(readFileSync(path));
    await this.#during(this.#options.dice.between(50, 1500));
    const behaviour = this.#behaviour(release);
    if (behaviour === 'kills at load' || behaviour === 'unloadable')
      throw new AppError('model_rejected', 'it cannot be loaded beside another');
    this.#besides.set(name, release);
    this.#options.onBeside(name, release, digest);
    const kills = behaviour === 'kills at first run' ? 500 : behaviour === 'leaking' ? 40_000 : undefined;
    const life = this.#life;
    if (kills === undefined) return;
    const death = { crashed: true, detail: 'it was ended', beside: true };
    setTimeout(() => {
      if (life !== this.#life || this.#besides.get(name) !== release) return;
      this.#letGo(name);
      this.#options.driver().modelDied({ name, version }, death, 0);
    }, kills * this.#options.dice.between(0.5, 2));
  }

  async detach(name: string): Promise<void> {
    await this.#during(5);
    this.#letGo(name);
  }

  #letGo(name: string): void {
    if (this.#besides.delete(name)) this.#options.onBeside(name, undefined, undefined);
  }

  /** Callers come at once. */
  #serve(loaded: Loaded): void {
    const { dice } = this.#options;
    const behaviour = this.#behaviour(loaded.release);
    const kills = behaviour === 'kills at first run' ? 500 : behaviour === 'leaking' ? 40_000 : undefined;
    const life = this.#life;
    const { name, version } = loaded.files;
    const isThere = () => life === this.#life && this.#answers.get(name) === `${name}@${version}`;
    if (kills !== undefined)
      setTimeout(() => {
        if (isThere()) this.#dies({ crashed: true, detail: 'it was ended', suspects: [{ name, version }] });
      }, kills * dice.between(0.5, 2));
    setTimeout(
      () => {
        if (!isThere() || !this.#options.isAsked) return;
        if (behaviour === 'failing') loaded.failed += 50;
        loaded.succeeded += 50;
        this.#count();
      },
      dice.between(100, 2000),
    );
  }

  #count(): void {
    const counts = [...this.#loaded.values()].map(({ files, release, succeeded, failed }) => ({
      ...{ name: files.name, version: files.version, release, succeeded, failed },
    }));
    this.#options.driver().update(counts, 0);
  }

  /** By somebody outside. */
  kill(): void {
    this.#dies({ crashed: false, detail: 'it was ended by SIGKILL', suspects: [] });
  }

  #dies(death: Parameters<ModelDriver['servingDied']>[0]): void {
    this.#life += 1;
    this.#isUp = false;
    this.#loaded = new Map();
    for (const name of [...this.#answers.keys()]) this.#options.onAnswers(name, undefined, undefined);
    this.#answers.clear();
    for (const name of [...this.#besides.keys()]) this.#letGo(name);
    this.#options.driver().servingDied(death, 0);
    this.start();
  }

  async #during(ms: number): Promise<void> {
    const life = this.#life;
    await new Promise<void>((resolve) => setTimeout(resolve, ms));
    if (life !== this.#life) throw new ServingGone('it ended');
  }
}
