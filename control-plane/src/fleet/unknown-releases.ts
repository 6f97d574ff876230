// What a device says it runs and the registry does not have under that number. Pure.
import type { Reported } from '@edgeloop/shared/messages';

/** A version, and which bytes the device has under its number; '' when it does not say. */
export interface NamedRelease {
  model: string;
  version: number;
  release: string;
}

/** Kept of one device; what it reports has no bound. */
const most = 20;

/** Everything that the report names, each once. */
export function namedReleases({ models }: Pick<Reported, 'models'>): NamedRelease[] {
  const named = new Map<string, NamedRelease>();
  for (const { name: model, active, candidate, lastGood } of models) {
    const running = [active, candidate].flatMap((each) => (each === null ? [] : [each]));
    const fallback = running.every(({ version }) => version !== lastGood) ? lastGood : null;
    for (const { version, release = '' } of [...running, ...(fallback === null ? [] : [{ version: fallback }])])
      named.set(`${model} ${version} ${release}`, { model, version, release });
  }
  return [...named.values()];
}

/** Those that are registered under no such number, or under it with another release. */
export function unknownAmong(
  named: readonly NamedRelease[],
  registered: (of: NamedRelease) => string | undefined,
): NamedRelease[] {
  const unknown = named.filter((each) => {
    const known = registered(each);
    return known === undefined || (each.release !== '' && each.release !== known);
  });
  return unknown.slice(0, most);
}
