// The variants of a version: which files they are, and that they are interchangeable for whoever asks.
import type { VariantSummary } from '@edgeloop/shared/api/models';
import { AppError } from '@edgeloop/shared/errors';
import type { GoldenSamples } from '@edgeloop/shared/golden';
import type { Manifest } from '@edgeloop/shared/manifest';
import { type Artifact, type Release, variantsOf } from '@edgeloop/shared/release';
import type { ModelSignature, TensorSpec } from '@edgeloop/shared/tensors';
import { type ManifestVariant, plainVariant } from '@edgeloop/shared/variants';
import type { UploadedVariant } from './uploaded-files.ts';

export interface VariantFile extends ManifestVariant {
  /** Undefined for the plain file. */
  path: string | undefined;
}

/** The manifest's variants with the files that were sent. @throws AppError `invalid_request` naming the field */
export function variantFiles(
  { variants, select, pipeline }: Manifest,
  uploaded: readonly UploadedVariant[],
): VariantFile[] | undefined {
  if (variants === undefined) {
    if (select !== undefined)
      throw wrong('manifest.select', 'there is nothing to pick from: name "variants" beside it');
    const [stray] = uploaded;
    if (stray !== undefined)
      throw wrong('variants', `"${stray.name}" is not among the manifest's "variants": name it there`);
    return undefined;
  }
  if (pipeline !== undefined)
    throw wrong(
      'manifest.variants',
      'a pipeline has none; push it once for each kind of device, with a selector of its own',
    );
  const names = variants.map(({ name }) => name);
  const twice = names.find((name, at) => names.indexOf(name) < at);
  if (twice !== undefined) throw wrong('manifest.variants', `"${twice}" comes twice`);
  const sent = uploaded.map(({ name }) => name);
  const stray = sent.find((name, at) => name === plainVariant || !names.includes(name) || sent.indexOf(name) < at);
  if (stray !== undefined)
    throw wrong(
      'variants',
      `"${stray}" is no variant of the manifest (${names.join(', ')}), comes twice, or is the plain file, which is the part "model"`,
    );
  return variants.map((variant) => {
    if (variant.name === plainVariant) return { ...variant, path: undefined };
    const file = uploaded.find(({ name }) => name === variant.name);
    if (file === undefined)
      throw wrong(
        'variants',
        `the file of "${variant.name}" is missing: send it as a part "variants" named "${variant.name}.onnx"`,
      );
    return { ...variant, path: file.path };
  });
}

/** Bounds that no device could keep, or that another one of the manifest passes first. @throws AppError `invalid_request` */
export function checkBounds({ acceptance, maxRunMs }: Manifest): void {
  const { maxLatencyMs } = acceptance ?? {};
  if (maxLatencyMs !== undefined && maxLatencyMs > maxRunMs)
    throw wrong(
      'manifest.acceptance.maxLatencyMs',
      `is ${maxLatencyMs}, and a run is ended after maxRunMs, ${maxRunMs}: set a smaller bound, or a longer maxRunMs`,
    );
}

/** The golden samples as a variant has to reproduce them. */
export function goldenOf(golden: GoldenSamples, { tolerance = golden.tolerance }: ManifestVariant): GoldenSamples {
  return { ...golden, tolerance };
}

/** @throws AppError `model_rejected` when callers would notice which of the two answers */
export function checkInterchangeable(plain: ModelSignature, variant: ModelSignature, name: string): void {
  const what = `variant "${name}": `;
  for (const side of ['inputs', 'outputs'] as const) {
    if (tensorsOf(plain[side]) !== tensorsOf(variant[side]))
      throw new AppError(
        'model_rejected',
        `${what}its ${side} are ${tensorsOf(variant[side])}, those of the plain file ${tensorsOf(plain[side])}; variants take and give the same`,
      );
  }
  if (plain.labelOutput !== variant.labelOutput || plain.classNames?.join('\n') !== variant.classNames?.join('\n'))
    throw new AppError('model_rejected', `${what}it calls its classes otherwise than the plain file`);
}

function tensorsOf(specs: readonly TensorSpec[]): string {
  return specs.map(({ name, datatype, shape }) => `"${name}" ${datatype}[${shape}]`).join(', ');
}

/** As the API shows them, the plain file among them. */
export function summaryOf(release: Pick<Release, 'artifact' | 'variants'> & { artifact: Artifact }): VariantSummary[] {
  return variantsOf(release).map(({ name, artifact: { digest, sizeBytes }, requires }) => ({
    ...{ name, digest, sizeBytes, requires },
  }));
}

function wrong(field: string, message: string): AppError {
  return new AppError('invalid_request', `${field}: ${message}`, { errors: [{ field, message }] });
}
