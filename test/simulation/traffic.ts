// What callers ask of devices while a version answers there: some devices are asked often, some seldom, some never.
import type { Dice } from '../../control-plane/src/simulate/dice.ts';

interface Stretch {
  release: string;
  fromMs: number;
  toMs: number;
}

const perSecond = { often: 10, seldom: 0.1, never: 0 };
const weights = { often: 6, seldom: 1, never: 1 };

export class Traffic {
  readonly #dice: Dice;
  readonly #nowMs: () => number;
  readonly #rates = new Map<string, number>();
  /** By device and model, and beside what answers by themselves; the last one may go on. */
  readonly #stretches = new Map<string, Stretch[]>();

  constructor(dice: Dice, nowMs: () => number) {
    this.#dice = dice;
    this.#nowMs = nowMs;
  }

  /** Requests a second. */
  rateOf(deviceId: string): number {
    const known = this.#rates.get(deviceId);
    if (known !== undefined) return known;
    const rate = perSecond[this.#dice.kind(weights)];
    this.#rates.set(deviceId, rate);
    return rate;
  }

  /** From now on `release` answers at a place, or nothing. */
  answers(deviceId: string, place: string, release: string | undefined): void {
    const key = `${deviceId} ${place}`;
    const stretches = this.#stretches.get(key) ?? [];
    this.#stretches.set(key, stretches);
    const last = stretches.at(-1);
    if (last !== undefined) last.toMs = Math.min(last.toMs, this.#nowMs());
    if (release !== undefined) stretches.push({ release, fromMs: this.#nowMs(), toMs: Number.POSITIVE_INFINITY });
  }

  /** Nothing answers on the device any more. */
  ends(deviceId: string): void {
    for (const key of this.#stretches.keys())
      if (key.startsWith(`${deviceId} `)) this.answers(deviceId, key.slice(deviceId.length + 1), undefined);
  }

  /** That `release` answered at a place since then, until so long ago. */
  requests(
    deviceId: string,
    place: string,
    { release, sinceMs, agoMs = 0 }: { release: string; sinceMs: number; agoMs?: number },
  ): number {
    const untilMs = this.#nowMs() - agoMs;
    let ms = 0;
    for (const each of this.#stretches.get(`${deviceId} ${place}`) ?? [])
      if (each.release === release) ms += Math.max(0, Math.min(each.toMs, untilMs) - Math.max(each.fromMs, sinceMs));
    return Math.floor((ms / 1000) * this.rateOf(deviceId));
  }
}

/** Of what runs beside what answers. */
export const besides = (model: string): string => `beside ${model}`;
