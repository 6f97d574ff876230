// Whether a version is out of service: by what devices say they run, and where none says anything of the model, by its requests.
import type { Telemetry } from '../../telemetry/telemetry.ts';
import { type FleetFigures, rolloutsOf, unique } from './fleet-figures.ts';

/** What answers requests instead of a version. */
export interface Replacement {
  versions: number[];
  rollouts: string[];
}

interface Question {
  model: string;
  version: number;
  /** Time without requests after which it counts as replaced where devices say nothing. */
  from: number;
  now: number;
}

/** Undefined while any device still runs the version, be it away or idle, and while nothing else does. */
export async function replacementOf(
  { telemetry, fleet }: { telemetry: Pick<Telemetry, 'activity'>; fleet: FleetFigures },
  { model, version, from, now }: Question,
): Promise<Replacement | undefined> {
  const said = unique(
    fleet.devices.flatMap(({ models }) => models.filter(({ name }) => name === model).flatMap((each) => each.running)),
  );
  const versions = said.length > 0 ? said : await answering({ telemetry, model, from, now });
  if (versions.length === 0 || versions.includes(version)) return undefined;
  const sorted = versions.sort((a, b) => a - b);
  return { versions: sorted, rollouts: unique(sorted.flatMap((each) => rolloutsOf(fleet, model, each))) };
}

async function answering(asked: {
  telemetry: Pick<Telemetry, 'activity'>;
  model: string;
  from: number;
  now: number;
}): Promise<number[]> {
  const { telemetry, model, from, now } = asked;
  const activity = await telemetry.activity({ model, from, to: now + 1, stepMs: undefined });
  return activity.filter(({ requests }) => requests > 0).map((each) => each.version);
}
