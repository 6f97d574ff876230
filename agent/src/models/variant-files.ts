// The files of a release in its folder: `model.onnx` is the plain one, `model.NAME.onnx` a variant, and `variant.json` says which of
// them is used here once that is decided.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Release, type Variant, variantsOf } from '@edgeloop/shared/release';
import { plainVariant, VariantName } from '@edgeloop/shared/variants';
import { z } from 'zod';

/** Which variant a release is used by on this device, and why. */
export const Choice = z.object({ variant: VariantName, why: z.string() });
export type Choice = z.infer<typeof Choice>;

export const choiceFile = 'variant.json';
export const modelFile = /^model(?:\.[a-z0-9][a-z0-9_-]{0,39})?\.onnx$/;

/** Undefined while nothing is decided, and for a note that was damaged: it is decided again. */
export function choiceIn(folder: string): Choice | undefined {
  const path = join(folder, choiceFile);
  if (!existsSync(path)) return undefined;
  try {
    return Choice.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError) return undefined;
    throw error;
  }
}

export function fileNameOf(variant: string): string {
  return variant === plainVariant ? 'model.onnx' : `model.${variant}.onnx`;
}

/** The one that is used in this folder. */
export function variantIn(folder: string, release: Release): Variant {
  const name = choiceIn(folder)?.variant ?? plainVariant;
  return variantNamed(release, name) ?? { name: plainVariant, requires: {}, artifact: release.artifact };
}

export function variantNamed(release: Release, name: string): Variant | undefined {
  return variantsOf(release).find((each) => each.name === name);
}
