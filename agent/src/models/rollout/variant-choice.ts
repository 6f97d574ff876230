// Which variants of a release are wanted on this device: the one that was decided on, else the first whose requirements hold, or all
// of those when they are to be measured.
import { AppError } from '@edgeloop/shared/errors';
import { type Release, type Variant, variantsOf } from '@edgeloop/shared/release';
import { type Abilities, fitting, plainVariant } from '@edgeloop/shared/variants';
import type { ModelStore, ReleaseRef } from '../store.ts';

/** What this device has; `providers` is found out only for those who ask, since it takes a process. */
export type AbilitiesOf = (asked: { providers: boolean }) => Promise<Abilities>;

/** None of the variants may run here: the release is not for this device. */
export class NoVariantFits extends AppError {
  constructor({ name, version }: ReleaseRef, leftOut: readonly string[]) {
    super('unsupported', `no variant of ${name} ${version} fits this device: ${leftOut.join('; ')}`);
  }
}

/** @throws NoVariantFits */
export async function variantsWanted(
  store: Pick<ModelStore, 'choiceOf' | 'choose' | 'isComplete'>,
  { of, release, abilities }: { of: ReleaseRef; release: Release; abilities: AbilitiesOf | undefined },
): Promise<Variant[]> {
  const all = variantsOf(release);
  if (release.variants === undefined) return all;
  const choice = store.choiceOf(of);
  const chosen = all.find(({ name }) => name === choice?.variant);
  if (chosen !== undefined) return [chosen];
  const providers = all.some(({ requires }) => requires.provider !== undefined);
  const { fits, leftOut } = fitting(all, await abilities?.({ providers }));
  const [first] = fits;
  if (first === undefined) throw new NoVariantFits(of, leftOut);
  if (release.select === 'measure' && fits.length > 1) return fits;
  // Before its bytes come. The plain file may be here without: from a former agent, and in use.
  const former = (await store.isComplete(of, plainVariant)) ? all.find(({ name }) => name === plainVariant) : undefined;
  const why = former === undefined ? whyFirst(leftOut) : 'it was here before variants were known';
  await store.choose(of, { variant: (former ?? first).name, why });
  return [former ?? first];
}

function whyFirst(leftOut: readonly string[]): string {
  return leftOut.length === 0 ? 'the first of all' : `the first that fits: ${leftOut.join('; ')}`;
}
