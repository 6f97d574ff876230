// Why a manifest and the model it speaks of do not fit together.
import { AppError } from '../errors.ts';
import type { TensorSpec } from '../tensors.ts';

/** `model_rejected` naming the field of the manifest. */
export function reject(field: string, reason: string): AppError {
  const message = `manifest.${field}: ${reason}`;
  return new AppError('model_rejected', message, { errors: [{ field: `manifest.${field}`, message: reason }] });
}

/** Tensors as people read them in errors. */
export function listed(specs: readonly TensorSpec[]): string {
  return specs.map(({ name, shape }) => `"${name}" [${shape}]`).join(', ');
}
