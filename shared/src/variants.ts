// Variants of one version: files that compute the same in another way, as fp32 and int8, each with what it needs of a device. The
// plain file of a version is one of them.
import { z } from 'zod';

/** What the plain file of a version is called among its variants. */
export const plainVariant = 'default';

export const VariantName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9_-]{0,39}$/, 'lower-case letters, digits, "-" and "_", at most 40');

const Word = z.string().min(1).max(100);
const Words = z.array(Word).min(1).max(20);

/** All that is named must hold. */
export const VariantRequirements = z.strictObject({
  /** One of these, as Node names them: `x64`, `arm64`, `arm`. */
  arch: Words.optional(),
  /** One of these, as Node names them: `linux`, `darwin`, `win32`. */
  platform: Words.optional(),
  /** At least so much memory in the machine. */
  memoryMb: z.number().int().min(1).optional(),
  /** At least so many processors. */
  cpus: z.number().int().min(1).optional(),
  /** All of these, as Linux names them in /proc/cpuinfo: `avx512_vnni`, `asimddp`. */
  cpuFeatures: Words.optional(),
  /** ONNX Runtime on the device has this execution provider; the variant is then run on it. */
  provider: Word.optional(),
  /** At least this one. */
  agentVersion: z
    .string()
    .regex(/^\d{1,6}\.\d{1,6}\.\d{1,6}$/, 'three numbers, as 1.2.0')
    .optional(),
});
export type VariantRequirements = z.infer<typeof VariantRequirements>;

/** How close a variant must come to the golden samples; theirs when unset. */
const Tolerance = z.strictObject({
  absolute: z.number().min(0).default(1e-4),
  relative: z.number().min(0).default(1e-3),
});

export const ManifestVariant = z.strictObject({
  name: VariantName,
  requires: VariantRequirements.default({}),
  tolerance: Tolerance.optional(),
});
export type ManifestVariant = z.infer<typeof ManifestVariant>;

/** The first whose requirements hold, or of all of these the one that is quickest on the device. */
export const VariantSelection = z.enum(['first', 'measure']);

/** As devices read it: a requirement that an agent does not know yet is one that it does not meet. */
export const SignedRequirements = z.looseObject(VariantRequirements.shape);
export type SignedRequirements = z.infer<typeof SignedRequirements>;
export const SignedTolerance = z.object(Tolerance.shape);

/** What a device has. Undefined where it cannot tell. */
export interface Abilities {
  arch: string;
  platform: string;
  memoryBytes: number;
  cpus: number;
  cpuFeatures: readonly string[] | undefined;
  providers: readonly string[];
  agentVersion: string;
}

const megabyte = 1024 * 1024;

/** The first requirement that does not hold, as "needs …"; undefined when all hold. */
export function unmet(requires: SignedRequirements, device: Abilities | undefined): string | undefined {
  const { arch, platform, memoryMb, cpus, cpuFeatures, provider, agentVersion, ...unknown } = requires;
  const [strange] = Object.keys(unknown);
  if (strange !== undefined) return `needs "${strange}", which this agent does not know`;
  if (device === undefined)
    return Object.keys(requires).length === 0 ? undefined : 'needs what is not known of this device';
  if (arch !== undefined && !arch.includes(device.arch)) return `needs arch ${arch.join(' or ')}, it is ${device.arch}`;
  if (platform !== undefined && !platform.includes(device.platform))
    return `needs platform ${platform.join(' or ')}, it is ${device.platform}`;
  if (memoryMb !== undefined && device.memoryBytes < memoryMb * megabyte)
    return `needs ${memoryMb} MB of memory, it has ${Math.floor(device.memoryBytes / megabyte)}`;
  if (cpus !== undefined && device.cpus < cpus) return `needs ${cpus} processors, it has ${device.cpus}`;
  const lacking = cpuFeatures?.filter((each) => device.cpuFeatures?.includes(each) !== true) ?? [];
  if (lacking.length > 0)
    return device.cpuFeatures === undefined
      ? `needs the processor features ${lacking.join(', ')}, and it does not tell its own`
      : `needs the processor features ${lacking.join(', ')}, which it lacks`;
  if (provider !== undefined && !device.providers.includes(provider.toLowerCase()))
    return `needs the execution provider ${provider}, it has ${device.providers.join(', ')}`;
  if (agentVersion !== undefined && isOlder(device.agentVersion, agentVersion))
    return `needs agent ${agentVersion}, it has ${device.agentVersion}`;
  return undefined;
}

/** Which of the variants a device may run, in their order, and why not the others. */
export function fitting<V extends { name: string; requires: SignedRequirements }>(
  variants: readonly V[],
  device: Abilities | undefined,
): { fits: V[]; leftOut: string[] } {
  const fits: V[] = [];
  const leftOut: string[] = [];
  for (const variant of variants) {
    const reason = unmet(variant.requires, device);
    if (reason === undefined) fits.push(variant);
    else leftOut.push(`${variant.name} ${reason}`);
  }
  return { fits, leftOut };
}

/** Anything behind the three numbers is passed over. */
function isOlder(version: string, least: string): boolean {
  const numbers = (text: string) => text.split(/[.+-]/, 3).map(Number);
  const own = numbers(version);
  for (const [at, wanted] of numbers(least).entries()) {
    const has = own[at] ?? 0;
    if (has !== wanted) return !(has > wanted);
  }
  return false;
}
