// One rollout as this process follows it: its members and its progress, kept between looks and made anew from the database when
// they are not there, as after a start.
import type { Rollout } from '@edgeloop/shared/api/rollouts';
import { createBreath } from '@edgeloop/shared/node/breath';
import type { Candidate } from '../fleet/fleet.ts';
import type { Member } from './device-state.ts';
import type { Claims } from './precedence.ts';
import { Progress } from './progress.ts';
import type { Decision, Plan } from './rollout-state.ts';
import { type Eye, eyeOf, viewOf } from './views.ts';

type Activated = Member & { deviceId: string };

export interface Fleeting {
  devices: ReadonlyMap<string, Candidate>;
  claims: Claims;
  now: number;
  listeningSince: number;
}

/** Tells a rollout's progress apart from the one under other claims, which every device may be concerned by. */
export function claimsKey({ newestFirst, underWay }: Claims): string {
  const claims = newestFirst.map(({ rollout }) => `${rollout.id} ${rollout.state.phase === 'completed'}`);
  return [...claims, '', ...underWay.keys()].join('\n');
}

export class Tracked {
  /** Devices of which something has changed since the last look. */
  readonly changed = new Set<string>();
  readonly progress: Progress;
  readonly claims: string;
  readonly #members: Map<string, Member>;
  readonly #eye: Eye;

  /** It says nothing before its first `refresh`. */
  constructor(
    rollout: Rollout,
    members: readonly (Member & { deviceId: string })[],
    { claims, devices, traced }: Pick<Fleeting, 'claims' | 'devices'> & { traced: boolean },
  ) {
    this.#members = new Map(members.map(({ deviceId, ...member }) => [deviceId, member]));
    this.#eye = eyeOf(rollout, claims, this.#members);
    this.claims = claimsKey(claims);
    this.progress = new Progress(rollout, { traced });
    // Members first, in the order of waves.
    for (const id of this.#members.keys()) this.changed.add(id);
    for (const id of devices.keys()) this.changed.add(id);
  }

  /** Takes in what has changed, also meanwhile, and what time alone has changed. */
  async refresh(fleeting: Fleeting): Promise<void> {
    const breathe = createBreath();
    for (const id of this.changed) {
      this.changed.delete(id);
      this.#see(id, fleeting);
      await breathe();
    }
    this.progress.tick(fleeting);
  }

  #see(id: string, fleeting: Fleeting): void {
    const device = fleeting.devices.get(id);
    const view = device === undefined ? undefined : viewOf(this.#eye, device);
    if (view === undefined) this.progress.remove(id);
    else this.progress.update(view, fleeting);
  }

  /** That waves were decided and stored. */
  planned({ members }: Plan, at: number): void {
    for (const { deviceId, wave, rank, later = [] } of members) {
      const known = this.#members.get(deviceId);
      if (known?.assignedAt != null) continue;
      this.#members.set(deviceId, { ...unseen, wave, rank, later, connectionSince: at });
      this.changed.add(deviceId);
    }
  }

  /** That a decision was stored. Gives the members that have taken the version up with it, or failed to, as far as they are traced. */
  decided({ state, assign, observed, endings, revert, moved }: Decision, at: number): Activated[] {
    const activated: Activated[] = [];
    for (const { deviceId, member } of observed) {
      const had = this.#members.get(deviceId)?.activation?.end ?? null;
      if (had === null && member.activation?.end != null) activated.push({ ...member, deviceId });
      this.#put(deviceId, member);
    }
    this.progress.remembered(observed);
    for (const deviceId of assign) {
      const wave = state.phase === 'running' ? state.wave : 0;
      const { rank = null, later = [] } = this.#members.get(deviceId) ?? {};
      this.#put(deviceId, { ...unseen, wave, rank, later, assignedAt: at, connectionSince: at });
    }
    for (const deviceId of moved ?? []) {
      const known = this.#members.get(deviceId);
      const [wave, ...later] = known?.later ?? [];
      if (known === undefined || wave === undefined) continue;
      this.#put(deviceId, { ...unseen, wave, later, rank: known.rank, connectionSince: at });
    }
    for (const { deviceId, outcome, detail } of endings) {
      const known = this.#members.get(deviceId);
      if (known?.outcome === null) this.#put(deviceId, { ...known, outcome, detail });
    }
    for (const id of revert) this.changed.add(id);
    return activated;
  }

  #put(deviceId: string, member: Member): void {
    this.#members.set(deviceId, member);
    this.changed.add(deviceId);
  }
}

const unseen = {
  later: [],
  assignedAt: null,
  attempt: 1,
  online: false,
  servingSince: null,
  outcome: null,
  detail: null,
} as const;
