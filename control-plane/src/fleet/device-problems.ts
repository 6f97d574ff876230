// What stands in the way of a device's serving and following, as one list for people: its own words, then what this server
// sees. Pure.
import { clockWords, isClockOff } from '@edgeloop/shared/clock';
import type { IdentityConflict, ModelReport, Reported } from '@edgeloop/shared/messages';
import { plainText } from '@edgeloop/shared/plain-text';
import type { Disregarded } from './claims.ts';
import type { NamedRelease } from './unknown-releases.ts';

export interface Troubles {
  id: string;
  reported: Pick<Reported, 'generation' | 'models' | 'problems' | 'clock'> | null;
  desiredGeneration: number;
  /** Ahead of this server, and nobody has decided yet what becomes of it. */
  conflicting: boolean;
  /** Two devices use this identity. */
  identityConflict: IdentityConflict | null;
  unknown: readonly NamedRelease[];
  disregarded: readonly (Disregarded & { lastAt: number })[];
  now: number;
}

const most = 50;
/** What was sent in vain is told for so long. */
const toldForMs = 86_400_000;

/** Each on one line and of bounded length; a device's words are not believed to be text. */
export function problemsOf({ unknown, disregarded, now, ...device }: Troubles): string[] {
  const lately = disregarded.filter(({ lastAt }) => now - lastAt < toldForMs);
  const all = [
    ...(device.reported?.problems ?? []),
    ...(device.reported?.models ?? []).flatMap(obstacle),
    ...conflict(device),
    ...twins(device),
    ...wrongClock(device.reported),
    ...unknown.map(strangeRelease),
    ...lately.map(inVain),
  ];
  return [...new Set(all.map((text) => plainText(text)))].filter((text) => text !== '').slice(0, most);
}

function obstacle({ name, candidate }: ModelReport): string[] {
  const error = candidate?.error;
  if (error === undefined) return [];
  return [`model ${name} ${candidate?.version}: ${candidate?.state}: ${error.code}: ${error.message}`];
}

function conflict({ id, reported, desiredGeneration, conflicting }: Omit<Troubles, 'unknown' | 'disregarded' | 'now'>) {
  if (!conflicting) return [];
  return [
    `conflicting: the device followed generation ${reported?.generation}, this server has given ${desiredGeneration}; it knew a newer state of the server, as before a backup was restored. It is told nothing until an operator decides: edgeloop devices resolve ${id} --follow (it does what this server says) or --keep (it stays with what it runs)`,
  ];
}

function twins({ identityConflict }: Pick<Troubles, 'identityConflict'>): string[] {
  if (identityConflict === null) return [];
  const { since, takeovers } = identityConflict;
  return [
    `two devices use this identity, as after copying a card: one took over from the other ${takeovers} times since ${new Date(since).toISOString()}. What both measure is counted as one device’s; give one its own: stop its agent, empty its data folder and let it join again with its own EDGELOOP_DEVICE_ID`,
  ];
}

function wrongClock(reported: Pick<Reported, 'clock'> | null): string[] {
  const clock = reported?.clock;
  if (clock === undefined || !isClockOff(clock)) return [];
  return [
    `the device's clock is ${clockWords(clock.offsetMs)}; set it. What it measures is placed by this server's clock meanwhile`,
  ];
}

/** Whether the device reports a generation that this server never gave. */
export function isAhead(reported: Pick<Reported, 'generation'> | null, publishedGeneration: number): boolean {
  return reported !== null && reported.generation > publishedGeneration;
}

/** Marked as ahead, or by its last word to a program that did not mark it. */
export function isConflicting(row: {
  reported: Pick<Reported, 'generation'> | null;
  desiredGeneration: number;
  publishedGeneration: number | null;
  conflictSince: number | null;
}): boolean {
  return row.conflictSince !== null || isAhead(row.reported, row.publishedGeneration ?? row.desiredGeneration);
}

function strangeRelease({ model, version, release }: NamedRelease): string {
  const what =
    release === '' ? 'a version that is not registered here' : `release ${short(release)}, not registered here`;
  return `model ${model} ${version}: the device has ${what}; roll out the version that it should run`;
}

const reasons: Record<string, string> = {
  unknown_release: 'by a release that is not registered here',
  never_assigned: 'of a version that it was never told to run',
  malformed: 'that cannot be understood',
  future: 'of the future: the device’s clock is wrong',
  features: 'with another number of features than the manifest names',
  values: 'with values that are no 32-bit floats',
};

function inVain({ what, reason, model, version, release, count }: Disregarded): string {
  const of = model === '' ? '' : ` of model ${model} ${version}${release === '' ? '' : ` (${short(release)})`}`;
  return `${count} ${what}${of} count nowhere: ${reasons[reason] ?? reason}`;
}

const short = (digest: string) => digest.slice(0, 12);
