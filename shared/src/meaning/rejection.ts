// Why a manifest and the model it speaks of do not fit together.
import { AppError, type FieldError } from '../app-error.ts';
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

/** The first name that comes twice. */
export function repetitionIn(names: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return names.find((name) => seen.size === seen.add(name).size);
}

/** All faults of a manifest: whoever mends it should not find them one by one. */
export class Faults {
  readonly #errors: FieldError[] = [];

  /** What `read` gives, or undefined when it rejects. */
  attempt<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'model_rejected') throw error;
      this.add(error);
      return undefined;
    }
  }

  add({ errors }: AppError): void {
    this.#errors.push(...errors);
  }

  /** Throws `model_rejected` with every field, if there are any. */
  end(): void {
    const [first] = this.#errors;
    if (first === undefined) return;
    const message = `the manifest does not fit the model: ${first.field}: ${first.message}`;
    throw new AppError('model_rejected', message, { errors: this.#errors.slice(0, toldAtMost) });
  }
}

const toldAtMost = 20;
