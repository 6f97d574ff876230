// Texts -> tokens, by the tokenizer that came with the model. The library is loaded with the first text.
import { setImmediate } from 'node:timers/promises';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { TextPlan } from '@edgeloop/shared/meaning/text-input';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { TensorSpec } from '@edgeloop/shared/tensors';
import type { Tokenizer } from '@huggingface/tokenizers';
import type { Text } from './payload.ts';

/** Tokenizing holds up others; this much takes some tens of milliseconds, between which others have their turn. */
const maxCharacters = 16_384;
const maxCharactersOfAll = 262_144;

/** Texts as the model gets them. */
export interface Tokens {
  tensors: NamedTensor[];
  /** For each text the places that hold tokens; the others are filled up. */
  spans: { start: number; end: number }[];
  /** What was cut. */
  warnings: string[];
}

interface Encoded {
  ids: number[];
  types: number[];
}

const tokenizers = new WeakMap<object, Promise<Tokenizer>>();

function tokenizerOf({ tokenizer }: TextPlan): Promise<Tokenizer> {
  let found = tokenizers.get(tokenizer);
  if (!found) {
    found = import('@huggingface/tokenizers').then((library) => new library.Tokenizer(tokenizer, {}));
    tokenizers.set(tokenizer, found);
  }
  return found.catch((cause: unknown) => {
    throw new AppError('internal', `the model's tokenizer can't be used: ${messageOf(cause)}`, { cause });
  });
}

/** Throws `invalid_request` or `payload_too_large` naming the text that is wrong. */
export async function tokensOf(texts: readonly Text[], plan: TextPlan): Promise<Tokens> {
  checkLengths(texts);
  const tokenizer = await tokenizerOf(plan);
  const warnings: string[] = [];
  const encoded: Encoded[] = [];
  for (const [at, text] of texts.entries()) {
    if (at > 0) await setImmediate();
    const one = encode(tokenizer, text);
    const count = one.ids.length;
    if (count > plan.maxTokens) {
      if (typeof text !== 'string') {
        const message = `text ${at + 1} has ${count} tokens, pairs are taken up to ${plan.maxTokens}`;
        throw new AppError('payload_too_large', message);
      }
      warnings.push(`text ${at + 1} has ${count} tokens, the model read the first ${plan.maxTokens}`);
    }
    encoded.push(count > plan.maxTokens ? cut(tokenizer, one, text, plan.maxTokens) : one);
  }
  return { ...tensorsOf(encoded, plan), warnings };
}

function checkLengths(texts: readonly Text[]): void {
  let all = 0;
  for (const [at, text] of texts.entries()) {
    const length = typeof text === 'string' ? text.length : text[0].length + text[1].length;
    all += length;
    if (length <= maxCharacters && all <= maxCharactersOfAll) continue;
    const most = `${maxCharacters} characters each and ${maxCharactersOfAll} in all`;
    throw new AppError('payload_too_large', `text ${at + 1}: texts are taken up to ${most}; send parts of it`);
  }
}

function encode(tokenizer: Tokenizer, text: Text): Encoded {
  const [first, second] = typeof text === 'string' ? [text, undefined] : text;
  const options = { return_token_type_ids: true as const, ...(second !== undefined && { text_pair: second }) };
  const { ids, token_type_ids: types } = tokenizer.encode(first, options);
  return { ids, types };
}

/** The first tokens of the text, between what the tokenizer puts around every text. */
function cut(tokenizer: Tokenizer, whole: Encoded, text: Text, most: number): Encoded {
  const bare = tokenizer.encode(typeof text === 'string' ? text : text[0], { add_special_tokens: false }).ids;
  const around = whole.ids.length - bare.length;
  let before = 0;
  while (before < around && whole.ids[before] !== bare[0]) before++;
  const kept = most - around;
  if (kept < 1) throw new AppError('internal', `the tokenizer puts ${around} tokens around a text, of ${most} in all`);
  const without = (list: readonly number[]): number[] => [
    ...list.slice(0, before + kept),
    ...list.slice(before + bare.length),
  ];
  return { ids: without(whole.ids), types: without(whole.types) };
}

function tensorsOf(encoded: readonly Encoded[], plan: TextPlan): Omit<Tokens, 'warnings'> {
  const { ids, mask, types } = plan;
  const longest = encoded.reduce((most, one) => Math.max(most, one.ids.length), 1);
  const width = plan.width ?? longest;
  if (!mask && plan.width === undefined && encoded.some((one) => one.ids.length !== longest)) {
    const message = 'the model has no input "attention_mask", so it takes texts of one length at a time';
    throw new AppError('invalid_request', message);
  }
  const { id: filler, isLeft } = padding(plan);
  const spans = encoded.map((one) => {
    const start = isLeft ? width - one.ids.length : 0;
    return { start, end: start + one.ids.length };
  });
  const tensor = (spec: TensorSpec, fill: number, value: (one: Encoded, at: number) => number): NamedTensor => {
    const numbers = new Array<number>(encoded.length * width).fill(fill);
    for (const [row, one] of encoded.entries()) {
      const start = row * width + (spans[row]?.start ?? 0);
      for (let at = 0; at < one.ids.length; at++) numbers[start + at] = value(one, at);
    }
    const data = spec.datatype === 'INT32' ? Int32Array.from(numbers) : BigInt64Array.from(numbers, BigInt);
    return { name: spec.name, datatype: spec.datatype, shape: [encoded.length, width], data };
  };
  return {
    spans,
    tensors: [
      tensor(ids, filler, (one, at) => one.ids[at] ?? filler),
      ...(mask ? [tensor(mask, 0, () => 1)] : []),
      ...(types ? [tensor(types, 0, (one, at) => one.types[at] ?? 0)] : []),
    ],
  };
}

/** What fills up short texts, as the tokenizer's file says; else its token of the usual name. */
function padding({ tokenizer }: TextPlan): { id: number; isLeft: boolean } {
  const { padding: said, added_tokens: added } = tokenizer;
  if (isRecord(said) && typeof said.pad_id === 'number') return { id: said.pad_id, isLeft: said.direction === 'Left' };
  const usual = Array.isArray(added)
    ? added.find((token: unknown) => isRecord(token) && ['[PAD]', '<pad>'].includes(String(token.content)))
    : undefined;
  return { id: isRecord(usual) && typeof usual.id === 'number' ? usual.id : 0, isLeft: false };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
