// Inputs that hold the tokens of texts, and outputs that hold a vector for each.
import type { EmbeddingOutputs, Manifest, TextInput } from '../manifest.ts';
import type { ModelSignature, TensorSpec } from '../tensors.ts';
import { listed, reject } from './rejection.ts';

export interface TextPlan {
  /** Where the tokens go, the mask of those that are none, and which of two texts they are of. */
  ids: TensorSpec;
  mask: TensorSpec | undefined;
  types: TensorSpec | undefined;
  /** What stands in `tokenizer.json`. */
  tokenizer: Record<string, unknown>;
  /** Texts with more are cut. */
  maxTokens: number;
  /** Every text takes so many places, where the model's shape says so. */
  width: number | undefined;
}

const usualTokens = 512;
const isInteger = /^INT(32|64)$/;

/** Throws `model_rejected` naming the field that contradicts the model. Undefined when it takes no texts. */
export function textPlan({ inputs }: Manifest, signature: ModelSignature): TextPlan | undefined {
  const [found, second] = Object.entries(inputs).filter(([, { text }]) => text);
  if (!found?.[1].text) return undefined;
  if (second) throw reject(`inputs.${second[0]}.text`, `texts go to "${found[0]}" already`);
  const [name, { text }] = found;
  const ids = signature.inputs.find((each) => each.name === name);
  if (!ids) throw reject(`inputs.${name}`, `the model has no such input; it takes ${listed(signature.inputs)}`);
  checkTokens(ids, `inputs.${name}.text`);
  const other = (name: string): TensorSpec | undefined => {
    const spec = signature.inputs.find((each) => each.name === name);
    if (!spec || inputs[name]) return undefined;
    checkTokens(spec, `inputs.${name}`);
    return spec;
  };
  const tokenizer = contentOf(text.tokenizer, `inputs.${name}.text.tokenizer`);
  const last = ids.shape.at(-1);
  const width = last === -1 ? undefined : last;
  const maxTokens = text.maxTokens ?? width ?? truncation(tokenizer) ?? usualTokens;
  if (width !== undefined && maxTokens > width) {
    throw reject(`inputs.${name}.text.maxTokens`, `${maxTokens} do not fit the input [${ids.shape}]`);
  }
  return { ids, mask: other('attention_mask'), types: other('token_type_ids'), tokenizer, maxTokens, width };
}

function checkTokens({ datatype, shape }: TensorSpec, field: string): void {
  if (!isInteger.test(datatype))
    throw reject(field, `tokens are given to INT64 and INT32 inputs, this one is ${datatype}`);
  if (shape.length !== 0 && shape.length !== 2) throw reject(field, `[${shape}] is not [texts, tokens]`);
}

function contentOf(tokenizer: TextInput['tokenizer'], field: string): Record<string, unknown> {
  if (typeof tokenizer === 'string') {
    throw reject(field, `the file "${tokenizer}" did not come with the manifest; put what stands in it here`);
  }
  const { model } = tokenizer;
  const kind = typeof model === 'object' && model !== null && 'type' in model ? model.type : undefined;
  if (kind === 'WordPiece' || kind === 'BPE' || kind === 'Unigram') return tokenizer;
  throw reject(
    field,
    `is no tokenizer.json with a WordPiece, BPE or Unigram model, but one with ${JSON.stringify(kind)}`,
  );
}

function truncation({ truncation }: Record<string, unknown>): number | undefined {
  if (typeof truncation !== 'object' || truncation === null || !('max_length' in truncation)) return undefined;
  return typeof truncation.max_length === 'number' ? truncation.max_length : undefined;
}

/** The same for outputs. */
export function embeddingOutputs(
  { outputs: { embedding } }: Manifest,
  { outputs }: ModelSignature,
  texts: TextPlan | undefined,
): EmbeddingOutputs | undefined {
  if (!embedding) return undefined;
  const { output, pooling = 'none' } = embedding;
  const spec = outputs.find(({ name }) => name === output);
  if (!spec) throw reject('outputs.embedding.output', `the model has no output "${output}"; it has ${listed(outputs)}`);
  if (!spec.datatype.startsWith('FP')) throw reject('outputs.embedding.output', `${spec.datatype} is no vector`);
  if (pooling !== 'none' && !texts) throw reject('outputs.embedding.pooling', 'is for tokens of texts');
  if (pooling !== 'none' && spec.shape.length !== 0 && spec.shape.length !== 3) {
    throw reject('outputs.embedding.pooling', `[${spec.shape}] is not [texts, tokens, numbers]`);
  }
  return embedding;
}
